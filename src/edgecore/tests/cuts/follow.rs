//! What a device keeps while it follows a cloud that changes its CA, cut and disturbed everywhere: it trusts
//! what it trusted, or one step more, and is served by the cloud of that moment and of every later one.

use super::*;
use crate::edgecore::follow::Follower;
use crate::protocol::trust::CloudCas;
use crate::system::figures::tried;
use crate::system::files::crash::{Recording, duplicate, each_fault, is_clear};
use std::time::Duration;

/// How a cloud stands, and what a device keeps when it has followed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// It trusts the next CA too.
    Prepared,
    /// It has a certificate of the next one.
    Switched,
    /// It trusts the old one no more.
    Finished,
}

const PHASES: [(Phase, &str); 3] = [
    (Phase::Prepared, "trusted"),
    (Phase::Switched, "renewed"),
    (Phase::Finished, "forgotten"),
];

/// A cloud in each phase, at a port of its own.
struct Changing {
    clock: Clock,
    old: (Certificate, PrivateKey),
    next: Certificate,
    servers: [Server; 3],
}

impl Changing {
    fn start() -> Changing {
        // Many devices in one process want more than one may.
        blocking::set_limit(64);
        let now = Timestamp::from_unix(1_800_000_000);
        let clock = Clock::manual(now).0;
        let (old, next) = (new_ca(now).unwrap(), new_ca(now).unwrap());
        let cross = issuer(&old).cross(&next.0, now).unwrap();
        let server = |phase| serve(phase, &old, &next, &cross, &clock);
        let servers = PHASES.map(|(phase, _)| server(phase));
        Changing {
            clock,
            old,
            next: next.0,
            servers,
        }
    }

    /// A device that has joined before.
    fn joined(&self) -> (Scratch, Identity) {
        let folder = Scratch::new();
        let edge = self.edge(Files::real(), folder.path(), Phase::Prepared);
        let configured = config(None);
        let (files, settings) = (&edge.host.files, &edge.settings);
        files
            .replace(&settings.config, configured.as_bytes(), 0o640)
            .unwrap();
        let identity = identity(&self.old, &settings.node, self.clock.now());
        identity.commit(files, &settings.place).unwrap();
        (folder, identity)
    }

    fn edge(&self, files: Files, root: &Path, phase: Phase) -> Rc<Edge> {
        let port = self.servers[phase as usize].port;
        edge_below(files, root, "edge-1", port, &self.clock)
    }

    fn says(&self, phase: Phase) -> CloudCas {
        let (old, next) = (self.old.0.hash(), self.next.hash());
        CloudCas {
            all: match phase {
                Phase::Finished => vec![next],
                _ => vec![next, old],
            },
            signer: match phase {
                Phase::Prepared => old,
                _ => next,
            },
        }
    }

    /// Starts, and follows as far as the cloud of this phase leads.
    fn follow(&self, files: Files, root: &Path, phase: Phase) -> Result<Identity, String> {
        let edge = self.edge(files, root, phase);
        let (files, settings) = (&edge.host.files, &edge.settings);
        let loaded = Identity::load(files, &settings.place, &settings.node);
        edge.adopt(loaded.map_err(|error| error.to_string())?);
        edge.heard(self.says(phase));
        // More than there are to take.
        for _ in 0..4 {
            run(&edge, Follower::new().step(&edge));
            if let Some(problem) = edge.state.snapshot().last_error {
                return Err(problem.message);
            }
        }
        Ok(edge.identity.borrow().clone().unwrap())
    }

    /// From whatever is on the disk through all phases from this one on.
    fn to_its_end(&self, root: &Path, from: usize) {
        for (phase, _) in &PHASES[from..] {
            // A start before anything else.
            let edge = self.edge(Files::real(), root, *phase);
            let started = begin(&edge);
            in_order(&edge, &started);
            let identity = self.follow(Files::real(), root, *phase).unwrap();
            in_order(&edge, &identity);
            let trusted: Vec<_> = identity.trusted().iter().map(Certificate::hash).collect();
            let says = self.says(*phase);
            assert_eq!(identity.ca_hash(), says.signer);
            assert!(trusted.iter().all(|ca| says.all.contains(ca)));
            assert!(trusted.contains(says.newest()) && trusted.len() == says.all.len());
        }
    }
}

fn issuer(ca: &(Certificate, PrivateKey)) -> Issuer {
    let key = PrivateKey::from_der(ca.1.sec1_der()).unwrap();
    Issuer::new(ca.0.clone(), key).unwrap()
}

fn serve(
    phase: Phase,
    old: &(Certificate, PrivateKey),
    next: &(Certificate, PrivateKey),
    cross: &Certificate,
    clock: &Clock,
) -> Server {
    let now = clock.now();
    let signer = match phase {
        Phase::Prepared => issuer(old),
        _ => issuer(next),
    };
    let (trusted, shown) = match phase {
        Phase::Prepared => (vec![next.0.clone(), old.0.clone()], vec![]),
        Phase::Switched => (vec![next.0.clone(), old.0.clone()], vec![cross.clone()]),
        Phase::Finished => (vec![next.0.clone()], vec![]),
    };
    let key = PrivateKey::generate().unwrap();
    let (address, until) = (
        [std::net::Ipv4Addr::LOCALHOST.into()],
        now.plus(Duration::from_secs(86_400)),
    );
    let serving = signer.server(&key, &[], &address, now, until).unwrap();
    let bundle = trusted
        .iter()
        .chain((phase != Phase::Finished).then_some(cross));
    let bundle: String = bundle.map(Certificate::to_pem).collect();
    Server::showing(&(serving, key), &shown, clock, move |request| {
        let client = request.client.as_ref();
        if client.is_none_or(|it| chain::verify_client(it, &trusted, now).is_err()) {
            return b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        match request.path.as_str() {
            "/ca-bundle" => ok(bundle.as_bytes()),
            _ => {
                let csr = Csr::parse(&request.body).unwrap();
                let signed = signer.client(csr.spki(), csr.subject(), now, until);
                ok(signed.unwrap().der())
            }
        }
    })
}

/// Follows through all phases; what the device has after each, and what it did to the disk.
fn record(cloud: &Changing) -> (Recording, Vec<Identity>) {
    let (folder, joined) = cloud.joined();
    let mut history = vec![joined];
    let recording = Recording::of(folder.path(), |recorder| {
        for (phase, promise) in PHASES {
            let followed = cloud.follow(recorder.files(), folder.path(), phase);
            recorder.promise(promise);
            history.push(followed.unwrap());
        }
    });
    (recording, history)
}

#[test]
fn a_device_that_follows_may_lose_its_power_at_any_moment() {
    let cloud = Changing::start();
    let (recording, history) = record(&cloud);
    let states = recording.each_state(|state| {
        let edge = cloud.edge(Files::real(), state.root(), Phase::Prepared);
        let known: Vec<&Identity> = history.iter().collect();
        let found = nothing_is_lost(&edge, &known).unwrap();
        let found = history.iter().position(|then| is(then, &found)).unwrap();
        let told = PHASES.iter().filter(|(_, it)| state.promised(it)).count();
        assert!(found == told || found == told + 1, "{found} after {told}");
        // The cloud may have gone on while the device was off; it ends when the device has renewed.
        let later = Scratch::new();
        duplicate(state.root(), later.path());
        cloud.to_its_end(state.root(), told.min(2));
        cloud.to_its_end(later.path(), (told + 1).min(if found > 1 { 2 } else { 1 }));
    });
    tried(
        "cuts-follow",
        "states a power cut leaves of a device that follows a rotation of the CA",
        states,
    );
}

#[test]
fn a_device_that_follows_survives_every_fault_of_the_disk() {
    let cloud = Changing::start();
    let flow = |(folder, _): &(Scratch, Identity), files: Files| {
        for (phase, _) in PHASES {
            cloud.follow(files.clone(), folder.path(), phase)?;
        }
        Ok::<(), String>(())
    };
    let faults = each_fault(
        || cloud.joined(),
        flow,
        |(folder, _), outcome, fault| {
            let edge = cloud.edge(Files::real(), folder.path(), Phase::Prepared);
            let found = nothing_is_lost(&edge, &[]).unwrap();
            if let Err(sentence) = outcome {
                assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
            }
            let is_last = found.trusted() == [cloud.next.clone()];
            cloud.to_its_end(folder.path(), if is_last { 2 } else { 1 });
        },
    );
    tried(
        "faults-follow",
        "faults of the disk while a device follows a rotation of the CA",
        faults,
    );
}

#[test]
fn a_device_that_follows_writes_as_little_as_it_can() {
    let written = record(&Changing::start()).0.written();
    let mut names: Vec<_> = written.iter().map(|path| path.to_str().unwrap()).collect();
    names.sort_unstable();
    let (ca, key) = ("ca/rootCA.crt", "certs/server.key");
    assert_eq!(names, [ca, ca, ca, "certs/server.crt", key, key, key]);
    tried(
        "wear-follow",
        "files written while a rotation of the CA is followed, from beginning to end",
        names.len(),
    );
}

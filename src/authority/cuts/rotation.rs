//! The steps of a rotation of the CA, cut and disturbed everywhere: it stands where it was said to
//! stand, or one step further; the step can be taken again, and all the others; and whichever devices
//! could be served still are.

use super::*;
use crate::authority::rotation::{RotationError, Step, Wish, rotate};
use crate::authority::tokens;
use crate::pki::tls::testing::shake;
use crate::pki::tls::{self, ClientAuth};

const STEPS: [(Step, &str); 4] = [
    (Step::Prepare, "prepared"),
    (Step::Switch, "switched"),
    (Step::Announce, "announced"),
    (Step::Finish, "finished"),
];

/// A node's certificate and its key.
type Pair = (Certificate, PrivateKey);

fn wish(step: Option<Step>) -> Wish {
    Wish {
        step,
        force: true,
        dry_run: false,
    }
}

/// Takes a step with cloudcore running, or in its files.
fn take(
    files: &Files,
    folder: &Path,
    running: Option<&Authority>,
    step: Step,
) -> Result<(), String> {
    let said = |error: RotationError| error.to_string();
    match running {
        Some(authority) => {
            let taken = smol::block_on(authority.rotate(wish(Some(step))));
            taken.map(drop).map_err(said)
        }
        None => {
            let store = store(files, folder).map_err(|error| error.to_string())?;
            let taken = smol::block_on(rotate(&store, wish(Some(step)), recorded_at()));
            taken.map(drop).map_err(said)
        }
    }
}

/// A certificate for a new key: by a token, or by the certificate before.
fn certified(authority: &Authority, node: &str, before: Option<&Pair>) -> Pair {
    let (node, key) = (name(node), PrivateKey::generate().unwrap());
    let request = IssueRequest {
        csr: &csr::create(&key, &Subject::node(&node)).unwrap(),
        node: &node,
        usages: None,
        by: before.map_or(By::Token(&PLAIN), |(before, _)| By::Certificate(before)),
    };
    let issued = smol::block_on(authority.issue(&request));
    (issued.unwrap().certificate, key)
}

/// How many steps are done.
fn done(authority: &Authority, old: &Certificate) -> usize {
    let standing = authority.standing();
    match standing.phase {
        None if standing.signer() == old => 0,
        phase => STEPS
            .iter()
            .position(|(step, _)| *step == Step::after(phase))
            .filter(|done| *done > 0)
            .unwrap_or(STEPS.len()),
    }
}

/// Whether a device that trusts these CAs gets through to the hub, with TLS in both directions.
fn is_served(authority: &Authority, node: &str, own: &Pair, trusts: &[&Certificate]) -> bool {
    let trusts: Vec<Certificate> = trusts.iter().map(|ca| (*ca).clone()).collect();
    let clock = authority.clock();
    let client = tls::client(&trusts, Some((&own.0, &own.1)), clock).unwrap();
    let clients = ClientAuth::Required(authority.trust());
    let server = tls::server(&authority.serving(), clients, clock).unwrap();
    let holds = smol::block_on(authority.authenticate(&own.0, &name(node))).is_ok();
    shake(&client, &server, "127.0.0.1").is_ok() && holds
}

/// A cloud with two devices, and a token.
struct Site {
    folder: Scratch,
    old: Certificate,
    /// Trusts the old CA alone and never follows.
    go: Pair,
    ours: Pair,
    jwt: String,
}

impl Site {
    fn new() -> Site {
        let folder = Scratch::new();
        let authority = open(&Files::real(), folder.path()).unwrap();
        let old = authority.ca();
        let expires = recorded_at().plus(Duration::from_secs(86_400));
        let token = authority.standing().tokens.mint(expires);
        let [go, ours] = ["go", "ours"].map(|node| certified(&authority, node, None));
        let jwt = token.split_once('.').unwrap().1.to_owned();
        Site {
            folder,
            old,
            go,
            ours,
            jwt,
        }
    }

    /// Everybody who was served before the step, or is after it, is served.
    fn serves(&self, authority: &Authority, next: Option<&Certificate>, renewed: Option<&Pair>) {
        let (old, done) = (&self.old, done(authority, &self.old));
        let is_over = done == STEPS.len();
        let served = |node, own, trusts: &[&Certificate]| is_served(authority, node, own, trusts);
        assert_eq!(
            served("go", &self.go, &[old]),
            !is_over,
            "after {done} steps"
        );
        let next = match (done, next) {
            (0, _) => old,
            (_, next) => next.unwrap(),
        };
        let ours = renewed.unwrap_or(&self.ours);
        let is_ours = !is_over || renewed.is_some();
        assert_eq!(served("ours", ours, &[old, next]), is_ours, "after {done}");
        // Whoever joins once it is announced knows the next CA alone.
        let newcomer = renewed.filter(|_| done > 2);
        assert!(newcomer.is_none_or(|own| served("ours", own, &[next])));
        let token = tokens::check(authority, &self.jwt, recorded_at());
        assert_eq!(token.is_ok(), !is_over, "the token after {done} steps");
    }
}

/// Takes the step again that was under way, and then all that are left.
fn to_its_end(folder: &Path, under_way: Step, is_running: bool, old: &Certificate) -> Certificate {
    let files = Files::real();
    if !is_running {
        take(&files, folder, None, under_way).unwrap();
    }
    let authority = open(&files, folder).unwrap();
    take(&files, folder, Some(&authority), under_way).unwrap();
    while done(&authority, old) < STEPS.len() {
        smol::block_on(authority.rotate(wish(None))).unwrap();
    }
    let next = authority.ca();
    drop(authority);
    in_order(folder);
    assert_eq!(one_of(folder, old, &next), next);
    next
}

/// The next CA, while a rotation is under way or when it has taken its place.
fn next(authority: &Authority, old: &Certificate) -> Option<Certificate> {
    let newest = authority.standing().trusted.first().cloned();
    newest.filter(|newest| newest != old)
}

/// Records all steps, cuts them everywhere, and goes on.
fn cut(is_running: bool) -> usize {
    let site = Site::new();
    let (mut made, mut renewed) = (None, None);
    let recording = Recording::of(site.folder.path(), |recorder| {
        let (files, folder) = (recorder.files(), site.folder.path());
        let start = || open(&files, folder).unwrap();
        let mut running = is_running.then(start);
        for (step, promise) in STEPS {
            take(&files, folder, running.as_ref(), step).unwrap();
            recorder.promise(promise);
            let authority = running.take().unwrap_or_else(start);
            made = next(&authority, &site.old);
            if step == Step::Switch {
                renewed = Some(certified(&authority, "ours", Some(&site.ours)));
                recorder.promise("renewed");
            }
            site.serves(&authority, made.as_ref(), renewed.as_ref());
            running = is_running.then_some(authority);
        }
    });
    recording.each_state(|state| {
        let authority = open(&Files::real(), state.root()).unwrap();
        let answered = STEPS.iter().filter(|(_, it)| state.promised(it)).count();
        let found = done(&authority, &site.old);
        assert!(found == answered || found == answered + 1, "{found} steps");
        // Devices may know it.
        let next = next(&authority, &site.old);
        assert!(next == made || (next.is_none() && found == 0));
        let renewed = renewed.as_ref().filter(|_| state.promised("renewed"));
        site.serves(&authority, next.as_ref(), renewed);
        drop(authority);
        let under_way = STEPS[answered.min(STEPS.len() - 1)].0;
        let last = to_its_end(state.root(), under_way, is_running, &site.old);
        assert!(next.is_none_or(|next| next == last));
        let authority = open(&Files::real(), state.root()).unwrap();
        site.serves(&authority, Some(&last), renewed);
    })
}

#[test]
fn a_rotation_of_the_ca_may_lose_its_power_at_any_moment() {
    tried(
        "cuts-ca-rotation",
        "states a power cut leaves of the four steps of a rotation of the CA",
        cut(true),
    );
}

#[test]
fn a_rotation_in_the_files_may_lose_its_power_at_any_moment() {
    tried(
        "cuts-ca-rotation-files",
        "states a power cut leaves of these steps, taken without a running cloudcore",
        cut(false),
    );
}

#[test]
fn a_rotation_of_the_ca_survives_every_fault_of_the_disk() {
    // A step that failed is taken once more, by the cloudcore that goes on.
    let flow = |site: &Site, files: Files| -> (usize, Vec<String>) {
        let (folder, mut said) = (site.folder.path(), Vec::new());
        let authority = match open(&files, folder) {
            Ok(authority) => authority,
            Err(error) => return (0, vec![error.to_string()]),
        };
        for (done, (step, _)) in STEPS.into_iter().enumerate() {
            for attempt in 0..2 {
                match take(&files, folder, Some(&authority), step) {
                    Ok(()) if attempt == 0 => break,
                    Ok(()) => site.serves(&authority, next(&authority, &site.old).as_ref(), None),
                    Err(sentence) => said.push(sentence),
                }
            }
            if said.len() > 1 {
                return (done, said);
            }
        }
        (STEPS.len(), said)
    };
    let faults = each_fault(Site::new, flow, |site, (answered, said), fault| {
        for sentence in said {
            assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
        }
        let authority = open(&Files::real(), site.folder.path()).unwrap();
        let found = done(&authority, &site.old);
        assert!(
            found == answered || found == answered + 1,
            "{found} steps, {fault}"
        );
        site.serves(&authority, next(&authority, &site.old).as_ref(), None);
        drop(authority);
        let under_way = STEPS[answered.min(STEPS.len() - 1)].0;
        to_its_end(site.folder.path(), under_way, true, &site.old);
    });
    tried(
        "faults-ca-rotation",
        "faults of the disk during the four steps of a rotation of the CA",
        faults,
    );
}

//! Power cuts and faults of the disk: the device has the old identity or the new one, or still its
//! token; and goes on without help.

mod deliver;
mod enroll;
mod follow;
mod meta;
mod rotate;

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::replay::ok;
use super::server::Server;
use super::{edge_below, identity, issue, run};
use crate::edgecore::edge::{Edge, Failure};
use crate::edgecore::enroll::enroll;
use crate::edgecore::identity::{Identity, IdentityError, Place};
use crate::edgecore::life::{obtain, tidy};
use crate::edgecore::token::TokenSource;
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::csr::Csr;
use crate::pki::issue::{Issuer, new_ca};
use crate::pki::key::PrivateKey;
use crate::protocol::enrollment::CERTIFICATE_PATH;
use crate::protocol::token::JoinToken;
use crate::system::blocking;
use crate::system::clock::{Clock, Timestamp};
use crate::system::files::crash::Recorder;
use crate::system::files::{Files, Layer, Operation};
use crate::system::host::Host;
use crate::system::names::NodeName;
use crate::system::scratch::Scratch;

/// A disk that takes nothing more, or not this one file.
struct Full {
    only: Option<PathBuf>,
}

impl Layer for Full {
    fn before(&self, operation: Operation) -> io::Result<()> {
        let refused = match (&self.only, &operation) {
            (Some(only), Operation::Rename { to, .. }) => to == only,
            (Some(_), _) => false,
            (None, operation) => operation.is_change(),
        };
        match refused {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

fn full(only: Option<&Path>) -> Files {
    let only = only.map(Path::to_owned);
    Files::with(Arc::new(Full { only }))
}

/// A cloud that gives its CA to everybody and a certificate to whoever asks.
struct Cloud {
    ca: Certificate,
    server: Server,
    clock: Clock,
    /// Is promised "asked" when somebody asks for a certificate.
    witness: Arc<Mutex<Option<Arc<Recorder>>>>,
}

impl Cloud {
    fn start() -> Cloud {
        // Many devices in one process want more than one may.
        blocking::set_limit(64);
        let now = Timestamp::from_unix(1_800_000_000);
        let clock = Clock::manual(now).0;
        let (ca, key) = new_ca(now).unwrap();
        let serving = PrivateKey::generate().unwrap();
        let issuer = Issuer::new(ca.clone(), PrivateKey::from_der(key.sec1_der()).unwrap());
        let address = [std::net::Ipv4Addr::LOCALHOST.into()];
        let until = now.plus(std::time::Duration::from_secs(86_400));
        let certificate = issuer.unwrap().server(&serving, &[], &address, now, until);
        let signer = (ca.clone(), key);
        let witness: Arc<Mutex<Option<Arc<Recorder>>>> = Arc::default();
        let told = witness.clone();
        let server = Server::start(&(certificate.unwrap(), serving), &clock, move |request| {
            if request.path != CERTIFICATE_PATH {
                return ok(signer.0.der());
            }
            if let Some(recorder) = &*told.lock().unwrap() {
                recorder.promise("asked");
            }
            let csr = Csr::parse(&request.body).unwrap();
            ok(issue(&signer, csr.spki(), csr.subject(), now).der())
        });
        Cloud {
            ca,
            server,
            clock,
            witness,
        }
    }

    fn token(&self) -> JoinToken {
        self.token_with("e30")
    }

    /// A token whose uses are counted: one.
    fn counted_token(&self) -> JoinToken {
        self.token_with("eyJ1c2VzIjoxfQ")
    }

    fn token_with(&self, claims: &str) -> JoinToken {
        let jwt = format!("e30.{claims}.{}", "s".repeat(43));
        JoinToken::new(self.ca.hash(), &jwt).unwrap()
    }

    fn edge(&self, files: Files, root: &Path) -> Rc<Edge> {
        edge_below(files, root, "edge-1", self.server.port, &self.clock)
    }
}

/// edgecore.yaml with a token, or with none.
fn config(token: Option<&JoinToken>) -> String {
    let token = token.map(|token| token.secret_string().to_string());
    let token = token.unwrap_or_default();
    format!("modules:\n  edgeHub: # of the barn\n    token: \"{token}\"\n")
}

/// A start up to the moment at which the hub has taken the identity.
fn begin(edge: &Rc<Edge>) -> Identity {
    let identity = run(edge, obtain(edge));
    run(edge, tidy(edge.clone(), identity.clone()));
    identity
}

/// What a start must have put in order: the identity is whole and its copies are its own; no token
/// and nothing unfinished is left; nobody but the owner may read the key.
fn in_order(edge: &Edge, identity: &Identity) {
    let (files, place) = (Files::real(), &edge.settings.place);
    let found = Identity::read(&files, place).unwrap();
    assert!(is(&found, identity));
    found.check(&edge.settings.node).unwrap();
    let copies = [
        (&place.certificate, vec![identity.certificate.clone()]),
        (&place.ca, identity.trusted()),
    ];
    for (path, certificates) in copies {
        let pems: String = certificates.iter().map(Certificate::to_pem).collect();
        assert_eq!(std::fs::read_to_string(path).unwrap(), pems);
        assert_eq!(files.mode(path).unwrap(), 0o644);
        assert_eq!(files.mode(path.parent().unwrap()).unwrap(), 0o700);
    }
    assert_eq!(files.mode(&place.key).unwrap(), 0o600);
    assert_eq!(edge.tokens.find().unwrap(), None);
    assert!(!edge.tokens.bootstrap.exists());
    let text = std::fs::read_to_string(&edge.settings.config).unwrap();
    assert_eq!(
        text,
        config(None),
        "edgecore.yaml is as it was, without a token"
    );
    let root = edge.host.root.at("/");
    assert!(!root.join("etc/kubeedge/join").exists() && !root.join("etc/kubeedge/token").exists());
    if let Ok(options) = std::fs::read_to_string(root.join("etc/config/kubeedge")) {
        assert_eq!(options, "config edgecore\n\toption server 'a'\n");
    }
    let below = ["certs", "ca", "etc/config", "etc/kubeedge"].map(|folder| root.join(folder));
    for folder in below.into_iter().chain([root]) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_left = name.starts_with('.') || name.ends_with(".pending");
            assert!(!is_left, "{name} is left");
        }
    }
}

/// Nothing is lost: there is a whole identity, one of these, or a token to get one by.
fn nothing_is_lost(edge: &Edge, known: &[&Identity]) -> Option<Identity> {
    match Identity::read(&Files::real(), &edge.settings.place) {
        Ok(found) => {
            found.check(&edge.settings.node).unwrap();
            let is_known = known.is_empty() || known.iter().any(|known| is(&found, known));
            assert!(is_known, "a mixture");
            Some(found)
        }
        Err(error) => {
            assert!(matches!(error, IdentityError::Absent), "{error}");
            let tokens = TokenSource {
                host: Host {
                    files: Files::real(),
                    ..edge.host.clone()
                },
                ..edge.tokens.clone()
            };
            assert!(
                tokens.find().unwrap().is_some(),
                "neither identity nor token"
            );
            None
        }
    }
}

fn place(folder: &Scratch) -> Place {
    let at = |path: &str| folder.path().join(path);
    Place {
        key: at("certs/server.key"),
        certificate: at("certs/server.crt"),
        ca: at("ca/rootCA.crt"),
    }
}

/// Two identities of one node, by two CAs: a mixture of any two parts would be seen.
fn pair() -> (NodeName, Identity, Identity) {
    let now = Timestamp::from_unix(1_800_000_000);
    let node: NodeName = "edge-1".parse().unwrap();
    let [old, new] = [(); 2].map(|()| identity(&new_ca(now).unwrap(), &node, now));
    (node, old, new)
}

/// As Go's edgecore leaves it: the key alone, and the certificates in their files.
fn split(folder: &Path, identity: &Identity) {
    let key = folder.join("certs/server.key");
    Files::real()
        .replace(&key, identity.key.to_sec1_pem().as_bytes(), 0o600)
        .unwrap();
}

fn is(found: &Identity, wanted: &Identity) -> bool {
    let parts = |identity: &Identity| {
        let key = identity.key.sec1_der();
        (
            key.to_vec(),
            identity.certificate.der().to_owned(),
            identity.trusted(),
        )
    };
    parts(found) == parts(wanted)
}

#[test]
fn a_disk_that_takes_nothing_is_found_before_the_cloud_signs() {
    let (cloud, folder) = (Cloud::start(), Scratch::new());
    let (edge, token) = (cloud.edge(full(None), folder.path()), cloud.token());
    let refused = run(&edge, enroll(&edge, &token)).unwrap_err();
    assert!(
        matches!(refused, Failure::Identity(IdentityError::File(_))),
        "{refused}"
    );
    let asked: Vec<String> = cloud
        .server
        .requests()
        .into_iter()
        .map(|r| r.path)
        .collect();
    assert_eq!(asked, ["/ca.crt"]);
}

#[test]
fn copies_that_cannot_be_written_cost_nothing() {
    let (node, old, new) = pair();
    let folder = Scratch::new();
    let place = place(&folder);
    old.commit(&Files::real(), &place).unwrap();
    for copy in [&place.certificate, &place.ca] {
        let files = full(Some(copy));
        new.commit(&files, &place).unwrap();
        assert!(is(&Identity::load(&files, &place, &node).unwrap(), &new));
        assert_ne!(
            std::fs::read(copy).unwrap(),
            new.certificate.to_pem().as_bytes()
        );
        old.commit(&Files::real(), &place).unwrap();
    }
    let files = full(Some(&place.key));
    new.commit(&files, &place).unwrap_err();
    assert!(is(
        &Identity::load(&Files::real(), &place, &node).unwrap(),
        &old
    ));
}

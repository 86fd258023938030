//! Power cuts and faults of the cloud's files: the old state or the new, and what was told to a
//! device is kept.

mod nodes;
mod revocations;
mod rotation;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Authority, AuthorityError, By, IssueRequest, Options, PairFiles, Refusal, import_ca};
use crate::authority::testing::{PLAIN, recorded, recorded_at};
use crate::pki::certificate::{Certificate, Subject};
use crate::pki::csr;
use crate::pki::issue::new_ca;
use crate::pki::key::PrivateKey;
use crate::store::file::{self, FileStore};
use crate::store::testing::{name, record};
use crate::store::{Claim, NodeRecord, Store, StoreError};
use crate::system::blocking;
use crate::system::clock::Clock;
use crate::system::figures::tried;
use crate::system::files::Files;
use crate::system::files::crash::{Recording, each_fault, is_clear};
use crate::system::names::NodeName;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

type Nodes = BTreeMap<NodeName, NodeRecord>;

fn root(folder: &Path) -> Root {
    // Many clouds in one process want more than one may.
    blocking::set_limit(64);
    Root::new(Some(folder.to_owned()))
}

fn store(files: &Files, folder: &Path) -> Result<FileStore, StoreError> {
    let options = file::Options {
        allow_volatile: true,
    };
    let root = root(folder);
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match FileStore::open(files, &root, options) {
            // A thread of the store before this one is about to end.
            Err(StoreError::Locked { .. }) if Instant::now() < patience => {
                std::thread::yield_now();
            }
            opened => return opened,
        }
    }
}

fn open(files: &Files, folder: &Path) -> Result<Authority, AuthorityError> {
    let store = Arc::new(store(files, folder)?);
    let clock = Clock::manual(recorded_at()).0;
    let root = root(folder);
    let opening = Authority::open(store, files, &root, &clock, Options::default());
    smol::block_on(opening)
}

fn nodes(store: &dyn Store) -> Nodes {
    smol::block_on(store.nodes()).unwrap().into_iter().collect()
}

/// Trades a token for a certificate; the sentence of the refusal otherwise.
fn join(authority: &Authority, node: &str) -> Result<Certificate, String> {
    let (node, key) = (name(node), PrivateKey::generate().unwrap());
    let csr = csr::create(&key, &Subject::node(&node)).unwrap();
    let request = IssueRequest {
        csr: &csr,
        node: &node,
        usages: None,
        by: By::Token(&PLAIN),
    };
    let issued = smol::block_on(authority.issue(&request));
    issued
        .map(|issued| issued.certificate)
        .map_err(|refusal| match refusal {
            // The device is told that the cloud can't now; the operator reads why.
            Refusal::Store(error) => error.to_string(),
            refusal => refusal.to_string(),
        })
}

/// Where the cloud keeps its state.
fn folders(folder: &Path) -> [std::path::PathBuf; 2] {
    ["etc/kubeedge/cloudcore", "var/lib/kubeedge/cloudcore"].map(|it| folder.join(it))
}

/// What a start must have put in order: nothing unfinished, and nothing that others may read.
fn in_order(folder: &Path) {
    for folder in folders(folder) {
        assert_eq!(Files::real().mode(&folder).unwrap(), 0o700);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!name.starts_with('.'), "{name} is left");
            let mode = Files::real().mode(&path).unwrap();
            let expected = match name {
                "tokens" => 0o700,
                name if name.ends_with(".crt") => 0o644,
                _ => 0o600,
            };
            assert_eq!(mode, expected, "{name}");
        }
    }
}

fn go_files(folder: &Path) {
    for (place, vector) in [
        ("ca/rootCA.crt", "token-ca/ca.pem"),
        ("ca/rootCA.key", "token-ca/cakey.pem"),
    ] {
        let path = folder.join("etc/kubeedge").join(place);
        let files = Files::real();
        files.make_dir(path.parent().unwrap(), 0o700).unwrap();
        files.replace(&path, &recorded(vector), 0o600).unwrap();
    }
}

#[test]
fn a_first_start_may_lose_its_power_at_any_moment() {
    let mut states = 0;
    for is_of_go in [false, true] {
        let folder = Scratch::new();
        if is_of_go {
            go_files(folder.path());
        }
        let mut made = None;
        let recording = Recording::of(folder.path(), |recorder| {
            let authority = open(&recorder.files(), folder.path()).unwrap();
            recorder.promise("ca");
            made = Some((authority.ca().clone(), authority.serving_certificate()));
            join(&authority, "a").unwrap();
            recorder.promise("joined");
        });
        let (ca, serving) = made.unwrap();
        states += recording.each_state(|state| {
            let key = folders(state.root())[0].join("ca.key");
            let had_ca = key.exists();
            let authority = open(&Files::real(), state.root()).unwrap();
            let is_same = authority.ca() == ca;
            // Devices pin it: once told, or taken over, there is no other.
            assert!(is_same || !(state.promised("ca") || had_ca || is_of_go));
            assert!(!state.promised("ca") || authority.serving_certificate() == serving);
            let known = nodes(&**authority.store());
            assert!(known.contains_key(&name("a")) || !state.promised("joined"));
            join(&authority, "b").unwrap();
            let ca = authority.ca().clone();
            drop(authority);
            in_order(state.root());
            let again = open(&Files::real(), state.root()).unwrap();
            assert_eq!(again.ca(), ca);
            assert!(nodes(&**again.store()).contains_key(&name("b")));
        });
    }
    tried(
        "cuts-cloud-start",
        "states a power cut leaves of the first start of a cloud, or of taking over a Go cloud's CA",
        states,
    );
}

/// A cloud with a CA of its own, and another CA in two files.
fn two_cas(folder: &Path) -> (Certificate, Certificate, PairFiles) {
    let old = open(&Files::real(), folder).unwrap().ca().clone();
    let (new, key) = new_ca(recorded_at()).unwrap();
    let given = PairFiles::new(folder.join("new.crt"), folder.join("new.key"));
    let files = Files::real();
    let (certificate, key) = (new.to_pem(), key.to_sec1_pem());
    files
        .replace(&given.certificate, certificate.as_bytes(), 0o644)
        .unwrap();
    files.replace(&given.key, key.as_bytes(), 0o600).unwrap();
    (old, new, given)
}

fn import(files: &Files, folder: &Path) -> Result<(), String> {
    let given = PairFiles::new(folder.join("new.crt"), folder.join("new.key"));
    let store = store(files, folder).map_err(|error| error.to_string())?;
    let clock = Clock::manual(recorded_at()).0;
    let importing = import_ca(&store, files, &given, &clock, true);
    smol::block_on(importing)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// The CA that is in use, one of the two; when the old one has gone, a copy of it is kept.
fn one_of(folder: &Path, old: &Certificate, new: &Certificate) -> Certificate {
    let ca = open(&Files::real(), folder).unwrap().ca().clone();
    assert!(ca == *old || ca == *new);
    let kept = format!("ca-{}.key", &old.hash().to_string()[..8]);
    let kept = folders(folder)[0].join(kept);
    if ca == *new {
        let kept = Files::real().read(&kept, 65_536).unwrap();
        assert_eq!(Certificate::from_pem(&kept).unwrap(), *old);
        assert!(PrivateKey::from_pem(&kept).is_ok());
    }
    ca
}

#[test]
fn a_change_of_the_ca_may_lose_its_power_at_any_moment() {
    let folder = Scratch::new();
    let (old, new, _) = two_cas(folder.path());
    let recording = Recording::of(folder.path(), |recorder| {
        import(&recorder.files(), folder.path()).unwrap();
        recorder.promise("imported");
    });
    let states = recording.each_state(|state| {
        let ca = one_of(state.root(), &old, &new);
        assert!(ca == new || !state.promised("imported"));
        import(&Files::real(), state.root()).unwrap();
        assert_eq!(one_of(state.root(), &old, &new), new);
        in_order(state.root());
    });
    tried(
        "cuts-import",
        "states a power cut leaves of the import of another CA",
        states,
    );
}

#[test]
fn a_new_serving_certificate_may_lose_its_power_at_any_moment() {
    let folder = Scratch::new();
    let old = open(&Files::real(), folder.path())
        .unwrap()
        .serving_certificate();
    let mut new = None;
    let more = ["later.example".to_owned()];
    let recording = Recording::of(folder.path(), |recorder| {
        let authority = open(&recorder.files(), folder.path()).unwrap();
        assert!(smol::block_on(authority.add_names(&more)).unwrap());
        recorder.promise("named");
        new = Some(authority.serving_certificate());
    });
    let new = new.unwrap();
    let states = recording.each_state(|state| {
        let authority = open(&Files::real(), state.root()).unwrap();
        let found = authority.serving_certificate();
        assert!(found == new || (found == old && !state.promised("named")));
        smol::block_on(authority.add_names(&more)).unwrap();
        let found = authority.serving_certificate();
        assert!(found.dns_names().contains(&more[0]));
        drop(authority);
        in_order(state.root());
    });
    tried(
        "cuts-serving",
        "states a power cut leaves of a new serving certificate",
        states,
    );
}

#[test]
fn a_new_serving_certificate_survives_every_fault_of_the_disk() {
    let more = ["later.example".to_owned()];
    let has_it = |authority: &Authority| {
        let certificate = authority.serving_certificate();
        certificate.dns_names().contains(&more[0])
    };
    let setup = || {
        let folder = Scratch::new();
        open(&Files::real(), folder.path()).unwrap();
        folder
    };
    let naming = |folder: &Scratch, files: Files| -> Result<(), String> {
        let authority = open(&files, folder.path()).map_err(|error| error.to_string())?;
        let named = smol::block_on(authority.add_names(&more));
        named.map(drop).map_err(|error| error.to_string())
    };
    let faults = each_fault(setup, naming, |folder, outcome, fault| {
        let authority = open(&Files::real(), folder.path()).unwrap();
        match outcome {
            Ok(()) => assert!(has_it(&authority), "{fault}"),
            Err(sentence) => assert!(is_clear(&sentence, fault), "{fault}: {sentence}"),
        }
        smol::block_on(authority.add_names(&more)).unwrap();
        assert!(has_it(&authority), "{fault}");
        drop(authority);
        in_order(folder.path());
    });
    tried(
        "faults-serving",
        "faults of the disk while a cloud gets a new serving certificate",
        faults,
    );
}

#[test]
fn the_files_of_a_cloud_survive_every_fault_of_the_disk() {
    let start = |folder: &Scratch, files: Files| -> Result<Certificate, String> {
        let authority = open(&files, folder.path()).map_err(|error| error.to_string())?;
        join(&authority, "a")?;
        Ok(authority.ca().clone())
    };
    let new = each_fault(Scratch::new, start, |folder, outcome, fault| {
        let known = match &outcome {
            Ok(ca) => Some(ca),
            Err(sentence) => {
                assert!(is_clear(sentence, fault), "{fault}: {sentence}");
                None
            }
        };
        let authority = open(&Files::real(), folder.path()).unwrap();
        assert!(known.is_none_or(|ca| *ca == authority.ca()));
        let has_node = nodes(&**authority.store()).contains_key(&name("a"));
        assert!(has_node || known.is_none());
        join(&authority, "b").unwrap();
        drop(authority);
        in_order(folder.path());
    });
    let setup = || {
        let folder = Scratch::new();
        let (old, new, _) = two_cas(folder.path());
        (folder, old, new)
    };
    let importing = |(folder, ..): &(Scratch, Certificate, Certificate), files: Files| {
        import(&files, folder.path())
    };
    let imported = each_fault(setup, importing, |(folder, old, new), outcome, fault| {
        let ca = one_of(folder.path(), &old, &new);
        match outcome {
            Ok(()) => assert!(ca == new),
            Err(sentence) => assert!(is_clear(&sentence, fault), "{fault}: {sentence}"),
        }
        import(&Files::real(), folder.path()).unwrap();
        assert_eq!(one_of(folder.path(), &old, &new), new);
    });
    tried(
        "faults-cloud",
        "faults of the disk during a cloud's first start, a certificate, the import of a CA",
        new + imported,
    );
}

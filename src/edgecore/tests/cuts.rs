//! Power cuts: after any prefix of what a commit does to the disk, the device has the old
//! identity or the new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::replay::ok;
use super::server::Server;
use super::{edge_on, identity, run};
use crate::edgecore::edge::Failure;
use crate::edgecore::enroll::enroll;
use crate::edgecore::identity::{Identity, IdentityError, Place};
use crate::pki::issue::{Issuer, new_ca};
use crate::pki::key::PrivateKey;
use crate::protocol::token::JoinToken;
use crate::system::clock::{Clock, Timestamp};
use crate::system::files::{Files, Layer, Operation};
use crate::system::names::NodeName;
use crate::system::scratch::Scratch;

/// Keeps the operations that change something; from one of them on, the power is off.
struct Power {
    done: Mutex<Vec<Operation>>,
    lasts: usize,
    /// Of the first write that no longer happens, this share does, in percent.
    torn: Option<usize>,
    only: Option<PathBuf>,
}

impl Layer for Power {
    fn before(&self, operation: Operation) -> io::Result<()> {
        if !operation.is_change() {
            return Ok(());
        }
        if let Some(only) = &self.only {
            let refused = matches!(&operation, Operation::Rename { to, .. } if to == only);
            return if refused {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            };
        }
        let mut done = self.done.lock().unwrap();
        if done.len() < self.lasts {
            done.push(operation);
            return Ok(());
        }
        if let (Some(percent), Operation::Write { path, bytes }) = (self.torn, &operation)
            && done.len() == self.lasts
        {
            let torn = &bytes[..bytes.len() * percent / 100];
            let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
            io::Write::write_all(&mut file, torn)?;
            // Only once: the power is off now.
            done.push(operation);
        }
        Err(io::Error::other("the power is off"))
    }
}

fn power(lasts: usize, torn: Option<usize>, only: Option<&Path>) -> (Files, Arc<Power>) {
    let power = Arc::new(Power {
        done: Mutex::default(),
        lasts,
        torn,
        only: only.map(Path::to_owned),
    });
    (Files::with(power.clone()), power)
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

fn is(found: &Identity, wanted: &Identity) -> bool {
    let parts = |identity: &Identity| {
        let key = identity.key.to_sec1_der();
        (
            key,
            identity.certificate.der().to_owned(),
            identity.ca.der().to_owned(),
        )
    };
    parts(found) == parts(wanted)
}

#[test]
fn after_any_cut_there_is_the_old_identity_or_the_new() {
    let (node, old, new) = pair();
    let (files, all) = power(usize::MAX, None, None);
    let folder = Scratch::new();
    old.commit(&Files::real(), &place(&folder)).unwrap();
    new.commit(&files, &place(&folder)).unwrap();
    let steps = all.done.lock().unwrap().clone();
    assert!(steps.len() >= 12, "three files are replaced: {steps:?}");
    let (mut seen_old, mut seen_new) = (0, 0);
    for lasts in 0..=steps.len() {
        for torn in [None, Some(0), Some(50), Some(99)] {
            let folder = Scratch::new();
            let place = place(&folder);
            old.commit(&Files::real(), &place).unwrap();
            let (files, _) = power(lasts, torn, None);
            let outcome = new.commit(&files, &place);
            // The device starts again, without knowing how far it came.
            let found = Identity::load(&Files::real(), &place, &node).unwrap();
            assert!(
                is(&found, &old) || is(&found, &new),
                "a mixture after {lasts}"
            );
            if outcome.is_ok() {
                assert!(is(&found, &new), "promised and not kept after {lasts}");
            }
            seen_old += usize::from(is(&found, &old));
            seen_new += usize::from(is(&found, &new));
            // The start has made the copies those of the unit.
            for (path, certificate) in [
                (&place.certificate, &found.certificate),
                (&place.ca, &found.ca),
            ] {
                assert_eq!(
                    std::fs::read(path).unwrap(),
                    certificate.to_pem().as_bytes()
                );
            }
        }
    }
    assert!(seen_old > 0 && seen_new > 0);
}

#[test]
fn after_any_cut_of_a_first_commit_there_is_nothing_or_all() {
    let (node, _, new) = pair();
    let (files, all) = power(usize::MAX, None, None);
    new.commit(&files, &place(&Scratch::new())).unwrap();
    let steps = all.done.lock().unwrap().len();
    for lasts in 0..=steps {
        let folder = Scratch::new();
        let place = place(&folder);
        let (files, _) = power(lasts, Some(50), None);
        let outcome = new.commit(&files, &place);
        match Identity::load(&Files::real(), &place, &node) {
            Ok(found) => assert!(is(&found, &new)),
            Err(error) => {
                assert!(matches!(error, IdentityError::Absent), "{error}");
                assert!(outcome.is_err(), "promised and not kept after {lasts}");
            }
        }
        // Whatever was left behind, the next attempt succeeds.
        new.commit(&Files::real(), &place).unwrap();
        assert!(is(
            &Identity::load(&Files::real(), &place, &node).unwrap(),
            &new
        ));
    }
}

#[test]
fn a_disk_that_takes_nothing_is_found_before_the_cloud_signs() {
    let now = Timestamp::from_unix(1_800_000_000);
    let clock = Clock::manual(now).0;
    let ca = new_ca(now).unwrap();
    let key = PrivateKey::generate().unwrap();
    let issuer = Issuer::new(ca.0.clone(), ca.1).unwrap();
    let address = [std::net::Ipv4Addr::LOCALHOST.into()];
    let until = now.plus(std::time::Duration::from_secs(3600));
    let serving = issuer.server(&key, &[], &address, now, until).unwrap();
    let der = ca.0.der().to_owned();
    let server = Server::start(&(serving, key), &clock, move |_| ok(&der));
    let folder = Scratch::new();
    let (files, _) = power(0, None, None);
    let edge = edge_on(files, &folder, "edge-1", server.port, &clock);
    let token = JoinToken::new(ca.0.hash(), "a.b.c").unwrap();
    let refused = run(&edge, enroll(&edge, &token)).unwrap_err();
    assert!(
        matches!(refused, Failure::Identity(IdentityError::File(_))),
        "{refused}"
    );
    let asked: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(asked, ["/ca.crt"]);
}

#[test]
fn copies_that_cannot_be_written_cost_nothing() {
    let (node, old, new) = pair();
    let folder = Scratch::new();
    let place = place(&folder);
    old.commit(&Files::real(), &place).unwrap();
    for copy in [&place.certificate, &place.ca] {
        let (files, _) = power(0, None, Some(copy));
        new.commit(&files, &place).unwrap();
        assert!(is(&Identity::load(&files, &place, &node).unwrap(), &new));
        assert_ne!(
            std::fs::read(copy).unwrap(),
            new.certificate.to_pem().as_bytes()
        );
        old.commit(&Files::real(), &place).unwrap();
    }
    let (files, _) = power(0, None, Some(&place.key));
    new.commit(&files, &place).unwrap_err();
    assert!(is(
        &Identity::load(&Files::real(), &place, &node).unwrap(),
        &old
    ));
}

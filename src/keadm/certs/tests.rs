//! A device's files and a cloud's, good and damaged, and what is said of each.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::check::check;
use super::sides;
use crate::config::edge::EdgeConfig;
use crate::keadm::device::Device;
use crate::keadm::out::{self, Report};
use crate::pki::certificate::{Certificate, Subject};
use crate::pki::issue::{Issuer, new_ca};
use crate::pki::key::PrivateKey;
use crate::system::clock::{Clock, Timestamp};
use crate::system::exit;
use crate::system::host::Host;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

const DAY: Duration = Duration::from_secs(86_400);
const KEY: &str = "/etc/kubeedge/certs/server.key";
const CERTIFICATE: &str = "/etc/kubeedge/certs/server.crt";
const CA: &str = "/etc/kubeedge/ca/rootCA.crt";

struct Joined {
    _folder: Scratch,
    host: Host,
    ca: Certificate,
    issuer: Issuer,
}

/// A device called edge-1 that joined just now.
fn joined() -> Joined {
    let folder = Scratch::new();
    let mut host = Host::real(Root::new(Some(folder.path().to_path_buf())));
    let now = Timestamp::from_unix(1_800_000_000);
    host.clock = Clock::manual(now).0;
    let (ca, key) = new_ca(now).unwrap();
    let issuer = Issuer::new(ca.clone(), key).unwrap();
    let joined = Joined {
        _folder: folder,
        host,
        ca,
        issuer,
    };
    let yaml = EdgeConfig::min_yaml("edge-1", "127.0.0.1");
    joined.put("/etc/kubeedge/config/edgecore.yaml", yaml.as_bytes(), 0o644);
    joined.put(CA, joined.ca.to_pem().as_bytes(), 0o644);
    let (key, certificate) = joined.identity("edge-1");
    joined.put(CERTIFICATE, certificate.to_pem().as_bytes(), 0o644);
    joined.put_unit(&key, &certificate);
    joined
}

impl Joined {
    fn put(&self, path: &str, bytes: &[u8], mode: u32) {
        let path = self.host.root.at(path);
        self.host
            .files
            .make_dir(path.parent().unwrap(), 0o700)
            .unwrap();
        self.host.files.replace(&path, bytes, mode).unwrap();
    }

    fn put_unit(&self, key: &PrivateKey, certificate: &Certificate) {
        let unit = key.to_sec1_pem().to_string() + &certificate.to_pem() + &self.ca.to_pem();
        self.put(KEY, unit.as_bytes(), 0o600);
    }

    fn identity(&self, name: &str) -> (PrivateKey, Certificate) {
        let (key, now) = (PrivateKey::generate().unwrap(), self.host.clock.now());
        let subject = Subject::node(&name.parse().unwrap());
        let made = self
            .issuer
            .client(key.spki(), &subject, now, now.plus(100 * DAY));
        (key, made.unwrap())
    }

    fn faults(&self) -> Vec<String> {
        let checked = check(&self.host, None).unwrap();
        let faults = checked
            .faults()
            .map(|(row, fault)| format!("{}: {fault}", row.what));
        let faults: Vec<String> = faults.collect();
        assert_eq!(checked.good, faults.is_empty());
        assert_eq!(checked.code() == exit::OK, checked.good);
        let text = checked.text();
        assert!(text.lines().count() > 3 + faults.len(), "{text}");
        faults
    }

    fn only_fault(&self) -> String {
        let faults = self.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.into_iter().next().unwrap()
    }
}

#[test]
fn a_fresh_device_is_good() {
    let joined = joined();
    assert_eq!(joined.faults(), [""; 0]);
    let checked = check(&joined.host, None).unwrap();
    let json: serde_json::Value = serde_json::from_str(&out::json(&checked)).unwrap();
    assert_eq!(json["good"], true);
    assert_eq!(json["rows"][1]["what"], "certificate");
    assert_eq!(json["rows"][1]["certificate"]["name"], "system:node:edge-1");
    assert_eq!(json["rows"][1]["certificate"]["secondsLeft"], 8_640_000);
    assert_eq!(
        json["rows"][0]["certificate"]["hash"],
        joined.ca.hash().to_string()
    );
}

#[test]
fn the_files_of_a_go_edgecore_are_good_too() {
    let joined = joined();
    let (key, certificate) = joined.identity("edge-1");
    joined.put(KEY, key.to_sec1_pem().as_bytes(), 0o600);
    joined.put(CERTIFICATE, certificate.to_pem().as_bytes(), 0o644);
    assert_eq!(joined.faults(), [""; 0]);
}

/// As an enrolment with a token of counted uses leaves it when the power goes between its renames.
#[test]
fn what_waits_for_its_name_is_no_mismatch() {
    let pending = |path: &str| format!("{path}.pending");
    let mut one = joined();
    let before = one.host.files.read_opt(&one.host.root.at(CA), 9999);
    let (ca, key) = new_ca(one.host.clock.now()).unwrap();
    one.issuer = Issuer::new(ca.clone(), key).unwrap();
    let (key, certificate) = one.identity("edge-1");
    one.put(KEY, key.to_sec1_pem().as_bytes(), 0o600);
    one.put(
        &pending(CERTIFICATE),
        certificate.to_pem().as_bytes(),
        0o644,
    );
    one.put(&pending(CA), ca.to_pem().as_bytes(), 0o644);
    for is_first_enrolment in [false, true] {
        for path in [CA, CERTIFICATE].iter().filter(|_| is_first_enrolment) {
            one.host.files.remove(&one.host.root.at(path)).unwrap();
        }
        let faults = one.faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
        for (fault, what) in faults.iter().zip(["CA: ", "certificate: "]) {
            assert!(fault.starts_with(what), "{fault}");
            assert!(fault.contains("start edgecore"), "{fault}");
        }
    }
    one.put(CERTIFICATE, certificate.to_pem().as_bytes(), 0o644);
    assert!(one.only_fault().starts_with("CA: "));
    one.put(CA, &before.unwrap().unwrap(), 0o644);
    assert!(one.only_fault().contains("rootCA.crt.pending still waits"));
}

/// The same while edgecore is at it: between its renames, and not after a power cut.
#[test]
fn what_edgecore_is_about_to_rename_is_looked_at_again() {
    let pending = |path: &str| format!("{path}.pending");
    let (one, mut edgecore) = (joined(), edgecore());
    let (key, certificate) = one.identity("edge-1");
    let device = Device::read(&one.host, None).unwrap();
    let looks = |most: usize| {
        one.put(KEY, key.to_sec1_pem().as_bytes(), 0o600);
        for (path, certificate) in [(CERTIFICATE, &certificate), (CA, &one.ca)] {
            one.put(&pending(path), certificate.to_pem().as_bytes(), 0o644);
            one.host.files.remove(&one.host.root.at(path)).unwrap();
        }
        let (mut count, mut first) = (0, Vec::new());
        let rows = sides::settled(&one.host, &device, |host, device| {
            let rows = sides::edge_once(host, device);
            count += 1;
            // It goes on behind the back of whoever has just looked.
            if let Some(path) = [CERTIFICATE, CA].get(count - 1) {
                let [from, to] = [pending(path), path.to_string()].map(|it| host.root.at(it));
                host.files.rename(&from, &to).unwrap();
                first.extend(rows.iter().flat_map(|row| row.faults.clone()));
            }
            rows
        });
        assert_eq!(count, most);
        assert!(first.iter().any(|fault| fault.contains("still waits")));
        rows.iter().all(|row| row.faults.is_empty())
    };
    let note = edgecore.id().to_string();
    one.put("/run/kubeedge/edgecore.lock", note.as_bytes(), 0o644);
    assert!(looks(3));
    drop(edgecore.stdin.take());
    edgecore.wait().unwrap();
    // Nobody does the rest.
    assert!(!looks(1));
}

/// Something that counts as one, until its input ends.
fn edgecore() -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "read -r line", "edgecore"]);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn time_is_watched() {
    for (days, part) in [
        (95, Some("should have been renewed by")),
        (101, Some("expired at")),
        (89, None),
    ] {
        let mut joined = joined();
        joined.host.clock = Clock::manual(joined.host.clock.now().plus(days * DAY)).0;
        match part {
            Some(part) => assert!(joined.only_fault().contains(part), "{days}"),
            None => assert_eq!(joined.faults(), [""; 0]),
        }
    }
}

#[test]
fn damage_is_named() {
    let one = joined();
    let (_, other) = one.identity("edge-1");
    one.put(CERTIFICATE, other.to_pem().as_bytes(), 0o644);
    assert!(one.only_fault().starts_with("certificate: "));
    assert!(one.only_fault().contains("repairs the copy"));

    let one = joined();
    let (key, _) = one.identity("edge-1");
    one.put(KEY, key.to_sec1_pem().as_bytes(), 0o600);
    assert!(
        one.only_fault()
            .contains("does not belong to the certificate")
    );

    let one = joined();
    let (key, certificate) = one.identity("edge-2");
    one.put_unit(&key, &certificate);
    one.put(CERTIFICATE, certificate.to_pem().as_bytes(), 0o644);
    assert!(one.only_fault().contains("is not for edge-1"));

    let one = joined();
    one.put(KEY, b"rubbish", 0o600);
    assert!(one.faults()[0].starts_with("key: "));

    let one = joined();
    one.host.files.remove(&one.host.root.at(KEY)).unwrap();
    assert!(one.only_fault().contains("there is no"));

    let one = joined();
    let (ca, _) = new_ca(one.host.clock.now()).unwrap();
    one.put(CA, ca.to_pem().as_bytes(), 0o644);
    assert!(one.only_fault().starts_with("CA: "));
}

#[test]
fn a_certificate_of_another_ca_is_noticed() {
    let one = joined();
    let (key, certificate) = joined().identity("edge-1");
    one.put_unit(&key, &certificate);
    one.put(CERTIFICATE, certificate.to_pem().as_bytes(), 0o644);
    assert!(one.only_fault().contains("not signed by this CA"));
}

#[test]
fn modes_are_watched() {
    for (path, mode) in [
        (KEY, 0o640),
        (CERTIFICATE, 0o664),
        (CA, 0o646),
        ("/etc/kubeedge/certs", 0o755),
    ] {
        let joined = joined();
        joined
            .host
            .files
            .set_mode(&joined.host.root.at(path), mode)
            .unwrap();
        let fault = joined.only_fault();
        assert!(fault.contains(&format!("has mode {mode:04o}")), "{fault}");
        assert!(fault.contains("chmod"), "{fault}");
    }
}

#[test]
fn a_cloud_is_checked_as_well() {
    let folder = Scratch::new();
    let host = Host::real(Root::new(Some(folder.path().to_path_buf())));
    let error = check(&host, None).map(drop).unwrap_err();
    assert_eq!(error.code(), exit::UNAVAILABLE);
    let now = host.clock.now();
    let (ca, ca_key) = new_ca(now).unwrap();
    let issuer = Issuer::new(ca.clone(), ca_key.clone()).unwrap();
    let key = PrivateKey::generate().unwrap();
    let serving = issuer.server(&key, &[], &[], now, now.plus(DAY)).unwrap();
    let cloud = host.root.at("/etc/kubeedge/cloudcore");
    host.files.make_dir(&cloud, 0o700).unwrap();
    for (name, key, certificate) in [("ca", &ca_key, &ca), ("serving", &key, &serving)] {
        let (unit, copy) = (
            key.to_sec1_pem().to_string() + &certificate.to_pem(),
            certificate.to_pem(),
        );
        host.files
            .replace(&cloud.join(format!("{name}.key")), unit.as_bytes(), 0o600)
            .unwrap();
        host.files
            .replace(&cloud.join(format!("{name}.crt")), copy.as_bytes(), 0o644)
            .unwrap();
    }
    let checked = check(&host, None).unwrap();
    assert!(checked.good, "{}", checked.text());
    assert_eq!(checked.rows.len(), 4);
    host.files.set_mode(&cloud.join("ca.key"), 0o644).unwrap();
    let checked = check(&host, None).unwrap();
    let faults: Vec<_> = checked.faults().map(|(row, _)| row.what).collect();
    assert_eq!(faults, ["CA key"]);
}

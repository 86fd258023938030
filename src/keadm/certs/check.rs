//! `certs check`: whether the certificates of this machine are whole, valid and well kept.

use std::fmt;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::sides::{self, Row};
use crate::keadm::device::{Device, DeviceError};
use crate::keadm::out::{self, Format, Report};
use crate::keadm::span::span;
use crate::keadm::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::clock::Timestamp;
use crate::system::exit;
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    name: "certs check",
    group: Group::Anywhere,
    summary: "check expiry, chain, keys and modes of what is here",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to show
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
    /// edgecore's configuration; default: /etc/kubeedge/config/edgecore.yaml
    #[argh(option, arg_name = "file")]
    config: Option<String>,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    match check(host, given.flags.config.as_deref()) {
        Ok(checked) => {
            out::show(&checked, given.flags.output);
            checked.code()
        }
        Err(error) => {
            let (code, flags) = (error.code(), given.flags);
            out::fail(SPEC.name, &error, given.verbosity, flags.output, code)
        }
    }
}

/// Looks at the device's files and at the cloud's, whichever there are.
pub fn check(host: &Host, config: Option<&str>) -> Result<Checked, CheckError> {
    let mut rows = match Device::read(host, config) {
        Ok(device) => sides::edge(host, &device),
        Err(DeviceError::Absent(_)) if config.is_none() => Vec::new(),
        Err(error) => return Err(CheckError::Device(error)),
    };
    if sides::has_cloud(host) {
        rows.extend(sides::cloud(host));
    }
    if rows.is_empty() {
        return Err(CheckError::Nothing);
    }
    let good = rows.iter().all(|row| row.faults.is_empty());
    Ok(Checked {
        good,
        now: host.clock.now(),
        rows,
    })
}

/// What was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    pub good: bool,
    pub now: Timestamp,
    pub rows: Vec<Row>,
}

impl Checked {
    fn code(&self) -> u8 {
        match self.good {
            true => exit::OK,
            false if self.rows.iter().any(|row| row.denied) => exit::DENIED,
            false => exit::FAILURE,
        }
    }

    /// Every fault, with the row that it stands in.
    pub fn faults(&self) -> impl Iterator<Item = (&Row, &str)> {
        let of_row = |row| Row::faults_of(row);
        self.rows.iter().flat_map(of_row)
    }
}

impl Row {
    fn faults_of(row: &Row) -> impl Iterator<Item = (&Row, &str)> {
        row.faults.iter().map(move |fault| (row, fault.as_str()))
    }
}

impl Report for Checked {
    fn text(&self) -> String {
        let mut text = format!(
            "{:<22} {:<20} {:<12} {}\n",
            "WHAT", "UNTIL", "LEFT", "STATE"
        );
        for row in &self.rows {
            let what = format!("{} {}", row.side, row.what);
            let state = match row.faults.len() {
                0 => "good".to_owned(),
                1 => "1 fault".to_owned(),
                count => format!("{count} faults"),
            };
            let (until, left) = match &row.certificate {
                Some(it) if it.seconds_left == 0 => (it.not_after.to_string(), "none".to_owned()),
                Some(it) => (
                    it.not_after.to_string(),
                    span(Duration::from_secs(it.seconds_left)),
                ),
                None => ("-".to_owned(), "-".to_owned()),
            };
            text.push_str(&format!("{what:<22} {until:<20} {left:<12} {state}\n"));
        }
        if !self.good {
            text.push('\n');
        }
        for (row, fault) in self.faults() {
            text.push_str(&args::wrap(
                &format!("{} {}: {fault}", row.side, row.what),
                4,
            ));
        }
        text
    }
}

/// Why nothing could be checked.
#[derive(Debug)]
pub enum CheckError {
    Device(DeviceError),
    /// Neither a device's files nor a cloud's.
    Nothing,
}

impl CheckError {
    fn code(&self) -> u8 {
        match self {
            CheckError::Device(DeviceError::File(error)) if error.is_denied() => exit::DENIED,
            CheckError::Device(DeviceError::Config(_) | DeviceError::Name(_)) => exit::CONFIG,
            CheckError::Device(DeviceError::File(_)) => exit::FAILURE,
            CheckError::Device(DeviceError::Absent(_)) | CheckError::Nothing => exit::UNAVAILABLE,
        }
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::Device(error) => error.fmt(f),
            CheckError::Nothing => f.write_str(
                "there are no certificates here: this machine has joined no cloud, and no \
                 cloudcore has run on it",
            ),
        }
    }
}

impl std::error::Error for CheckError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CheckError::Device(error) => Some(error),
            CheckError::Nothing => None,
        }
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge certs check",
    about: "Checks the certificates and keys of this machine, a device's or a cloud's: that they \
            are valid now and were renewed in time, were issued by the CA beside them, that keys \
            match, copies are equal, and modes keep others away. Changes nothing. Exit code: 0 \
            all is good; 1 something is wrong, each fault is told with its remedy; 69 there is \
            nothing to check; 77 files can't be read by this user.",
    examples: &["kubeedge certs check", "kubeedge certs check -o json"],
    spellings: &[],
    ignored: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::edge::EdgeConfig;
    use crate::pki::certificate::{Certificate, Subject};
    use crate::pki::issue::{Issuer, new_ca};
    use crate::pki::key::PrivateKey;
    use crate::system::clock::Clock;
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
            let unit = key.to_sec1_pem() + &certificate.to_pem() + &self.ca.to_pem();
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
                key.to_sec1_pem() + &certificate.to_pem(),
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
}

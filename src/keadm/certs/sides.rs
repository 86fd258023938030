//! The certificates of each side: a device's identity, and a cloud's CA and serving certificate.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::inspect::{self, Faults, Found};
use crate::config::edge::pending;
use crate::keadm::device::Device;
use crate::keadm::running;
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::{MAX_INPUT, PkiError};
use crate::protocol::control::{self, EDGE_STATUS_SOCKET, EdgeOp, EdgeStatus, Request};
use crate::system::clock::Timestamp;
use crate::system::host::Host;
use crate::system::sandbox::SHARED;

/// One line of the table.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// edge or cloud.
    pub side: &'static str,
    pub what: &'static str,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Facts>,
    /// What is wrong with it, each with what to do.
    pub faults: Vec<String>,
    #[serde(skip)]
    pub denied: bool,
}

/// What a certificate says of itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The common name.
    pub name: String,
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub seconds_left: u64,
    /// SHA-256 of the certificate; that of the CA stands at the beginning of tokens.
    pub hash: String,
}

/// The identity of a device. What edgecore changes meanwhile it changes by several renames, so that a look may
/// fall between two of them.
pub fn edge(host: &Host, device: &Device) -> Vec<Row> {
    settled(host, device, edge_once)
}

/// The first look without a fault; the last one where they stay, or nobody is there who would mend them.
pub(super) fn settled(
    host: &Host,
    device: &Device,
    mut look: impl FnMut(&Host, &Device) -> Vec<Row>,
) -> Vec<Row> {
    let begun = Instant::now();
    loop {
        let rows = look(host, device);
        let is_good = rows.iter().all(|row| row.faults.is_empty());
        let is_denied = rows.iter().any(|row| row.denied);
        if is_good || is_denied || running::process(host).is_none() {
            return rows;
        }
        let copies = [&device.certificate, &device.ca];
        let are_pending = copies.iter().any(|path| host.files.exists(&pending(path)));
        let patience = if are_pending { RENAMING } else { CHANGING };
        if begun.elapsed() >= patience {
            return rows;
        }
        // The end of it is told to nobody.
        sleep(POLL);
    }
}

pub(super) fn edge_once(host: &Host, device: &Device) -> Vec<Row> {
    let (files, now) = (&host.files, edge_time(host));
    let mut found = inspect::unit(files, &device.key, &device.certificate);
    let mut ca_faults = Faults::default();
    let copied = match &found.certificate {
        Some(certificate) if found.ca.is_none() => {
            let issued =
                |ca: &Certificate| is_by(certificate, ca, certificate.not_before()).is_ok();
            inspect::beside(files, &device.ca, issued, &mut ca_faults)
        }
        _ => inspect::copy(files, &device.ca, &mut ca_faults),
    };
    if let (Some(own), Some(copied)) = (&found.ca, &copied)
        && own != copied
    {
        ca_faults.add(format!(
            "{} is not the CA in {}: restart edgecore, it repairs the copy",
            device.ca.display(),
            device.key.display()
        ));
    }
    let ca = found.ca.take().or(copied);
    folders(
        host,
        &[&device.key, &device.certificate, &device.ca],
        &mut found.key_faults,
    );
    if let Some(certificate) = &found.certificate {
        let faults = &mut found.certificate_faults;
        if let Some(ca) = &ca
            && let Err(error) = is_by(certificate, ca, now)
        {
            faults.add(error.to_string());
        }
        inspect::overdue(certificate, now, faults);
        let name = certificate.subject().node_name();
        if name.as_ref() != Some(&device.node) {
            faults.add(format!(
                "the certificate is not for {}: correct modules.edged.hostnameOverride in \
                 edgecore.yaml, or join again with a fresh token",
                device.node
            ));
        }
    }
    let ca_row = row("edge", "CA", &device.ca, ca.as_ref(), ca_faults, now);
    let mut rows = vec![ca_row];
    rows.extend(pair(
        "edge",
        ["certificate", "key"],
        &device.key,
        &device.certificate,
        found,
        now,
    ));
    rows
}

fn is_by(certificate: &Certificate, ca: &Certificate, now: Timestamp) -> Result<(), PkiError> {
    chain::verify_client(certificate, std::slice::from_ref(ca), now)
}

/// What a running edgecore judges validity by, which knows of a clock that is wrong; else the clock here.
fn edge_time(host: &Host) -> Timestamp {
    let socket = host.root.at(EDGE_STATUS_SOCKET);
    let status = control::call::<EdgeStatus>(&socket, &Request::new(EdgeOp::Status), PATIENCE);
    let said = status.ok().and_then(|status| status.now);
    said.unwrap_or_else(|| host.clock.now())
}

/// The CA and the serving certificate of a cloud that keeps them in files.
pub fn cloud(host: &Host) -> Vec<Row> {
    let now = host.clock.now();
    let file = |name: &str| host.root.at(CLOUD_FOLDER).join(name);
    let (ca_key, ca_file) = (file("ca.key"), file("ca.crt"));
    let mut ca = inspect::unit(&host.files, &ca_key, &ca_file);
    folders(host, &[&ca_key], &mut ca.key_faults);
    if let Some(certificate) = &ca.certificate {
        if !certificate.is_ca() {
            ca.certificate_faults
                .add("it is no authority's: put the CA's own certificate there");
        }
        if now >= certificate.not_after() {
            ca.certificate_faults
                .add("it has ended: every device has to join under another CA");
        }
    }
    let (serving_key, serving_file) = (file("serving.key"), file("serving.crt"));
    let mut serving = inspect::unit(&host.files, &serving_key, &serving_file);
    // During a rotation the next CA may have signed it already.
    let next = host.files.read_opt(&file("ca-next.key"), MAX_INPUT);
    let next = next.ok().flatten();
    let next = next.and_then(|bytes| Certificate::from_pem(&bytes).ok());
    let trusted: Vec<Certificate> = ca.certificate.iter().cloned().chain(next).collect();
    if let (Some(certificate), Some(_)) = (&serving.certificate, &ca.certificate)
        && let Err(error) = chain::verify_server(certificate, &trusted, now)
    {
        serving.certificate_faults.add(error.to_string());
    }
    let mut rows = pair("cloud", ["CA", "CA key"], &ca_key, &ca_file, ca, now);
    let whats = ["serving", "serving key"];
    rows.extend(pair(
        "cloud",
        whats,
        &serving_key,
        &serving_file,
        serving,
        now,
    ));
    rows
}

/// Whether this machine has a cloud's files, as far as one can see.
pub fn has_cloud(host: &Host) -> bool {
    match host.files.mode(&host.root.at(CLOUD_FOLDER).join("ca.key")) {
        Ok(_) => true,
        Err(error) => !error.is_not_found(),
    }
}

fn pair(
    side: &'static str,
    whats: [&'static str; 2],
    key: &Path,
    certificate: &Path,
    found: Found,
    now: Timestamp,
) -> Vec<Row> {
    let Found {
        certificate: own,
        certificate_faults,
        key_faults,
        ..
    } = found;
    vec![
        row(
            side,
            whats[0],
            certificate,
            own.as_ref(),
            certificate_faults,
            now,
        ),
        row(side, whats[1], key, None, key_faults, now),
    ]
}

fn row(
    side: &'static str,
    what: &'static str,
    path: &Path,
    certificate: Option<&Certificate>,
    faults: Faults,
    now: Timestamp,
) -> Row {
    Row {
        side,
        what,
        path: path.display().to_string(),
        certificate: certificate.map(|it| Facts {
            name: it.subject().common_name.unwrap_or_default(),
            serial: it.serial(),
            not_before: it.not_before(),
            not_after: it.not_after(),
            seconds_left: it.not_after().since(now).as_secs(),
            hash: it.hash().to_string(),
        }),
        faults: faults.sentences,
        denied: faults.denied,
    }
}

/// The folders of these files, each once, are for their owner alone.
fn folders(host: &Host, paths: &[&Path], faults: &mut Faults) {
    let mut folders: Vec<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    folders.sort();
    folders.dedup();
    for folder in folders {
        // Where others have files too, nobody can enter it but root and edgecore's user, or take what is another's.
        let is_shared = host.files.mode(folder).is_ok_and(|mode| mode == SHARED);
        let allowed = if is_shared { SHARED } else { 0o700 };
        inspect::keep_from_others(&host.files, folder, allowed, faults);
    }
}

const CLOUD_FOLDER: &str = "/etc/kubeedge/cloudcore";
const PATIENCE: Duration = Duration::from_secs(3);
/// What edgecore takes at most for the files of one change, with a slow disk.
const CHANGING: Duration = Duration::from_secs(3);
/// As long as files wait for their names.
const RENAMING: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

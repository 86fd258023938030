//! What shows that this machine is, or was, an edge; and what on it is somebody else's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::edge::pending;
use crate::config::first_boot;
use crate::keadm::device::Device;
use crate::keadm::{ROLES, running};
use crate::pki::certificate::Certificate;
use crate::system::host::Host;
use crate::system::processes;
use crate::system::service::{self, Daemon};

pub struct Traces {
    pub node: Option<String>,
    /// What join and edgecore have made, as far as it is there.
    pub own: Vec<PathBuf>,
    pub run_folder: PathBuf,
    pub of_cloud: Vec<PathBuf>,
    /// The executable and its links.
    pub program: Vec<PathBuf>,
    pub of_operator: Vec<PathBuf>,
    is_edge: bool,
}

impl Traces {
    pub fn look(host: &Host) -> Traces {
        let at = |path: &&str| host.root.at(path);
        let there = |path: &PathBuf| path.symlink_metadata().is_ok();
        let device = Device::read(host, None).ok();
        let status = running::status(host);
        let of_cloud = of_cloud(host);
        let mut own: Vec<PathBuf> = FOLDERS.iter().map(at).collect();
        if let Some(device) = &device {
            let files = [&device.key, &device.certificate, &device.ca];
            let files = files.into_iter().flat_map(|it| [it.clone(), pending(it)]);
            let elsewhere = |path: &PathBuf| !own.iter().any(|folder| path.starts_with(folder));
            let elsewhere: Vec<PathBuf> = files.filter(elsewhere).collect();
            own.extend(elsewhere);
            // The operator's folder, perhaps; what edgecore has made in it is one folder.
            let objects = device.state.as_ref().map(|state| state.join(OBJECTS));
            let of_flag = status.as_ref().and_then(|it| it.objects_in.as_deref());
            let of_flag = of_flag.and_then(|words| words.split(", ").next());
            let of_flag = of_flag.map(|folder| Path::new(folder).join(OBJECTS));
            for objects in objects.into_iter().chain(of_flag) {
                if !own.iter().any(|folder| objects.starts_with(folder)) {
                    own.push(objects);
                }
            }
        }
        own.retain(there);
        let edge_files = EDGE_FILES.iter().map(at).any(|path| there(&path))
            || service::is_any_ours(host, &Daemon::edgecore(&host.root));
        let run = Some(at(&RUN)).filter(there);
        // Folders alone may be a cloud's.
        let is_edge = edge_files
            || status.is_some()
            || running::process(host).is_some()
            || first_boot::keeps_token(host)
            || !running::edgecores(host).is_empty()
            || (of_cloud.is_empty() && own.iter().chain(&run).any(|path| !is_empty_folder(path)));
        let program = processes::own_executable().unwrap_or_default();
        let folder = host.root.at(service::folder_of(&host.root, &program));
        let names = ["kubeedge"]
            .into_iter()
            .chain(ROLES.iter().map(|(name, _)| *name));
        let executable = fs::canonicalize(folder.join("kubeedge")).ok();
        let is_ours =
            |path: &PathBuf| executable.is_some() && fs::canonicalize(path).ok() == executable;
        let of_device = device.as_ref().map(|device| device.node.to_string());
        Traces {
            node: status
                .map(|status| status.node)
                .or(of_device)
                .or_else(|| of_certificate(host)),
            own,
            run_folder: host.root.at(RUN),
            of_cloud,
            program: names
                .map(|name| folder.join(name))
                .filter(|it| is_ours(it))
                .collect(),
            of_operator: OF_OPERATOR.iter().map(at).filter(there).collect(),
            is_edge,
        }
    }

    pub fn is_nothing(&self) -> bool {
        !self.is_edge
    }
}

/// What a cloudcore on the same machine, ours or KubeEdge's, has there.
fn of_cloud(host: &Host) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = OF_CLOUD.iter().map(|path| host.root.at(path)).collect();
    found.retain(|path| path.exists());
    if host.root.at(CLOUD_CA_KEY).exists() {
        found.push(host.root.at(CA_FOLDER));
        // A serving certificate may lie where the device's own would.
        if of_certificate(host).is_none() && host.root.at(CERTIFICATE).exists() {
            found.push(host.root.at(CERTIFICATES));
        }
    }
    found
}

/// The node of the certificate at its usual place.
fn of_certificate(host: &Host) -> Option<String> {
    let path = host.root.at(Path::new(CERTIFICATE));
    let bytes = host.files.read_opt(&path, MAX_CERTIFICATE).ok()??;
    let subject = Certificate::from_pem(&bytes).ok()?.subject();
    subject.node_name().map(|node| node.to_string())
}

/// Such as a mount point that an earlier reset has emptied.
fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// As KubeEdge removes them; `/var/lib/edged` is of its older versions.
const FOLDERS: &[&str] = &[
    "/etc/kubeedge",
    "/var/log/kubeedge",
    "/var/lib/kubeedge",
    "/var/lib/edged",
];
/// In edgecore's folder of state.
const OBJECTS: &str = "meta";
const RUN: &str = "/run/kubeedge";
const EDGE_FILES: &[&str] = &[
    "/etc/kubeedge/bootstrap-edgecore.conf",
    "/etc/kubeedge/config/edgecore.yaml",
    "/run/kubeedge/edgecore-status.sock",
    "/var/log/kubeedge/edgecore.log",
];
const OF_CLOUD: &[&str] = &[
    "/etc/kubeedge/cloudcore",
    "/etc/kubeedge/config/cloudcore.yaml",
    "/run/kubeedge/cloudcore.pid",
    "/run/kubeedge/cloudcore.sock",
    "/var/lib/kubeedge/cloudcore",
    "/var/log/kubeedge/cloudcore.log",
];
const OF_OPERATOR: &[&str] = &[
    "/etc/conf.d/edgecore",
    "/etc/default/edgecore",
    "/etc/systemd/system/edgecore.service.d",
];
const CA_FOLDER: &str = "/etc/kubeedge/ca";
const CLOUD_CA_KEY: &str = "/etc/kubeedge/ca/rootCA.key";
const CERTIFICATES: &str = "/etc/kubeedge/certs";
const CERTIFICATE: &str = "/etc/kubeedge/certs/server.crt";
/// Bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;

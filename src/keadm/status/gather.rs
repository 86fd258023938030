//! Collects what is known of a device: from edgecore, from its files, from the init system.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{CertificateFacts, Edgecore, Executable, Problem, Registration, ServiceFacts, Session};
use crate::keadm::ROLES;
use crate::keadm::device::{Device, DeviceError};
use crate::keadm::running;
use crate::pki::MAX_INPUT;
use crate::pki::certificate::Certificate;
use crate::protocol::control::{
    self, ControlError, EDGE_STATUS_SOCKET, EdgeOp, EdgeStatus, Request,
};
use crate::system::host::Host;
use crate::system::processes;
use crate::system::root::Root;
use crate::system::service::{self, Choice, Daemon, Service, ServiceError, Status};

/// Everything, before it is judged.
pub struct Found {
    pub node: Option<String>,
    pub cloud: Option<String>,
    pub executable: Executable,
    pub service: ServiceFacts,
    /// Below /usr/local, while a package has brought this executable.
    pub runs_another: bool,
    pub edgecore: Answer,
    pub certificate: Option<CertificateFacts>,
    /// What was wrong with the device's files; none when they are as they should be.
    pub fault: Option<DeviceError>,
    /// Where to read what edgecore has to say.
    pub log: String,
}

/// What came from edgecore's socket.
pub enum Answer {
    NotRunning,
    /// It is there, and this is why there is no answer.
    Silent(ControlError),
    Status(Box<EdgeStatus>),
}

impl Answer {
    pub fn into_facts(self) -> Option<Edgecore> {
        match self {
            Answer::Status(status) => Some(facts(*status)),
            _ => None,
        }
    }
}

/// Looks everywhere; nothing that is missing stops it.
pub fn gather(host: &Host, config: Option<&str>) -> Found {
    let edgecore = ask(host);
    let (device, fault) = match Device::read(host, config) {
        Ok(device) => (Some(device), None),
        Err(fault) => (None, Some(fault)),
    };
    let mut found = Found {
        node: device.as_ref().map(|device| device.node.to_string()),
        cloud: device.as_ref().map(|device| device.hub.to_string()),
        executable: executable(host),
        service: service_facts(host),
        runs_another: false,
        certificate: device.as_ref().and_then(|device| on_disk(host, device)),
        edgecore,
        fault,
        log: String::new(),
    };
    found.log = service::log_of(host, found.service.init);
    // A running edgecore knows better than files that may have changed since it read them.
    if let Answer::Status(status) = &found.edgecore {
        found.node = Some(status.node.clone());
        found.cloud = Some(status.cloud.clone());
        found.service.running = true;
        found.service.pid = Some(status.pid);
        if let Some(facts) = &status.certificate {
            found.certificate = Some(CertificateFacts {
                serial: facts.serial.clone(),
                not_before: facts.not_before,
                not_after: facts.not_after,
            });
        }
    }
    let own = processes::own_executable().unwrap_or_default();
    let runs = found.service.pid.and_then(running::executable);
    found.runs_another = runs.is_some_and(|runs| is_another(&host.root, &own, &runs));
    found
}

fn is_another(root: &Root, own: &Path, runs: &Path) -> bool {
    let [loose, packaged] = service::FOLDERS;
    service::folder_of(root, own) == packaged && runs == root.at(loose).join("kubeedge")
}

fn ask(host: &Host) -> Answer {
    let socket = host.root.at(EDGE_STATUS_SOCKET);
    match control::call(&socket, &Request::new(EdgeOp::Status), PATIENCE) {
        Ok(status) => Answer::Status(Box::new(status)),
        Err(ControlError::NotRunning) => Answer::NotRunning,
        Err(error) => Answer::Silent(error),
    }
}

fn facts(status: EdgeStatus) -> Edgecore {
    Edgecore {
        state: status.state.to_string(),
        version: status.version,
        pid: status.pid,
        hub_pid: status.hub_pid,
        sandbox: status.sandbox,
        objects_in: status.objects_in,
        since: status.since,
        last_error: status.last_error.map(problem),
        session: status.session.map(|session| Session {
            generation: session.generation,
            since: session.since,
            peer: session.peer,
            serial: session.serial,
            tunnel: session.tunnel,
            no_quic: session.no_quic,
        }),
        next_rotation: status.next_rotation,
        registration: status.registration.map(|it| Registration {
            since: it.since,
            ready: it.ready,
            lease_renewed: it.lease_renewed,
            address: it.address,
            problem: it.problem.map(problem),
        }),
        messages: status.messages,
        failures: status.failures,
    }
}

fn problem(problem: control::Problem) -> Problem {
    Problem {
        at: problem.at,
        message: problem.message,
        retryable: problem.retryable,
    }
}

fn executable(host: &Host) -> Executable {
    let own = processes::own_executable().unwrap_or_default();
    let folder = host.root.at(service::folder_of(&host.root, &own));
    let path = folder.join("kubeedge");
    let leads_here = |name: &str| {
        let there = fs::canonicalize(folder.join(name));
        matches!((there, fs::canonicalize(&path)), (Ok(there), Ok(here)) if there == here)
    };
    let names = ROLES.iter().map(|(name, _)| *name);
    let (links, missing_links) = names.partition(|name| leads_here(name));
    Executable {
        installed: path.is_file(),
        path: path.display().to_string(),
        links,
        missing_links,
    }
}

fn service_facts(host: &Host) -> ServiceFacts {
    let service = service::detect(host, Daemon::edgecore(&host.root), Choice::Auto);
    match of_service(&*service) {
        // It may have been started without the init system that is there.
        Ok(facts) if !facts.running => {
            let by_hand = service::detect(host, Daemon::edgecore(&host.root), Choice::None);
            match of_service(&*by_hand) {
                Ok(found) if found.running => found,
                _ => facts,
            }
        }
        Ok(facts) => facts,
        Err(error) => ServiceFacts {
            init: service.kind(),
            problem: Some(error.to_string()),
            ..ServiceFacts::default()
        },
    }
}

fn of_service(service: &dyn Service) -> Result<ServiceFacts, ServiceError> {
    let status = service.status()?;
    let pid = match status {
        Status::Running(pid) => pid,
        _ => None,
    };
    Ok(ServiceFacts {
        init: service.kind(),
        installed: status != Status::NotInstalled,
        starts_at_boot: status != Status::NotInstalled && service.starts_at_boot()?,
        running: matches!(status, Status::Running(_)),
        pid,
        problem: None,
    })
}

/// The copy for other readers will do: this is shown when edgecore is not there to tell.
fn on_disk(host: &Host, device: &Device) -> Option<CertificateFacts> {
    let bytes = host.files.read_opt(&device.certificate, MAX_INPUT).ok()??;
    let certificate = Certificate::from_pem(&bytes).ok()?;
    Some(CertificateFacts {
        serial: certificate.serial(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
    })
}

const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::Files;
    use crate::system::scratch::Scratch;

    #[test]
    fn an_executable_that_a_package_would_replace_is_known() {
        let (dir, files) = (Scratch::new(), Files::real());
        let root = Root::new(Some(dir.path().into()));
        let [loose, packaged] = service::FOLDERS.map(|folder| {
            files.make_dir(&root.at(folder), 0o755).unwrap();
            root.at(folder).join("kubeedge")
        });
        files.replace(&packaged, b"", 0o755).unwrap();
        assert!(is_another(&root, &packaged, &loose));
        assert!(!is_another(&root, &packaged, &packaged));
        assert!(!is_another(&root, &loose, &packaged));
        assert!(!is_another(&root, &loose, &loose));
    }
}

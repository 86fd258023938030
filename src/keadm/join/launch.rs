//! edgecore as a service: installed, enabled, started; one that runs already is replaced if it
//! must be.

use super::error::JoinError;
use super::present::Present;
use crate::system::host::Host;
use crate::system::processes::Process;
use crate::system::service::{self, Choice, Daemon, Outcome, Report, Service, Touch};

pub struct Launched {
    pub service: Box<dyn Service>,
    /// Why it won't start at boot, when it won't.
    pub not_at_boot: Option<&'static str>,
    /// The process that was started here, where the init system does not restart it.
    pub started: Option<Process>,
    pub done: Vec<String>,
}

/// The service that would be used; for those who only want to tell.
pub fn service(host: &Host, choice: Choice) -> Box<dyn Service> {
    service::detect(host, Daemon::edgecore(&host.root), choice)
}

/// `renew` says that a running edgecore has an old executable, configuration or token.
pub fn launch(
    host: &Host,
    choice: Choice,
    present: &Present,
    renew: bool,
) -> Result<Launched, JoinError> {
    let service = service(host, choice);
    let mut done = Vec::new();
    let mut note = |report: Report| done.extend(report.touched.iter().map(Touch::to_string));
    // An earlier join may have used another way to start it: two would fight for the node.
    for given_up in service::give_up(host, &Daemon::edgecore(&host.root), Some(&*service)) {
        note(given_up?);
    }
    note(service.install()?);
    let enabled = service.enable()?;
    let not_at_boot = match enabled.outcome {
        Outcome::Impossible(why) => Some(why),
        _ => None,
    };
    note(enabled);
    let mut started = if renew || present.is_in_trouble() {
        let left = present.pid.and_then(Process::get);
        let left = left.filter(|process| process.is("edgecore"));
        service.restart(left.as_ref())?
    } else {
        service.start()?
    };
    if started.outcome == Outcome::Done {
        started
            .touched
            .retain(|touch| !matches!(touch, Touch::Wrote(_)));
    }
    let pid = started.touched.iter().find_map(|touch| match touch {
        Touch::Started(pid) => Some(*pid),
        _ => None,
    });
    note(started);
    Ok(Launched {
        service,
        not_at_boot,
        started: pid.and_then(Process::get),
        done,
    })
}

//! Ends edgecore, however it was started, and takes it out of the init system.

use std::time::Duration;

use crate::config::first_boot;
use crate::keadm::join::ERASED;
use crate::keadm::running;
use crate::system::host::Host;
use crate::system::processes::{self, Ended};
use crate::system::service::{self, Daemon, Report, ServiceError, Touch};

/// What was done, and what could not be, a sentence each.
#[derive(Default)]
pub struct Stopped {
    pub done: Vec<String>,
    pub left: Vec<String>,
}

/// What is stopped already is fine.
pub fn stop(host: &Host) -> Stopped {
    let mut stopped = Stopped::default();
    for result in service::give_up(host, &Daemon::edgecore(&host.root), None) {
        stopped.note(result);
    }
    for process in running::process(host)
        .into_iter()
        .chain(running::edgecores(host))
    {
        let pid = process.pid;
        match processes::terminate(&process, GRACE) {
            Ok(Ended::AlreadyGone) => {}
            Ok(Ended::Killed | Ended::Terminated) => {
                stopped.done.push(format!("ended process {pid}"));
            }
            Err(error) => stopped.left.push(error.to_string()),
        }
    }
    stopped
}

impl Stopped {
    /// What asks the device to join may lie where nothing else is removed, such as in UCI.
    pub fn forget_request(&mut self, host: &Host) {
        match first_boot::erase(host) {
            Ok(true) => self.done.push(ERASED.to_owned()),
            Ok(false) => {}
            Err(error) => self.keep(error.to_string()),
        }
    }

    fn note(&mut self, result: Result<Report, ServiceError>) {
        match result {
            Ok(report) => self
                .done
                .extend(report.touched.iter().map(Touch::to_string)),
            Err(error) => self.keep(error.to_string()),
        }
    }

    fn keep(&mut self, sentence: String) {
        // Two steps may meet the same file.
        if !self.left.contains(&sentence) {
            self.left.push(sentence);
        }
    }
}

/// A daemon stops within 5 s.
const GRACE: Duration = Duration::from_secs(10);

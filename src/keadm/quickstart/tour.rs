//! The tour: one step after the other, until all are verified or one is not.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use smol::Timer;

use super::children::Child;
use super::folder::Folder;
use super::report::Reporter;
use super::step::{Step, TOUR};
use super::views::Side;
use crate::system::host::Host;
use crate::system::lifeline::Anchor;
use crate::system::processes::{self, Process};
use crate::system::service::{self, Choice, Daemon};

/// All that is there while a tour goes on.
pub struct Tour {
    pub folder: Folder,
    pub reporter: Reporter,
    pub executable: PathBuf,
    pub(super) cloud: Side,
    pub(super) edge: Side,
    pub(super) sabotage: Option<Step>,
    pub(super) cloudcore: Option<Child>,
    pub(super) ports: Ports,
    pub(super) edgecore: Option<Process>,
    /// What we started ends when this goes, even if we are killed.
    pub(super) anchor: Anchor,
}

/// Where the cloud listens.
#[derive(Clone, Copy, Default, serde::Deserialize)]
pub struct Ports {
    pub https: u16,
    #[serde(default)]
    pub hub: u16,
}

/// What was seen in a step, or why it failed.
pub type Outcome = Result<Vec<String>, Fault>;

/// Why a step failed: a sentence.
#[derive(Debug)]
pub struct Fault(pub String);

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Fault {
        Fault(error.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Tour {
    pub fn new(
        host: &Host,
        folder: Folder,
        reporter: Reporter,
        sabotage: Option<Step>,
    ) -> io::Result<Tour> {
        Ok(Tour {
            executable: processes::own_executable()?,
            anchor: Anchor::new(&folder.path().join("lifeline"))?,
            cloud: Side::new(host, folder.path(), "cloud"),
            edge: Side::new(host, folder.path(), "edge"),
            folder,
            reporter,
            sabotage,
            cloudcore: None,
            ports: Ports::default(),
            edgecore: None,
        })
    }

    /// True when every step was verified.
    pub async fn show(&mut self) -> bool {
        for step in TOUR {
            if !self.take(step).await {
                return false;
            }
        }
        true
    }

    /// Ends both in the order in which nobody complains; true when that was verified too.
    pub async fn stop(&mut self) -> bool {
        self.take(Step::Stop).await
    }

    async fn take(&mut self, step: Step) -> bool {
        let begin = Instant::now();
        let outcome = match step {
            Step::Cloud => self.start_cloud().await,
            Step::Token => self.make_token().await,
            Step::Join => self.join().await,
            Step::Certificate => self.look_at_certificate(),
            Step::Session => self.look_at_session().await,
            Step::Node => self.look_at_node().await,
            Step::Rotation => self.rotate().await,
            Step::Status => self.ask_status(),
            Step::Stop => self.stop_both().await,
        };
        match outcome {
            Ok(seen) => {
                self.reporter.done(step, begin.elapsed(), seen);
                true
            }
            Err(fault) => {
                let logs = [self.cloud_log(), self.join_log(), self.edge_log()];
                let there: Vec<&Path> = logs
                    .iter()
                    .map(PathBuf::as_path)
                    .filter(|log| log.exists())
                    .collect();
                self.reporter.failed(step, &fault.0, &there);
                false
            }
        }
    }

    /// Returns when one of the two ends by itself; says which.
    pub async fn watch(&mut self) -> String {
        loop {
            if let Some(status) = self.cloudcore.as_mut().and_then(Child::ended) {
                let log = self.cloud_log();
                return format!(
                    "cloudcore ended by itself ({status}): see {}",
                    log.display()
                );
            }
            if !self.edgecore.as_ref().is_some_and(Process::is_alive) {
                return format!(
                    "edgecore ended by itself: see {}",
                    self.edge_log().display()
                );
            }
            Timer::after(WATCH).await;
        }
    }

    /// Ends whatever still runs, and removes the folder when nobody needs it.
    pub fn clean_up(&mut self, verified: bool) {
        // A step that failed may have left things in any state: each of these may find nothing.
        let _ = self.edge_service().stop();
        if let Some(process) = self.edgecore.take() {
            let _ = processes::terminate(&process, GRACE);
        }
        drop(self.cloudcore.take());
        let folder = self.folder.path();
        if !(verified && self.folder.is_ours()) {
            self.reporter
                .note(&format!("The files stay in {}", folder.display()));
            return;
        }
        if let Err(error) = self.edge.host.files.remove_tree(folder) {
            self.reporter.note(&format!("Some files stay: {error}"));
        }
    }

    pub(super) fn edge_service(&self) -> Box<dyn service::Service> {
        let daemon = Daemon::edgecore(&self.edge.host.root);
        service::detect(&self.edge.host, daemon, Choice::None)
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    pub(super) fn cloud_log(&self) -> PathBuf {
        self.folder.path().join("cloudcore.log")
    }

    pub(super) fn join_log(&self) -> PathBuf {
        self.folder.path().join("join.log")
    }

    fn edge_log(&self) -> PathBuf {
        self.edge.host.root.at("/var/log/kubeedge/edgecore.log")
    }
}

const WATCH: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(10);

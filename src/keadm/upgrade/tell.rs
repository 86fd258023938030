//! Tells the cloud how the upgrade has ended that a job of v1alpha1 asked for.

use std::thread;
use std::time::Duration;

use super::error::UpgradeError;
use crate::keadm::device::{self, Device};
use crate::keadm::join::present::Identity;
use crate::protocol::enrollment::CertificateApi;
use crate::protocol::jobs::{Action, Report};
use crate::protocol::resource::Resource;
use crate::system::host::Host;
use crate::system::{console, exit};
use crate::trial::Report as Record;

/// The job that this upgrade is for, if it is for one.
pub struct Job<'a> {
    name: &'a str,
    config: Option<&'a str>,
    /// What was said of the change before.
    before: Option<Record>,
}

impl<'a> Job<'a> {
    /// An empty name is none.
    pub fn of(
        host: &Host,
        name: &'a str,
        config: Option<&'a str>,
    ) -> Result<Job<'a>, UpgradeError> {
        let resource = format!("task/{name}/node/n").parse();
        let is_name = matches!(resource, Ok(Resource::Job { job, .. }) if job == name);
        match is_name || name.is_empty() {
            true => Ok(Job {
                name,
                config,
                before: Record::read(host),
            }),
            false => Err(UpgradeError::Job(name.chars().take(80).collect())),
        }
    }

    /// Says what this exit code, and the report that was written, say; gives the code back, which does not hang on
    /// whether the cloud hears it.
    pub fn ended(&self, host: &Host, code: u8) -> u8 {
        if self.name.is_empty() {
            return code;
        }
        let report = Record::read(host).filter(|it| Some(it) != self.before.as_ref());
        let why = report.map(|it| it.error_message);
        let done = match code {
            exit::OK => Ok(()),
            code => Err(why.unwrap_or_else(|| format!("it ended with exit code {code}"))),
        };
        match tell(host, self.config, self.name, done) {
            Ok(()) => console::error("the cloud has been told how the job has ended"),
            Err(why) => console::error(&format!(
                "the cloud can't be told how the job has ended: {why}"
            )),
        }
        code
    }
}

/// Posts it to the first cloud that takes it, with this device's certificate.
fn tell(
    host: &Host,
    config: Option<&str>,
    job: &str,
    done: Result<(), String>,
) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let (config, _) = device::load(host, config).map_err(|error| text(&error))?;
    let device = Device::of(host, &config).map_err(|error| text(&error))?;
    let own = Identity::read(host, &device);
    let own = own.ok_or("this device has no certificate: join it first")?;
    let hub = &config.hub;
    let way = hub.network.way(host, |name| std::env::var(name).ok());
    let way = way.map_err(|error| text(&error))?;
    let until = Some(own.certificate.not_after());
    host.clock.ground(own.ca.not_before(), until);
    let report = Report::new(Action::Upgrade, done, host.clock.now());
    let (path, content) = report.of_keadm(job, device.node.as_str());
    let trusted = own.trusted();
    let mut last = "no cloud is known".to_owned();
    for round in 0..ROUNDS {
        if round > 0 {
            thread::sleep(PAUSE);
        }
        for cloud in hub.network.clouds(&hub.websocket.server, &hub.http_server) {
            let api = CertificateApi {
                endpoint: cloud.api,
                way: way.clone(),
                known: Vec::new(),
                deadline: DEADLINE,
                clock: host.clock.clone(),
            };
            let identity = (&own.certificate, &own.key);
            match api.report(&trusted, identity, &path, &content.to_string()) {
                Ok(()) => return Ok(()),
                Err(error) if error.retryable() => last = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    Err(last)
}

/// A cloud may be just about to come back.
const ROUNDS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(30);

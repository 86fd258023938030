//! What happens in each step of the tour, and how it is verified.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use smol::Timer;

use super::agree;
use super::children::{Child, Plan};
use super::step::Step;
use super::tour::{Fault, Outcome, Tour};
use super::views::{self, Side};
use crate::authority::tokens::{TokenKey, Wish};
use crate::keadm::certs::check::check;
use crate::keadm::certs::renew::renew;
use crate::keadm::out::Report;
use crate::keadm::status::status;
use crate::keadm::token::Cloud as Keeper;
use crate::pki::MAX_INPUT;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::protocol::control::{HubSession, SessionFacts};
use crate::protocol::token::JoinToken;
use crate::system::blocking::{self, Kind};
use crate::system::exit;
use crate::system::processes::Process;

impl Tour {
    pub(super) async fn start_cloud(&mut self) -> Outcome {
        let files = &self.cloud.host.files;
        files.make_dir(&self.cloud.root, 0o700)?;
        let ports_file = self.folder.path().join("ports.json");
        let mut child = self.start(
            &self.cloud,
            self.cloud_log(),
            &[
                "cloudcore",
                "--listen=127.0.0.1",
                "--https-port=0",
                "--hub-port=0",
                "--metrics-port=0",
                // What is below $TMPDIR is to be forgotten.
                "--allow-volatile-ca",
                &format!("--ports-file={}", ports_file.display()),
            ],
        )?;
        if self.sabotage == Some(Step::Cloud) {
            child.kill();
        }
        let files = files.clone();
        let outcome = until(START, || {
            match (files.read_opt(&ports_file, MAX_INPUT)?, child.ended()) {
                (Some(ports), None) => Ok(Ok(ports)),
                (_, Some(status)) => Err(Fault(format!(
                    "cloudcore ended with {status}: {}",
                    child.last_words()
                ))),
                (None, None) => Ok(Err("cloudcore does not serve yet".to_owned())),
            }
        });
        self.ports = serde_json::from_slice(&outcome.await?)?;
        let status = views::cloud(&self.cloud)?;
        if status.pid != child.pid() {
            return Err(Fault(format!(
                "another cloudcore answers, process {}",
                status.pid
            )));
        }
        self.cloudcore = Some(child);
        Ok(vec![
            format!("certificates on 127.0.0.1:{}", self.ports.https),
            format!("tunnels on 127.0.0.1:{}", self.ports.hub),
            format!("CA {} until {}", status.ca_hash, status.ca_not_after),
        ])
    }

    pub(super) async fn make_token(&mut self) -> Outcome {
        let host = self.cloud.host.clone();
        let mint = move || Keeper::of(&host, None)?.create(&Wish::plain(TOKEN_LIFE));
        let minted = apart(Duration::from_secs(30), mint).await??;
        let (files, path) = (self.cloud.host.files.clone(), self.token_file());
        files.replace(&path, minted.text().as_bytes(), 0o600)?;
        self.strike(Step::Token)?;
        // What counts is the file, from which the edge joins.
        let text = String::from_utf8_lossy(&files.read(&path, MAX_INPUT)?).into_owned();
        let token: JoinToken = text.parse()?;
        let pair = files.read(&self.cloud.host.root.at(CA_KEY), MAX_INPUT)?;
        let (ca, key) = (Certificate::from_pem(&pair)?, PrivateKey::from_pem(&pair)?);
        if *token.ca_hash() != ca.hash() {
            return Err(Fault(
                "the token is for another CA than the cloud's".to_owned(),
            ));
        }
        let now = self.cloud.host.clock.now();
        let claims = TokenKey::new(&ca, &key).check(token.jwt(), now)?;
        Ok(vec![
            format!("for the CA {}", token.ca_hash()),
            format!("signed by the cloud, good until {}", claims.expires),
        ])
    }

    pub(super) async fn join(&mut self) -> Outcome {
        self.strike(Step::Join)?;
        self.edge.host.files.make_dir(&self.edge.root, 0o700)?;
        let mut child = self.start(
            &self.edge,
            self.join_log(),
            &[
                "join",
                "--init=none",
                &format!("--cloudcore-ipport=127.0.0.1:{}", self.ports.hub),
                &format!("--certport={}", self.ports.https),
                &format!("--token-file={}", self.token_file().display()),
                &format!("--edgenode-name={NODE}"),
                &format!("--set=modules.metaManager.deliver[0].folder={FOLDER}"),
                &format!("--timeout={}s", JOIN.as_secs()),
            ],
        )?;
        match child.wait(JOIN + Duration::from_secs(10)).await {
            Some(status) if status.success() => {}
            Some(status) => {
                return Err(Fault(format!(
                    "join ended with {status}: {}",
                    child.last_words()
                )));
            }
            None => {
                return Err(Fault(format!(
                    "join takes too long: {}",
                    child.last_words()
                )));
            }
        }
        self.edge.host.files.remove(&self.token_file())?;
        let edge = views::edge(&self.edge)?;
        self.edgecore = Process::get(edge.pid);
        if edge.node != NODE {
            return Err(Fault(format!(
                "the edge is called {} and not {NODE}",
                edge.node
            )));
        }
        let mut seen = child.said();
        seen.push(format!(
            "edgecore is process {}, of {}",
            edge.pid, edge.cloud
        ));
        Ok(seen)
    }

    pub(super) fn look_at_certificate(&mut self) -> Outcome {
        self.strike(Step::Certificate)?;
        let own = check(&self.edge.host, None)?;
        let clouds = check(&self.cloud.host, None)?;
        if let Some((row, fault)) = own.faults().chain(clouds.faults()).next() {
            return Err(Fault(format!("{} {}: {fault}", row.side, row.what)));
        }
        let facts = |what: &str| {
            let row = own.rows.iter().find(|row| row.what == what);
            let facts = row.and_then(|row| row.certificate.as_ref());
            facts.ok_or_else(|| Fault(format!("the edge has no {what}")))
        };
        let (certificate, ca) = (facts("certificate")?, facts("CA")?);
        let (cloud, edge) = (views::cloud(&self.cloud)?, views::edge(&self.edge)?);
        if ca.hash != cloud.ca_hash {
            return Err(Fault(
                "the edge trusts another CA than the cloud's".to_owned(),
            ));
        }
        if cloud.known_nodes != 1 || cloud.certificates_issued == 0 {
            return Err(Fault(
                "the cloud does not know of the certificate".to_owned(),
            ));
        }
        if edge
            .certificate
            .is_none_or(|used| used.serial != certificate.serial)
        {
            return Err(Fault(
                "edgecore uses another certificate than the file's".to_owned(),
            ));
        }
        Ok(vec![
            format!("subject {}", certificate.name),
            format!("serial  {}", certificate.serial),
            format!(
                "valid   {} to {}",
                certificate.not_before, certificate.not_after
            ),
            format!("issuer  {}, {}", ca.name, ca.hash),
        ])
    }

    pub(super) async fn look_at_session(&mut self) -> Outcome {
        self.strike(Step::Session)?;
        let (edge, cloud) = self.agreed(None).await?;
        Ok(vec![
            format!(
                "edge:  session {} with {}, since {}",
                edge.generation, edge.peer, edge.since
            ),
            format!(
                "cloud: session {} from {}, since {}",
                cloud.generation, cloud.peer, cloud.since
            ),
            format!("both:  certificate {}", edge.serial),
        ])
    }

    pub(super) async fn rotate(&mut self) -> Outcome {
        let (edge, cloud) = self.agreed(None).await?;
        self.strike(Step::Rotation)?;
        let host = self.edge.host.clone();
        let renewed = apart(RENEWAL, move || renew(&host)).await??;
        let (edge_then, cloud_then) = self.agreed(Some(&renewed.serial)).await?;
        agree::moved((&edge, &cloud), (&edge_then, &cloud_then)).map_err(Fault)?;
        if let Some((row, fault)) = check(&self.edge.host, None)?.faults().next() {
            return Err(Fault(format!("{} {}: {fault}", row.side, row.what)));
        }
        Ok(vec![
            format!("serial  {} became {}", edge.serial, edge_then.serial),
            format!(
                "edge:   session {} became {}",
                edge.generation, edge_then.generation
            ),
            format!(
                "cloud:  session {} became {}",
                cloud.generation, cloud_then.generation
            ),
            "gap:    0 ms without a tunnel, by the cloud's registry".to_owned(),
        ])
    }

    pub(super) fn ask_status(&mut self) -> Outcome {
        self.strike(Step::Status)?;
        let (status, code) = status(&self.edge.host, None);
        if code != exit::OK {
            return Err(Fault(format!("exit code {code}: {}", status.verdict)));
        }
        Ok(status.text().lines().map(str::to_owned).collect())
    }

    pub(super) async fn stop_both(&mut self) -> Outcome {
        self.strike(Step::Stop)?;
        self.edge_service().stop()?;
        let edgecore = self.edgecore.as_ref();
        if let Some(process) = edgecore.filter(|process| process.is_alive()) {
            return Err(Fault(format!(
                "edgecore, process {}, still runs",
                process.pid
            )));
        }
        if !views::edge(&self.edge).is_err_and(|silence| silence.is_of_the_dead()) {
            return Err(Fault(
                "somebody still answers on edgecore's socket".to_owned(),
            ));
        }
        let Some(cloudcore) = self.cloudcore.as_mut() else {
            return Err(Fault("there is no cloudcore to stop".to_owned()));
        };
        cloudcore.signal(Signal::SIGTERM);
        match cloudcore.wait(STOP).await {
            Some(status) if status.success() => Ok(vec!["both have ended as asked".to_owned()]),
            Some(status) => Err(Fault(format!("cloudcore ended with {status}"))),
            None => Err(Fault("cloudcore does not stop".to_owned())),
        }
    }

    /// Waits until both sides show the same session, opened with the certificate in use, or with
    /// that of `serial`.
    async fn agreed(&self, serial: Option<&str>) -> Result<(SessionFacts, HubSession), Fault> {
        until(SESSION, || {
            let edge = views::edge(&self.edge)?;
            let cloud = views::session(&self.cloud, NODE)?;
            Ok(agree::same(edge, cloud, NODE, serial))
        })
        .await
    }

    fn start(
        &self,
        side: &Side,
        log: std::path::PathBuf,
        arguments: &[&str],
    ) -> Result<Child, Fault> {
        Ok(Child::start(Plan {
            executable: &self.executable,
            root: &side.root,
            lifeline: self.anchor.path(),
            log,
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        })?)
    }
}

/// Looks again and again until there is something; a fault ends it, and so does impatience, with
/// what was missing last.
pub(super) async fn until<T>(
    patience: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>, Fault>,
) -> Result<T, Fault> {
    let end = Instant::now() + patience;
    loop {
        match look()? {
            Ok(found) => return Ok(found),
            Err(missing) if Instant::now() >= end => {
                return Err(Fault(format!("after {} s {missing}", patience.as_secs())));
            }
            Err(_) => drop(Timer::after(POLL).await),
        }
    }
}

/// Runs what may take a while beside the executor, so that Ctrl-C is heard.
async fn apart<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    Ok(blocking::run(Kind::Https, patience, work).await?)
}

pub(super) const NODE: &str = "quickstart-edge";
/// Where the edge lets the cloud put files.
pub(super) const FOLDER: &str = "/etc/quickstart";
pub(super) const CA_KEY: &str = "/etc/kubeedge/cloudcore/ca.key";

const TOKEN_LIFE: Duration = Duration::from_secs(3600);
const POLL: Duration = Duration::from_millis(5);
const START: Duration = Duration::from_secs(30);
const JOIN: Duration = Duration::from_secs(60);
pub(super) const SESSION: Duration = Duration::from_secs(20);
const RENEWAL: Duration = Duration::from_secs(120);
/// cloudcore stops within 5 s.
const STOP: Duration = Duration::from_secs(8);

//! Waits until edgecore has its session with the hub, and tells what it waits for.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::JoinError;
use super::launch::Launched;
use super::progress::Progress;
use crate::protocol::control::{
    Client, EDGE_STATUS_SOCKET, EdgeOp, EdgeState, EdgeStatus, Request,
};
use crate::system::host::Host;
use crate::system::service;

/// Asks the cloud again as long as it wants to be asked later, and the time is not over; gives what
/// is left of that time too.
pub fn while_busy<T>(
    timeout: Duration,
    progress: &Progress,
    ask: impl Fn() -> Result<T, JoinError>,
) -> Result<(T, Duration), JoinError> {
    let started = Instant::now();
    loop {
        let asked = ask();
        let left = timeout.saturating_sub(started.elapsed());
        let error = match asked {
            Ok(answer) => return Ok((answer, left)),
            Err(error) => error,
        };
        // A little more than it asks for, and devices that ask together come back apart.
        let wait = error
            .wait()
            .map(|wait| wait.max(LEAST).mul_f64(1.0 + fastrand::f64() / 4.0));
        match wait {
            Some(wait) if wait < left => {
                let seconds = wait.as_secs_f32();
                progress.tell(&format!(
                    "waiting for {seconds:.0} s as the cloud wants: {error}"
                ));
                sleep(wait);
            }
            _ => return Err(error),
        }
    }
}

/// The status with the session; the service goes on, however this ends.
pub fn for_session(
    host: &Host,
    launched: &Launched,
    timeout: Duration,
    progress: &Progress,
) -> Result<EdgeStatus, JoinError> {
    let mut watch = Watch {
        end: Instant::now().checked_add(timeout),
        progress,
        told: String::new(),
        last: None,
    };
    let socket = host.root.at(EDGE_STATUS_SOCKET);
    let mut gone_since = None;
    loop {
        if let Ok(lines) = Client::ask(&socket, &Request::new(EdgeOp::Watch), watch.left()) {
            gone_since = None;
            if let Some(status) = watch.follow(lines)? {
                return Ok(status);
            }
        }
        if watch.left() <= SHORTEST {
            return Err(watch.too_late(timeout, log(host, launched)));
        }
        let is_gone = launched.started.as_ref().is_some_and(|it| !it.is_alive());
        match gone_since {
            _ if !is_gone => watch.tell("waiting for edgecore to answer on its socket"),
            None => gone_since = Some(Instant::now()),
            // Another one, started by a join that was cut off, may be the one that stays.
            Some(since) if since.elapsed() < LAST_CHANCE => {}
            Some(_) => {
                let log = log(host, launched);
                return Err(JoinError::Ended { log });
            }
        }
        sleep(POLL);
    }
}

/// Where to read what edgecore has to say.
pub fn log(host: &Host, launched: &Launched) -> String {
    match launched.service.kind() {
        kind if launched.started.is_none() => service::log_of(host, kind),
        _ => service::log_of(host, "none"),
    }
}

struct Watch<'a> {
    end: Option<Instant>,
    progress: &'a Progress,
    told: String,
    last: Option<EdgeStatus>,
}

impl Watch<'_> {
    /// Until there is a session; nothing when edgecore went away or the time is over.
    fn follow(&mut self, mut lines: Client) -> Result<Option<EdgeStatus>, JoinError> {
        while self.left() > SHORTEST {
            let Ok(Some(status)) = lines.line::<EdgeStatus>() else {
                return Ok(None);
            };
            if status.state == EdgeState::Connected {
                return Ok(Some(status));
            }
            match &status.last_error {
                Some(problem) if !problem.retryable => {
                    return Err(JoinError::Refused(problem.message.clone()));
                }
                Some(problem) => self.tell(&format!("{}: {}", stage(&status), problem.message)),
                None => self.tell(stage(&status)),
            }
            self.last = Some(status);
        }
        Ok(None)
    }

    /// Says it once, until there is something else to say.
    fn tell(&mut self, sentence: &str) {
        if self.told != sentence {
            sentence.clone_into(&mut self.told);
            self.progress.tell(sentence);
        }
    }

    fn left(&self) -> Duration {
        let left = self.end.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        });
        // A socket takes no patience of zero.
        left.clamp(SHORTEST, LONGEST)
    }

    fn too_late(self, after: Duration, log: String) -> JoinError {
        let stage = self.last.as_ref().map_or("does not answer", stage_reached);
        let problem = self.last.and_then(|status| status.last_error);
        JoinError::TimedOut {
            after,
            stage: stage.to_owned(),
            last: problem.map(|problem| problem.message),
            log,
        }
    }
}

fn stage(status: &EdgeStatus) -> &'static str {
    match status.state {
        EdgeState::Enrolling => "waiting for the certificate",
        EdgeState::NeedsToken => "waiting for a token",
        EdgeState::Connecting => "waiting for the hub",
        _ => "waiting for edgecore",
    }
}

fn stage_reached(status: &EdgeStatus) -> &'static str {
    match status.state {
        EdgeState::Enrolling => "has no certificate yet",
        EdgeState::NeedsToken => "needs a token",
        EdgeState::Connecting => "does not reach the hub",
        _ => "has only started",
    }
}

/// Between two questions to a cloud that has too much to do.
const LEAST: Duration = Duration::from_secs(1);
/// There is no event for a socket that comes to be.
const POLL: Duration = Duration::from_millis(20);
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3_600);
const LAST_CHANCE: Duration = Duration::from_secs(1);

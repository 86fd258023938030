//! The parent process: starts the hub, starts it anew when it ends, and speaks for it to the init system.
//!
//! One thread, no network, no executor: it sleeps until a signal, a word of the hub or a deadline
//! wakes it. To whoever started it both are one service, and this is its process.

mod child;
#[cfg(feature = "upgrade")]
mod errands;
#[cfg(not(feature = "upgrade"))]
#[path = "errandless.rs"]
mod errands;
mod events;
mod hooks;
mod keeper;
mod orphans;
#[cfg(feature = "upgrade")]
mod trial;
#[cfg(not(feature = "upgrade"))]
#[path = "trialless.rs"]
mod trial;

use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::backoff::Backoff;
use super::first_boot::{self, FirstBoot};
use crate::system::host::Host;
use crate::system::{cause, exit, notify};
pub use child::HUB;
use child::{Hub, Program};
use errands::Errands;
#[cfg(feature = "upgrade")]
pub use errands::OFF;
use events::{Event, Events};
use hooks::Hooks;
use keeper::Keeper;
use trial::{Begin, Look, OnTrial};

/// Runs until it is told to stop, or the hub ends in a way that another start would not change;
/// returns the exit code. The error says why there can be no second process here.
pub fn run(host: &Host, config: &Path, first: FirstBoot, arguments: &[String]) -> io::Result<u8> {
    // The kernel's name for it would be that of the file, which an upgrade changes.
    let _ = prctl::set_name(c"edgecore");
    let program = Program::find(&host.root, arguments);
    // From here on no signal is lost; a process that goes on alone gets its own way back.
    let events = Events::new()?;
    let errands = Errands::of(&program.file);
    let mut supervisor = Supervisor {
        program,
        events,
        backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        was_ready: false,
        silence: SILENCE,
        trial: OnTrial::find(host),
        makes_room: false,
        keeper: Keeper {
            host: host.clone(),
            config: config.to_owned(),
            hooks: Hooks::default(),
            errands,
            first,
        },
    };
    if !supervisor.wait_for_configuration() {
        return Ok(exit::OK);
    }
    if let Begin::Program(file) = supervisor.trial.begin() {
        supervisor.become_program(&file);
    }
    let hub = Hub::start(&supervisor.program).inspect_err(|_| events::release())?;
    Ok(supervisor.run(hub))
}

struct Supervisor {
    program: Program,
    events: Events,
    backoff: Backoff,
    was_ready: bool,
    /// How long a hub may say nothing.
    silence: Duration,
    /// What has to prove itself, if anything.
    trial: OnTrial,
    /// The hub was asked to end for another one.
    makes_room: bool,
    keeper: Keeper,
}

/// How a hub came to its end.
enum Ended {
    AsAsked(ExitStatus),
    ByItself(ExitStatus),
    Silent,
}

impl Supervisor {
    /// Waits until what a first boot is asked can be done; false when it is time to stop.
    fn wait_for_configuration(&mut self) -> bool {
        if self.keeper.first.must_wait() {
            // The service has started: what it waits for may come in a year.
            notify::ready();
            notify::status("waiting for a request to join that can be followed");
        }
        while self.keeper.first.must_wait() {
            notify::alive();
            // What is waited for may just have come: then there is no next look.
            let rest = self.keeper.first.rest().min(first_boot::LOOK);
            match self.events.wait(None, rest) {
                Event::Stop => return false,
                Event::Reload => self.keeper.first.hurry(),
                _ => {}
            }
            self.keeper.first.look();
            self.bury(None);
        }
        true
    }

    fn run(mut self, mut hub: Hub) -> u8 {
        loop {
            let started = Instant::now();
            match self.watch(hub) {
                Ended::AsAsked(_) if std::mem::take(&mut self.makes_room) => {
                    hub = match self.next() {
                        Ok(hub) => hub,
                        Err(code) => return code,
                    };
                    continue;
                }
                Ended::AsAsked(status) => return stopped(status),
                Ended::ByItself(status) => {
                    // What fails at the start is told to who started it, and so is what only a
                    // person can change; but what is on trial only fails.
                    if let Some(code) = code(status)
                        && (code == exit::CONFIG || !self.was_ready)
                        && !self.trial.is_on()
                    {
                        log::error!("the hub {}: another start would not help", How(status));
                        return code;
                    }
                    log::warn!("the hub {}: it is started again", How(status));
                }
                Ended::Silent => log::error!(
                    "the hub gave no sign of life for {} s and was killed: it is started again",
                    self.silence.as_secs()
                ),
            }
            if started.elapsed() >= STABLE {
                self.backoff.reset();
            }
            hub = match self.restart() {
                Ok(hub) => hub,
                Err(code) => return code,
            };
        }
    }

    /// Another hub at once; else the exit code.
    fn next(&mut self) -> Result<Hub, u8> {
        if let Begin::Program(file) = self.trial.begin() {
            self.become_program(&file);
        }
        match Hub::start(&self.program) {
            Ok(hub) => Ok(hub),
            Err(error) => {
                log::error!("cannot start the hub: {error}: it is tried again");
                self.restart()
            }
        }
    }

    /// Goes on as another executable, in this very process: to the init system nothing has happened,
    /// and nothing that runs below this process ends. Returns only when the system does not start that
    /// one; then what was before it has its place again, and this process goes on as what it is.
    ///
    /// The signals stay held back, so that none ends the process in between; the other one waits for them.
    fn become_program(&mut self, file: &Path) {
        log::info!("going on as {}", file.display());
        log::logger().flush();
        // The very words that it was started with, by which init scripts and people look for it.
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_else(|| "edgecore".into());
        let error = Command::new(file).arg0(name).args(words).exec();
        let why = format!("{} does not start: {}", file.display(), cause::of(&error));
        self.trial.take_back(&why);
    }

    /// Stays with a hub to its end.
    fn watch(&mut self, mut hub: Hub) -> Ended {
        let mut heard = Instant::now();
        let mut asked: Option<Instant> = None;
        loop {
            let left = match asked {
                Some(asked) => GRACE.saturating_sub(asked.elapsed()),
                None => self.silence.saturating_sub(heard.elapsed()),
            };
            let rest = self.keeper.rest().min(match asked {
                Some(_) => Duration::MAX,
                None => self.trial.rest(),
            });
            match self.events.wait(Some(&mut hub.line), left.min(rest)) {
                // Only a hook may have ended, or have had its time. The hub's end is seen at its line,
                // after its last words.
                Event::Child => {}
                Event::Nothing if rest < left => {}
                Event::Stop => {
                    self.makes_room = false;
                    hub.signal(Signal::SIGTERM);
                    asked.get_or_insert_with(Instant::now);
                }
                Event::Reload if asked.is_none() && self.trial.has_come() => {
                    self.makes_room = true;
                    hub.signal(Signal::SIGTERM);
                    asked = Some(Instant::now());
                }
                Event::Reload => {
                    self.keeper.first.hurry();
                    self.keeper.first.look();
                    hub.signal(Signal::SIGHUP);
                }
                Event::Said(lines) => {
                    heard = Instant::now();
                    for line in lines {
                        self.trial.hear(&line);
                        match self.keeper.answer(&line) {
                            Some(answer) => hub.line.say(&answer),
                            None => self.pass_on(&line, asked.is_some() && !self.makes_room),
                        }
                    }
                }
                Event::HungUp | Event::Nothing if asked.is_some() => {
                    return Ended::AsAsked(hub.end());
                }
                Event::HungUp => return Ended::ByItself(hub.end()),
                Event::Nothing => {
                    hub.end();
                    return Ended::Silent;
                }
            }
            for line in self.keeper.hooks.look() {
                hub.line.say(&line);
            }
            self.bury(Some(&hub));
            if asked.is_none() && self.trial.look() == Look::Late {
                self.makes_room = true;
                hub.signal(Signal::SIGTERM);
                asked = Some(Instant::now());
            }
            if self.keeper.first.look() {
                hub.signal(Signal::SIGHUP);
            }
        }
    }

    /// A word of the hub's for the init system.
    fn pass_on(&mut self, line: &str, stopping: bool) {
        self.was_ready |= line == notify::READY;
        // An end that nobody asked for is no end of the service.
        if line != notify::STOPPING || stopping {
            notify::say(line);
        }
    }

    /// Another hub, after a while; else the exit code.
    fn restart(&mut self) -> Result<Hub, u8> {
        loop {
            // We are alive, and know what we do.
            notify::alive();
            match self.pause() {
                Event::Stop => return Err(exit::OK),
                // Who asks to reload has changed something: no reason to wait.
                _ => {
                    if let Begin::Program(file) = self.trial.begin() {
                        self.become_program(&file);
                    }
                    match Hub::start(&self.program) {
                        Ok(hub) => return Ok(hub),
                        Err(error) => {
                            log::error!("cannot start the hub: {error}: it is tried again");
                        }
                    }
                }
            }
        }
    }

    /// Lets go of children that nobody else waits for.
    fn bury(&self, hub: Option<&Hub>) {
        let keeper = &self.keeper;
        orphans::bury(&[hub.map(Hub::pid), keeper.hooks.pid(), keeper.errands.pid()]);
    }

    /// What comes before it is time for another hub.
    fn pause(&mut self) -> Event {
        let until = Instant::now() + self.backoff.next();
        loop {
            // The next hub does not know of it, and has it run again.
            self.keeper.hooks.look();
            self.keeper.first.look();
            self.bury(None);
            let left = until.saturating_duration_since(Instant::now());
            let rest = self.keeper.rest();
            match self.events.wait(None, left.min(rest)) {
                Event::Child => {}
                Event::Nothing if rest < left => {}
                event => return event,
            }
        }
    }
}

/// The exit code of a service that was asked to stop; it says what was not in order.
fn stopped(status: ExitStatus) -> u8 {
    match status.signal() {
        // It had nothing to end yet.
        Some(signal) if signal == Signal::SIGTERM as i32 => return exit::OK,
        Some(_) => log::error!(
            "the hub {}, since it did not stop within {} s",
            How(status),
            GRACE.as_secs()
        ),
        None if !status.success() => log::error!("the hub {} when asked to stop", How(status)),
        None => {}
    }
    code(status).unwrap_or(exit::FAILURE)
}

fn code(status: ExitStatus) -> Option<u8> {
    status.code().and_then(|code| u8::try_from(code).ok())
}

/// For the log.
struct How(ExitStatus);

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "ended with exit code {code}"),
            (None, Some(signal)) => write!(f, "was ended by signal {signal}"),
            (None, None) => f.write_str("ended"),
        }
    }
}

/// The ceiling of the first wait before a restart, and of all.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A hub that ran this long makes the next restart quick again.
const STABLE: Duration = Duration::from_secs(60);
/// The hub gives a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(90);
/// The hub stops within 5 s.
const GRACE: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::system::scratch::Scratch;

    /// Supervises a script in a process of its own, since the signals of a whole process are taken.
    fn supervise(test: &str, script: &str, silence: Duration) -> Option<u8> {
        if std::env::var_os(AGAIN).is_none() {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &format!("edgecore::supervisor::tests::{test}")])
                .args(["--nocapture", "--test-threads=1"])
                .env(AGAIN, "1")
                .status()
                .unwrap();
            assert!(status.success(), "{status}");
            return None;
        }
        let program = Program {
            file: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            root: crate::system::root::Root::default(),
        };
        let events = Events::new().unwrap();
        let hub = Hub::start(&program).unwrap();
        let host = Host::real(crate::system::root::Root::default());
        let supervisor = Supervisor {
            program,
            events,
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(50)),
            was_ready: false,
            silence,
            trial: OnTrial::find(&host),
            makes_room: false,
            keeper: Keeper {
                config: "/nonexistent".into(),
                hooks: Hooks::default(),
                errands: Errands::of(Path::new("/bin/false")),
                first: FirstBoot::begin(&host, "/nonexistent".into(), |_, _| {
                    unreachable!("nobody is asked")
                }),
                host,
            },
        };
        Some(supervisor.run(hub))
    }

    #[test]
    fn a_failure_at_the_start_is_told() {
        let code = supervise("a_failure_at_the_start_is_told", "exit 3", SILENCE);
        assert!([None, Some(3)].contains(&code));
    }

    #[test]
    fn a_hub_that_was_ready_comes_again_until_a_person_is_needed() {
        let scratch = Scratch::new();
        let count = scratch.path().join("count").display().to_string();
        let script = format!(
            "echo READY=1 >&0; echo x >> {count}; \
             case $(wc -l < {count}) in 1) exit 1;; 2) exit 0;; 3) kill -9 $$;; 4) exit 75;; esac; \
             exit 78"
        );
        let test = "a_hub_that_was_ready_comes_again_until_a_person_is_needed";
        if let Some(code) = supervise(test, &script, SILENCE) {
            let starts = std::fs::read_to_string(count).unwrap().lines().count();
            assert_eq!((code, starts), (exit::CONFIG, 5));
        }
    }

    #[test]
    fn a_hub_without_a_sign_of_life_is_killed() {
        let scratch = Scratch::new();
        let mark = scratch.path().join("mark").display().to_string();
        let script =
            format!("[ -e {mark} ] && exit 78; : > {mark}; echo READY=1 >&0; kill -STOP $$");
        let test = "a_hub_without_a_sign_of_life_is_killed";
        let code = supervise(test, &script, Duration::from_millis(300));
        assert!([None, Some(exit::CONFIG)].contains(&code));
    }

    const AGAIN: &str = "KUBEEDGE_TEST_SUPERVISE";
}

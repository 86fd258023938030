//! What the supervisor does for jobs of the cloud: asks the configuration, and runs this executable as keadm.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::config::MAX_FILE;
use crate::config::edge::EdgeConfig;
use crate::config::set;
use crate::edgecore::jobs::errand::{Asked, DEFAULT_IMAGE, Errand, Outcome, Standing};
use crate::edgecore::parent::DONE;
use crate::protocol::jobs::Wish;
use crate::system::cause;
use crate::system::host::Host;
use crate::system::processes;
use crate::system::secret::Secret;
use crate::trial::{KEY, REPORT, Report, Trial};

/// At most one at a time.
pub struct Errands {
    program: PathBuf,
    running: Option<(Child, Instant)>,
    /// How the last one ended, if this process has seen it.
    ended: Option<Result<(), String>>,
}

impl Errands {
    pub fn of(program: &Path) -> Errands {
        Errands {
            program: program.to_owned(),
            running: None,
            ended: None,
        }
    }

    /// The process that works on one, if it was started here.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|(child, _)| child.id())
    }

    /// The answer to a line of the hub; none when it is about no job. Nothing of the line is believed: the
    /// words are read as strictly as those of the cloud, and the configuration decides.
    pub fn answer(&mut self, host: &Host, config: &Path, line: &str) -> Option<String> {
        let done = match Asked::read(line)? {
            Some(Asked::Look) => return Some(self.look(host).line()),
            Some(Asked::May(errand)) => may(host, config, &errand),
            Some(Asked::Run(errand)) => {
                may(host, config, &errand).and_then(|()| self.start(host, config, &errand))
            }
            None => Err("this is nothing that a job can ask for".to_owned()),
        };
        Some(done.map_or_else(|why| why.replace('\n', " "), |()| DONE.to_owned()))
    }

    fn start(&mut self, host: &Host, config: &Path, errand: &Errand) -> Result<(), String> {
        if self.look(host) == Standing::Runs {
            return Err("another step of a job runs".to_owned());
        }
        // What it says of an older one is no answer.
        let report = host.root.at(REPORT);
        host.files
            .remove(&report)
            .map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command.arg0(KEADM).args(errand.arguments());
        if config != host.root.at(CONFIG) {
            command.arg("--config").arg(config);
        }
        host.root.hand_on(&mut command);
        // It outlives this process, which an upgrade ends.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().map_err(|error| {
            let why = cause::of(&error);
            format!("this program can't be run as keadm: {why}")
        })?;
        self.ended = None;
        self.running = Some((child, Instant::now() + PATIENCE));
        Ok(())
    }

    fn look(&mut self, host: &Host) -> Standing {
        if let Some((child, until)) = &mut self.running {
            let ended = match child.try_wait() {
                Ok(Some(status)) if status.success() => Ok(()),
                Ok(Some(status)) => Err(format!("keadm failed ({status}): see edgecore's log")),
                Ok(None) if Instant::now() < *until => return Standing::Runs,
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    Err("keadm took too long and was ended".to_owned())
                }
                Err(error) => Err(format!("keadm can't be waited for: {}", cause::of(&error))),
            };
            self.running = None;
            self.ended = Some(ended);
        }
        match (reported(host), &self.ended) {
            (Some(outcome), _) => Standing::Over(outcome),
            (None, Some(ended)) => Standing::Over(Outcome {
                failed: ended.clone().err(),
                ..Outcome::default()
            }),
            // This process may be the one that another has become meanwhile.
            (None, None) if goes_on(host) => Standing::Unknown,
            (None, None) => Standing::Lost,
        }
    }
}

/// Whether there will be a report without anybody doing anything.
fn goes_on(host: &Host) -> bool {
    !matches!(Trial::load(host), Ok(None)) || !processes::find(KEADM).is_empty()
}

/// Whether the operator lets a job do this. The error is a sentence.
fn may(host: &Host, path: &Path, errand: &Errand) -> Result<(), String> {
    let bytes = host.files.read(path, MAX_FILE);
    // There may be a token in it.
    let text = Secret::new(bytes.map_err(|error| error.to_string())?);
    let text = String::from_utf8_lossy(&text);
    let name = path.display().to_string();
    let (config, _) = EdgeConfig::load(&text, &name).map_err(|error| error.to_string())?;
    if !config.task_manager {
        return Err(OFF.to_owned());
    }
    match errand {
        Errand::BackUp | Errand::RollBack => Ok(()),
        Errand::Config(wishes) => fits(&text, &name, wishes),
        Errand::Upgrade { image, digest, .. } => {
            if host.root.at(KEY).exists() {
                return Ok(());
            }
            let image = image.as_ref().map_or(DEFAULT_IMAGE, |it| it.as_str());
            let known = |allowed: &String| image.starts_with(allowed.as_str());
            if !config.job_images.iter().any(known) {
                return Err(format!(
                    "images like {image} are not allowed: give edgecore.yaml \
                     modules.taskManager.allowedImages, or the device a key in {KEY}"
                ));
            }
            match digest {
                Some(_) => Ok(()),
                None => Err(format!(
                    "the job names no digest of its image for this machine, and there is no key in {KEY}"
                )),
            }
        }
    }
}

/// Whether the file could be used after the change.
fn fits(text: &str, name: &str, wishes: &[Wish]) -> Result<(), String> {
    let wishes: Vec<String> = wishes.iter().map(Wish::to_string).collect();
    let items = set::parse_items(&wishes.join(",")).map_err(|error| error.to_string())?;
    let text = set::apply(text, &items, set::Kind::Edge).map_err(|error| error.to_string())?;
    let loaded = EdgeConfig::load(&text, name);
    loaded.map(drop).map_err(|error| error.to_string())
}

/// What keadm has said of its last work.
fn reported(host: &Host) -> Option<Outcome> {
    let report = Report::read(host)?;
    Some(Outcome {
        event: report.event.word().to_owned(),
        from: report.from_version,
        to: report.to_version,
        failed: (!report.success).then_some(report.error_message),
    })
}

/// Also said by the hub, which knows it first.
pub const OFF: &str =
    "this device takes no jobs: set modules.taskManager.enable to true in edgecore.yaml";
const CONFIG: &str = "/etc/kubeedge/config/edgecore.yaml";
/// As which this program is run.
const KEADM: &str = "keadm";
/// For one step: pulling an image over a slow line, and the trial of what is in it.
const PATIENCE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    fn stage(yaml: &str) -> (Scratch, Host, PathBuf) {
        let scratch = Scratch::new();
        let host = Host::real(Root::new(Some(scratch.path().to_owned())));
        let config = host.root.at(CONFIG);
        let folder = config.parent().unwrap();
        host.files
            .make_dir(folder.parent().unwrap().parent().unwrap(), 0o755)
            .unwrap();
        host.files
            .make_dir(folder.parent().unwrap(), 0o755)
            .unwrap();
        host.files.make_dir(folder, 0o755).unwrap();
        host.files.replace(&config, yaml.as_bytes(), 0o600).unwrap();
        (scratch, host, config)
    }

    fn asked(errands: &mut Errands, host: &Host, config: &Path, line: &str) -> String {
        errands.answer(host, config, line).unwrap()
    }

    #[test]
    fn nothing_is_done_that_the_operator_has_not_allowed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("order job-may upgrade v1.23.1 r.example/k/i {digest} -");
        let (off, on) = ("modules: {}\n", "modules: {taskManager: {enable: true}}\n");
        let images = "modules: {taskManager: {enable: true, allowedImages: [r.example/k/]}}\n";
        for (yaml, line, part) in [
            (off, "order job-may backup", "modules.taskManager.enable"),
            (
                off,
                "order job-run config modules.edgeHub.heartbeat=9",
                "modules.taskManager.enable",
            ),
            (on, &*pinned, "modules.taskManager.allowedImages"),
            (
                images,
                "order job-may upgrade v1.23.1 r.example/k/i - -",
                "no digest",
            ),
            (
                images,
                "order job-may upgrade v1.23.1 r.example/other/i - -",
                "not allowed",
            ),
            (images, "order job-may upgrade v1.23.1 - - -", "not allowed"),
            (images, &*pinned, DONE),
            (on, "order job-may backup", DONE),
            (on, "order job-may config modules.edgeHub.heartbeat=9", DONE),
            (
                on,
                "order job-may config modules.edgeHub.heartbeat=never",
                "heartbeat",
            ),
            (on, "order job-may sh", "nothing that a job"),
        ] {
            let (_scratch, host, config) = stage(yaml);
            let mut errands = Errands::of(Path::new("/bin/false"));
            let answer = asked(&mut errands, &host, &config, line);
            assert!(answer.contains(part), "{line}: {answer}");
        }
        let (_scratch, host, config) = stage(on);
        host.files
            .replace(&host.root.at(KEY), b"key", 0o644)
            .unwrap();
        let mut errands = Errands::of(Path::new("/bin/false"));
        let line = "order job-may upgrade v1.23.1 r.example/k/i - -";
        assert_eq!(asked(&mut errands, &host, &config, line), DONE);
        assert_eq!(errands.answer(&host, &config, "order let-read"), None);
    }

    #[test]
    fn the_report_says_what_came_of_it_and_the_exit_code_if_there_is_none() {
        let (scratch, host, config) = stage("modules: {taskManager: {enable: true}}\n");
        let program = scratch.path().join("program");
        let report = host.root.at(REPORT);
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = rollback ] && exit 3\nprintf '%s ' \"$@\" > {}/said\n\
             echo '{{\"event\":\"Backup\",\"success\":true,\"toVersion\":\"v1.23.0\"}}' > {}\n",
            scratch.path().display(),
            report.display(),
        );
        host.files
            .replace(&program, script.as_bytes(), 0o700)
            .unwrap();
        host.files
            .replace(&report, b"{\"event\":\"Upgrade\",\"success\":true}", 0o644)
            .unwrap();
        let mut errands = Errands::of(&program);
        let mut run = |line: &str| {
            assert_eq!(asked(&mut errands, &host, &config, line), DONE);
            loop {
                let line = asked(&mut errands, &host, &config, "order job-look");
                match Standing::read(&line) {
                    Some(Standing::Over(outcome)) => return outcome,
                    other => assert_eq!(other, Some(Standing::Runs)),
                }
                std::thread::yield_now();
            }
        };
        let outcome = run("order job-run backup");
        assert_eq!(
            (&*outcome.event, &*outcome.to, outcome.failed),
            ("Backup", "v1.23.0", None)
        );
        let said = std::fs::read_to_string(scratch.path().join("said")).unwrap();
        assert_eq!(said, "backup edge ");
        let outcome = run("order job-run rollback");
        assert!(outcome.failed.unwrap().contains("3"));
    }
}

//! Starts the executable on an older system: fewer system calls, another root, less memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seccompiler::{apply_filter, sock_filter};

use super::common::{KUBEEDGE, LIMIT};

/// How the executable is started.
#[derive(Clone, Default)]
pub struct Launch {
    /// The answer to every system call that Linux 3.10 did not have.
    pub filter: Option<Errno>,
    pub root: Option<PathBuf>,
    pub memory: Option<PathBuf>,
    /// Bytes that each process may have besides what it maps from files and its first stack.
    pub data: Option<u64>,
}

/// cargo's executable, or the one that is to be tested instead.
pub fn executable() -> PathBuf {
    let other = std::env::var_os("KUBEEDGE_OLD_BIN").map(PathBuf::from);
    other.unwrap_or_else(|| KUBEEDGE.into())
}

/// The libraries that it is linked to, none for a static one.
pub fn libraries() -> Vec<PathBuf> {
    let output = Command::new("ldd")
        .arg(executable())
        .output()
        .expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    let files: Vec<PathBuf> = words.map(PathBuf::from).collect();
    files
        .into_iter()
        .filter(|file| *file != executable())
        .collect()
}

/// The command that runs these words; its stdout begins with what the test harness says.
pub fn launch(how: &Launch, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "launcher", "--nocapture", "--test-threads=1"])
        .env(WORDS, words.join("\n"))
        .env_remove("NOTIFY_SOCKET")
        .stdin(std::process::Stdio::null());
    if let Some(answer) = how.filter {
        command.env(FILTER, (answer as i32).to_string());
    }
    if let Some(bytes) = how.data {
        command.env(DATA, bytes.to_string());
    }
    for (name, path) in [(ROOT, &how.root), (MEMORY, &how.memory)] {
        if let Some(path) = path {
            command.env(name, path);
        }
    }
    command
}

/// The other side: becomes what `launch` was told, or does nothing.
pub fn become_it() {
    let Ok(words) = std::env::var(WORDS) else {
        return;
    };
    if let Some(group) = std::env::var_os(MEMORY) {
        let members = Path::new(&group).join("cgroup.procs");
        fs::write(members, std::process::id().to_string()).expect("the group takes it");
    }
    let mut file = executable();
    if let Some(root) = std::env::var_os(ROOT) {
        nix::unistd::chroot(Path::new(&root)).expect("root may");
        nix::unistd::chdir("/").expect("it is there");
        file = "/kubeedge".into();
    }
    let answer = std::env::var(FILTER)
        .ok()
        .and_then(|text| text.parse().ok());
    let data = std::env::var(DATA).ok().and_then(|text| text.parse().ok());
    let mut command = Command::new(file);
    command.args(words.split('\n'));
    for name in [WORDS, FILTER, ROOT, MEMORY, DATA] {
        command.env_remove(name);
    }
    if let Some(answer) = answer {
        apply_filter(&newer_calls(answer)).expect("the kernel takes filters");
    }
    if let Some(bytes) = data {
        setrlimit(Resource::RLIMIT_DATA, bytes, bytes).expect("less is always granted");
    }
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    panic!("it can't be started: {error}");
}

fn newer_calls(answer: u32) -> Vec<sock_filter> {
    let instruction = |code: u32, jt, jf, k| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let deny = |answer: u32| {
        let answer = libc::SECCOMP_RET_ERRNO | answer;
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, answer)
    };
    let compare = libc::BPF_JMP | libc::BPF_K;
    let mut program = vec![instruction(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        0,
        0,
        0,
    )];
    if cfg!(target_env = "gnu") && std::env::var_os("KUBEEDGE_OLD_BIN").is_none() {
        // glibc takes no other answer than this one for a reason to start a thread the old way.
        let clone3 = libc::SYS_clone3 as u32;
        program.push(instruction(compare | libc::BPF_JEQ, 0, 1, clone3));
        program.push(deny(libc::ENOSYS as u32));
    }
    program.push(instruction(compare | libc::BPF_JGE, 0, 1, FIRST_NEWER));
    program.push(deny(answer));
    let allow = libc::SECCOMP_RET_ALLOW;
    program.push(instruction(libc::BPF_RET | libc::BPF_K, 0, 0, allow));
    program
}

/// A limit on memory, swap not counted; removed when dropped.
pub struct Limit {
    /// Where processes join it; none when this system lets nobody make one.
    pub group: Option<PathBuf>,
}

pub fn limit_memory(bytes: u64) -> Limit {
    let name = format!("kubeedge-test-{}", std::process::id());
    for (top, file) in [
        ("/sys/fs/cgroup", "memory.max"),
        ("/sys/fs/cgroup/unified", "memory.max"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ] {
        let group = Path::new(top).join(&name);
        if fs::create_dir(&group).is_err() {
            continue;
        }
        // Elsewhere than in a file system of groups there would be no such file.
        let limit = group.join(file);
        if limit.exists() && fs::write(limit, bytes.to_string()).is_ok() {
            return Limit { group: Some(group) };
        }
        let _ = fs::remove_dir(&group);
    }
    eprintln!("no group can be made here: each process has its own limit, and no more");
    Limit { group: None }
}

impl Limit {
    /// Bytes.
    pub fn most(&self) -> Option<u64> {
        let group = self.group.as_ref()?;
        let files = ["memory.peak", "memory.max_usage_in_bytes"];
        let texts = files.map(|file| fs::read_to_string(group.join(file)).ok());
        texts.into_iter().flatten().next()?.trim().parse().ok()
    }
}

/// What a process is allowed to have in data, and the most that it ever had in memory; bytes.
pub fn data(pid: u32) -> (u64, u64) {
    let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
    let (limits, status) = (read("limits"), read("status"));
    let number = |text: &str, head: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(head));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).unwrap_or(u64::MAX)
    };
    let allowed = number(&limits, "Max data size");
    (allowed, number(&status, "VmHWM:").saturating_mul(1024))
}

impl Drop for Limit {
    fn drop(&mut self) {
        let Some(group) = &self.group else {
            return;
        };
        let end = Instant::now() + LIMIT;
        // What is in it was started by this test; it can be removed when they are gone.
        while fs::remove_dir(group).is_err() && Instant::now() < end {
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The first system call that came after Linux 3.10.
#[cfg(target_arch = "x86_64")]
const FIRST_NEWER: u32 = 314;
#[cfg(target_arch = "aarch64")]
const FIRST_NEWER: u32 = 274;

const WORDS: &str = "KUBEEDGE_TEST_WORDS";
const FILTER: &str = "KUBEEDGE_TEST_FILTER";
const ROOT: &str = "KUBEEDGE_TEST_ROOT";
const MEMORY: &str = "KUBEEDGE_TEST_MEMORY";
const DATA: &str = "KUBEEDGE_TEST_DATA";

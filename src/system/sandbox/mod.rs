//! What a daemon gives up for good once it has what it needs, so that whoever takes it over gets little.
//!
//! To be done before there is any thread: what a thread may do is its own, and later threads
//! inherit it. Whatever the kernel does not have is left out and said; nothing of it is an error.

mod filter;
mod folders;
mod handover;
mod rights;
mod user;

use std::path::PathBuf;

pub use handover::{SHARED, give_folder, let_read, share_folder};
pub use rights::limit_to_supervision;
pub use user::User;

use crate::system::limits;

/// What a process goes on with.
pub struct Plan {
    /// Who it becomes; nobody else when none.
    pub user: Option<User>,
    /// Keep the capability by which sockets are tied to an interface (CAP_NET_RAW).
    pub interfaces: bool,
    /// Folders and files, with all below them, that it may read.
    pub reads: Vec<PathBuf>,
    /// Folders that it may also change.
    pub writes: Vec<PathBuf>,
}

/// What holds from now on, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    pub active: Vec<String>,
    /// With the reason.
    pub missing: Vec<String>,
}

/// Gives up everything that is not in the plan. There is no way back.
pub fn confine(plan: &Plan) -> Confinement {
    let mut done = Confinement::default();
    limits::no_core_dumps();
    // Before the user changes, which takes the right to do it.
    rights::close_the_way_back();
    if plan.interfaces {
        rights::survive_a_change_of_user();
    }
    if let Some(user) = &plan.user {
        done.note(format!("user {}", user.name), user::become_user(user));
    }
    let rights = match plan.interfaces {
        true => "no capabilities but CAP_NET_RAW",
        false => "no capabilities",
    };
    done.note(rights, rights::drop_all(plan.interfaces));
    done.note("no new privileges", rights::no_new_privileges());
    match folders::restrict(&plan.reads, &plan.writes) {
        Ok(what) => done.active.push(what),
        Err(why) => done.missing.push(format!("landlock ({why})")),
    }
    // Last, since it may deny what the others need.
    done.note("seccomp", filter::install());
    done
}

impl Confinement {
    fn note<E: std::fmt::Display>(&mut self, what: impl Into<String>, result: Result<(), E>) {
        match result {
            Ok(()) => self.active.push(what.into()),
            Err(error) => self.missing.push(format!("{} ({error})", what.into())),
        }
    }

    /// Tells it, once.
    pub fn log(&self) {
        if self.missing.is_empty() {
            log::info!("confined: {}", self.active.join(", "));
        } else {
            let (active, missing) = (self.active.join(", "), self.missing.join(", "));
            log::info!("confined: {active}; this system has no {missing}");
        }
    }
}

/// What every program reads that resolves names and asks the kernel about the machine. A file
/// alone will not do for `/etc/resolv.conf`: it is replaced, or a link to another folder.
pub fn system_reads() -> Vec<PathBuf> {
    let mut reads: Vec<PathBuf> = SYSTEM_READS.iter().map(PathBuf::from).collect();
    for link in ["/etc/resolv.conf", "/etc/hosts", "/etc/localtime"] {
        if let Ok(target) = std::fs::canonicalize(link) {
            reads.extend(target.parent().map(PathBuf::from));
        }
    }
    reads
}

const SYSTEM_READS: &[&str] = &[
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/run",
    "/sys",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/var/run",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::not_tried::not_tried;
    use std::process::Command;

    /// Runs this very test in a process of its own, which is confined for good.
    #[test]
    fn a_confined_process_can_do_little() {
        if std::env::var_os(AGAIN).is_some() {
            return confined();
        }
        let name = "system::sandbox::tests::a_confined_process_can_do_little";
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(AGAIN, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{said} {told}");
        assert!(said.contains("all is denied"), "{said}");
        for line in told.lines().filter_map(|it| it.strip_prefix("not tried: ")) {
            not_tried(line);
        }
    }

    /// Asked of the kernel, and not of what is tested.
    fn kernel_has_landlock() -> bool {
        use landlock::{AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let rules = rules.handle_access(AccessFs::WriteFile);
        rules.and_then(Ruleset::create).is_ok()
    }

    fn confined() {
        let scratch = crate::system::scratch::Scratch::new();
        let [ours, other] = ["ours", "other"].map(|name| scratch.path().join(name));
        for folder in [&ours, &other] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("old"), "x").unwrap();
        }
        let mut reads = system_reads();
        reads.retain(|folder| !scratch.path().starts_with(folder));
        let plan = Plan {
            user: None,
            interfaces: false,
            reads,
            writes: vec![ours.clone()],
        };
        let done = confine(&plan);
        // The test runs on a thread of the harness, and this is the one that was confined.
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let has = |what: &str| done.active.iter().any(|it| it.starts_with(what));
        assert!(
            has("no capabilities") && has("no new privileges"),
            "{done:?}"
        );
        assert_eq!(field("NoNewPrivs:"), "1");
        for name in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(field(name), "0000000000000000", "{name}");
        }
        let denied = |result: std::io::Result<()>| {
            let kind = result.map_err(|error| error.kind());
            assert_eq!(kind, Err(std::io::ErrorKind::PermissionDenied));
        };
        // A kernel without it has no such line.
        let seccomp = !field("Seccomp:").is_empty();
        assert_eq!(has("seccomp"), seccomp, "{done:?}");
        if !seccomp {
            not_tried("seccomp: the kernel has none");
        } else {
            assert_eq!(field("Seccomp:"), "2");
            denied(Command::new("/bin/true").status().map(drop));
            denied(std::net::TcpListener::bind("127.0.0.1:0").map(drop));
            let raw = nix::sys::socket::socket(
                nix::sys::socket::AddressFamily::Packet,
                nix::sys::socket::SockType::Raw,
                nix::sys::socket::SockFlag::empty(),
                None,
            );
            assert_eq!(raw.err(), Some(nix::errno::Errno::EPERM));
            let unshared = nix::unistd::chroot("/");
            assert_eq!(unshared, Err(nix::errno::Errno::EPERM));
        }
        let landlock = kernel_has_landlock();
        assert_eq!(has("landlock"), landlock, "{done:?}");
        if !landlock {
            not_tried("landlock: the kernel has none");
        } else {
            denied(std::fs::write(other.join("new"), "x"));
            denied(std::fs::read(other.join("old")).map(drop));
            denied(std::fs::remove_file(other.join("old")));
        }
        // What it is for still works.
        let files = crate::system::files::Files::real();
        files.replace(&ours.join("old"), b"y", 0o600).unwrap();
        files.make_dir(&ours.join("a/b"), 0o700).unwrap();
        files.remove(&ours.join("old")).unwrap();
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        std::fs::read("/proc/self/stat").unwrap();
        std::thread::spawn(|| {}).join().unwrap();
        files.remove_tree(&ours.join("a")).unwrap();
        println!("all is denied");
    }

    #[test]
    fn the_right_to_choose_an_interface_outlives_a_change_of_user() {
        let name =
            "system::sandbox::tests::the_right_to_choose_an_interface_outlives_a_change_of_user";
        if !crate::system::processes::is_root() {
            not_tried("a change of user: only root can do it");
            return;
        }
        if std::env::var_os(AGAIN).is_none() {
            let mut again = Command::new(std::env::current_exe().unwrap());
            let again = again.args(["--exact", name, "--test-threads=1"]);
            assert!(again.env(AGAIN, "1").status().unwrap().success());
            return;
        }
        let plan = Plan {
            user: Some(User {
                name: "somebody".to_owned(),
                uid: 61_234,
                gid: 61_235,
            }),
            interfaces: true,
            reads: vec!["/".into()],
            writes: Vec::new(),
        };
        let done = confine(&plan);
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        for field in [
            "CapEff:\t0000000000002000",
            "CapPrm:\t0000000000002000",
            "Uid:\t61234\t61234",
        ] {
            assert!(status.contains(field), "{done:?} {status}");
        }
    }

    #[test]
    fn a_supervisor_says_what_it_can_not_give_up() {
        let name = "system::sandbox::tests::a_supervisor_says_what_it_can_not_give_up";
        if std::env::var_os(AGAIN).is_none() {
            let mut again = Command::new(std::env::current_exe().unwrap());
            let again = again.args(["--exact", name, "--test-threads=1"]);
            assert!(again.env(AGAIN, "1").status().unwrap().success());
            return;
        }
        let done = limit_to_supervision();
        assert_eq!((done.active.len(), done.missing.len()), (2, 0), "{done:?}");
        if let Err(why) = filter::deny_a_change_of_capabilities() {
            return not_tried(&format!("a supervisor that keeps its rights: {why}"));
        }
        let done = limit_to_supervision();
        assert_eq!(done.active, ["no new privileges"], "{done:?}");
        let missing = done.missing.concat();
        assert!(missing.contains("capabilities but those"), "{missing}");
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }

    const AGAIN: &str = "KUBEEDGE_TEST_CONFINED";
}

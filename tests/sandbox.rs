//! What the daemons have given up, seen from outside, and that everything works without it.

mod common;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use common::cloud::Cloud;
use common::device::{BOOTSTRAP, CERTIFICATE, CONFIG, Device, KEY};
use common::site::{Cloudcore, Site};
use common::{LIMIT, figures, not_tried, wait_until};
use kubeedge::protocol::control::{
    self, CLOUD_SOCKET, CloudOp, CloudStatus, EdgeState, EdgeStatus, Request,
};
use kubeedge::system::{facts, processes};
use landlock::{AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
use nix::sys::signal::Signal;

/// A line of `/proc/PID/status`, of every thread the same.
fn field(pid: u32, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let mut values: Vec<String> = tasks
        .flatten()
        // A thread may end while it is looked at.
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}")).trim().to_owned()
        })
        .collect();
    values.dedup();
    assert_eq!(
        values.len(),
        1,
        "{name} differs between threads: {values:?}"
    );
    values.remove(0)
}

/// How many properties were looked at.
fn assert_confined(pid: u32, uid: u32) -> u64 {
    let none = "0000000000000000";
    let mut seen = 0;
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(pid, name), none, "{name}");
        seen += 1;
    }
    if processes::is_root() {
        // Others can't reduce it, and have nothing that it could give them.
        assert_eq!(field(pid, "CapBnd:"), none);
        seen += 1;
    }
    assert_eq!(field(pid, "NoNewPrivs:"), "1");
    assert_eq!(field(pid, "Seccomp:"), "2");
    let ids = field(pid, "Uid:");
    assert!(
        ids.split_whitespace().all(|id| id == uid.to_string()),
        "{ids}"
    );
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"));
    if let Ok(limits) = limits {
        let core = limits.lines().find(|line| line.starts_with("Max core"));
        let core = core.expect("a limit").split_whitespace().nth(4);
        assert_eq!(core, Some("0"));
    }
    seen + 4
}

/// What the supervisor has: seven rights and no socket to the network. How many properties were looked at.
fn assert_supervises_only(pid: u32) -> u64 {
    let rights = |pid, name| u64::from_str_radix(&field(pid, name), 16).expect("a set of rights");
    // CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP; and on old kernels NET_RAW.
    let mut seven = [0, 1, 3, 5, 6, 7, 8]
        .iter()
        .fold(0, |all, it| all | 1 << it);
    if facts::kernel_is_before(5, 7) {
        seven |= 1 << 13;
    }
    for name in ["CapEff:", "CapPrm:"] {
        assert_eq!(rights(pid, name) & !seven, 0, "{name}");
    }
    assert_eq!(rights(pid, "CapInh:") | rights(pid, "CapAmb:"), 0);
    if processes::is_root() {
        // A machine for tests may lack some of them.
        let all = rights(std::process::id(), "CapBnd:");
        assert_eq!(rights(pid, "CapBnd:"), seven & all);
    }
    // It can't get what it has given up either.
    assert_eq!(field(pid, "NoNewPrivs:"), "1");
    let (own, network) = (sockets(pid), to_the_network(pid));
    assert!(!own.is_empty(), "it hears the hub");
    assert!(own.iter().all(|it| !network.contains(it)), "{own:?}");
    6
}

/// The inodes of all sockets of a process.
fn sockets(pid: u32) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let targets = open
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok());
    let inode = |target: PathBuf| {
        let target = target.to_str()?.strip_prefix("socket:[")?;
        target.strip_suffix(']').map(str::to_owned)
    };
    targets.filter_map(inode).collect()
}

/// The inodes of all sockets to the network that anybody has.
fn to_the_network(pid: u32) -> Vec<String> {
    let protocols = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];
    // There may be no IPv6.
    let tables = protocols.map(|it| fs::read_to_string(format!("/proc/{pid}/net/{it}")));
    let tables: String = tables.into_iter().flatten().collect();
    let inode = |line: &str| line.split_whitespace().nth(9).map(str::to_owned);
    tables.lines().filter_map(inode).collect()
}

/// Asked of the kernel, and not of what is tested.
fn kernel_has_landlock() -> bool {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let rules = rules.handle_access(AccessFs::WriteFile);
    let has = rules.and_then(Ruleset::create).is_ok();
    if !has {
        not_tried("landlock: the kernel has none");
    }
    has
}

fn hub(status: &EdgeStatus) -> u32 {
    status.hub_pid.expect("there is a supervisor")
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[test]
fn the_hub_has_no_rights_and_does_all_its_work() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("poor"));
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let first = edge.connected();
    let mut seen = assert_confined(hub(&first), own_uid());
    for part in ["no capabilities", "no new privileges", "seccomp"] {
        assert!(
            first.sandbox.iter().any(|it| it == part),
            "{:?}",
            first.sandbox
        );
    }
    assert_eq!(
        first.sandbox.iter().any(|it| it.starts_with("landlock")),
        kernel_has_landlock(),
        "{:?}",
        first.sandbox
    );
    assert!(
        !device.read(CONFIG).contains(&cloud.token()),
        "the token is still there"
    );
    let reply = edge.order("renew");
    assert!(reply.error.is_none(), "{:?}", reply.error);
    let serial = |status: &EdgeStatus| status.session.as_ref().map(|it| it.serial.clone());
    edge.until("a session with the new certificate", |now| {
        serial(now).is_some() && serial(now) != serial(&first)
    });
    seen += assert_supervises_only(edge.pid());
    // The same look finds the tunnel.
    let hub = hub(&edge.status());
    assert!(
        sockets(hub)
            .iter()
            .any(|it| to_the_network(hub).contains(it))
    );
    edge.stop();
    figures::tried(
        "hardening-edge",
        "rights, limits and identities of the confined hub and its supervisor that were looked at",
        seen,
    );
}

/// A device whose passwd has a user for edgecore. Only root can become it.
fn device_with_user(node: &str) -> Option<Device> {
    if !processes::is_root() {
        not_tried("a user of edgecore's own: only root can become another");
        return None;
    }
    let device = Device::new(node);
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder.create(device.path("/etc")).expect("a folder");
    let line = format!("root:x:0:0::/root:/bin/sh\nedgecore:x:{UID}:{GID}::/:/sbin/nologin\n");
    device.write("/etc/passwd", &line, 0o644);
    Some(device)
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).expect("it is there");
    (metadata.uid(), metadata.gid())
}

#[test]
fn the_hub_becomes_its_own_user_where_there_is_one() {
    let Some(device) = device_with_user("modest") else {
        return;
    };
    let cloud = Cloud::start(&[]);
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let status = edge.connected();
    let mut seen = assert_confined(hub(&status), UID);
    assert!(
        status.sandbox.iter().any(|it| it == "user edgecore"),
        "{:?}",
        status.sandbox
    );
    // The identity is the hub's, configuration and programs are not.
    for path in [KEY, CERTIFICATE, "/etc/kubeedge/certs", "/etc/kubeedge/ca"] {
        assert_eq!(owner(&device.path(path)), (UID, GID), "{path}");
        seen += 1;
    }
    for path in [
        CONFIG,
        "/etc/kubeedge/config",
        "/etc/kubeedge",
        "/run/kubeedge",
    ] {
        assert_eq!(owner(&device.path(path)).0, 0, "{path}");
        seen += 1;
    }
    // The supervisor erased the token, which the hub can't.
    assert!(
        !device.read(CONFIG).contains(&cloud.token()),
        "the token is still there"
    );
    let reply = edge.order("renew");
    assert!(reply.error.is_none(), "{:?}", reply.error);
    let generation = |now: &EdgeStatus| now.session.as_ref().map_or(0, |it| it.generation);
    let before = edge.until("the tunnel with the new certificate", |now| {
        generation(now) > generation(&status)
    });
    // A configuration written anew by root, for root alone, is read all the same.
    let text = device.read(CONFIG);
    let text = text.replace("futureKey: [1, 2]", "heartbeat: 2");
    device.write(CONFIG, &text, 0o600);
    edge.signal(Signal::SIGHUP);
    edge.until("a session with the new configuration", |now| {
        generation(now) > generation(&before)
    });
    edge.stop();
    figures::tried(
        "hardening-own-user",
        "properties of a hub with a user of its own",
        seen,
    );
}

#[test]
fn a_token_put_there_for_root_alone_is_found_and_erased() {
    let Some(device) = device_with_user("late-token") else {
        return;
    };
    let cloud = Cloud::start(&[]);
    device.configure(&cloud, "");
    let edge = device.start();
    edge.until("the state that waits for a token", |status| {
        status.state == EdgeState::NeedsToken
    });
    device.write(BOOTSTRAP, &cloud.token(), 0o600);
    let status = edge.connected();
    assert_confined(hub(&status), UID);
    assert!(!device.path(BOOTSTRAP).exists(), "the token is still there");
    edge.stop();
}

#[test]
fn users_come_and_go() {
    let Some(device) = device_with_user("changing") else {
        return;
    };
    let cloud = Cloud::start(&[]);
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    edge.connected();
    edge.stop();
    // Without the user it is root again, without rights, and the files are root's.
    fs::remove_file(device.path("/etc/passwd")).expect("it was there");
    let edge = device.start();
    let status = edge.connected();
    assert_confined(hub(&status), 0);
    assert_eq!(owner(&device.path(KEY)), (0, 0));
    edge.stop();
    // A key that was restored for somebody else is taken over.
    chown(device.path(KEY), Some(4711), Some(4711)).expect("root may");
    let edge = device.start();
    edge.connected();
    assert_eq!(owner(&device.path(KEY)), (0, 0));
    edge.stop();
}

#[test]
fn the_key_of_a_cloud_on_the_same_machine_stays_root_s() {
    let Some(device) = device_with_user("both") else {
        return;
    };
    let cloud = Cloud::start(&[]);
    device.configure(&cloud, &cloud.token());
    let (key, certificate) = ("/etc/kubeedge/ca/rootCA.key", "/etc/kubeedge/ca/rootCA.crt");
    let mut builder = fs::DirBuilder::new();
    let folder = builder.recursive(true).mode(0o700);
    folder
        .create(device.path("/etc/kubeedge/ca"))
        .expect("a folder");
    device.write(key, "the cloud's", 0o600);
    let edge = device.start();
    let status = edge.connected();
    assert_confined(hub(&status), UID);
    // The hub works in there, and what is not its own stays so.
    assert_eq!(owner(&device.path(certificate)).0, UID);
    assert_eq!(owner(&device.path(key)), (0, 0));
    let folder = fs::metadata(device.path("/etc/kubeedge/ca")).expect("a folder");
    assert_eq!((folder.uid(), folder.mode() & 0o7777), (0, 0o1770));
    fs::remove_file(device.path(certificate)).expect("a copy");
    let reply = edge.order("renew");
    assert!(reply.error.is_none(), "{:?}", reply.error);
    wait_until("the copy", || device.path(certificate).exists());
    assert!(!edge.log().contains("others could enter"), "{}", edge.log());
    edge.stop();
    assert_eq!(device.read(key), "the cloud's");
}

#[test]
fn a_folder_for_objects_with_the_identity_in_it_is_not_given_away() {
    let Some(mut device) = device_with_user("mixed") else {
        return;
    };
    let cloud = Cloud::start(&[]);
    let key = "/etc/kubeedge/ca/rootCA.key";
    device.meta_keys = vec!["stateDir: /etc/kubeedge".to_owned()];
    device.configure(&cloud, &cloud.token());
    let mut builder = fs::DirBuilder::new();
    let folder = builder.recursive(true).mode(0o700);
    folder
        .create(device.path("/etc/kubeedge/ca"))
        .expect("a folder");
    device.write(key, "the cloud's", 0o600);
    let edge = device.start();
    assert_confined(hub(&edge.connected()), 0);
    assert_eq!(owner(&device.path(key)), (0, 0));
    assert!(edge.log().contains("the hub stays root"), "{}", edge.log());
    edge.stop();
}

#[test]
fn a_key_elsewhere_is_not_given_away() {
    let Some(mut device) = device_with_user("foreign") else {
        return;
    };
    let cloud = Cloud::start(&[]);
    device
        .hub_keys
        .push("tlsPrivateKeyFile: /data/private/edge.key".to_owned());
    device
        .hub_keys
        .push("tlsCertFile: /data/private/edge.crt".to_owned());
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let status = edge.connected();
    assert_confined(hub(&status), 0);
    assert_eq!(owner(&device.path("/data/private")), (0, 0));
    assert!(edge.log().contains("the hub stays root"), "{}", edge.log());
    edge.stop();
}

#[test]
fn other_folders_are_had_by_a_new_process() {
    let (cloud, device) = (Cloud::start(&[]), Device::new("moving"));
    device.configure(&cloud, &cloud.token());
    let edge = device.start();
    let before = edge.connected();
    let text = device.read(CONFIG);
    let text = text.replace(
        "futureKey: [1, 2]",
        "tlsCaFile: /etc/kubeedge/elsewhere/ca.crt",
    );
    device.write(CONFIG, &text, 0o640);
    edge.signal(Signal::SIGHUP);
    let after = edge.until("a session of another hub", |now| {
        now.hub_pid != before.hub_pid && now.session.is_some()
    });
    assert_eq!(after.pid, before.pid);
    assert!(device.path("/etc/kubeedge/elsewhere/ca.crt").exists());
    edge.stop();
}

/// They are read again with the configuration, when the hub has given up its rights, and perhaps root.
#[test]
fn the_credentials_of_a_proxy_may_lie_anywhere() {
    let devices = [Some(Device::new("as-root")), device_with_user("modest")];
    let cloud = Cloud::start(&[]);
    for mut device in devices.into_iter().flatten() {
        let place = "/srv/secrets/proxy";
        device.write(place, "somebody:before", 0o600);
        device.hub_keys = vec![
            "proxy: http://127.0.0.1:9".to_owned(),
            "noProxy: 127.0.0.1".to_owned(),
            format!("proxyCredentialsFile: {place}"),
        ];
        device.configure(&cloud, &cloud.token());
        let edge = device.start();
        let before = edge.connected();
        device.write(place, "somebody:after", 0o600);
        edge.signal(Signal::SIGHUP);
        let session = |status: &EdgeStatus| {
            let session = status.session.as_ref();
            session.map(|it| (status.hub_pid, it.generation))
        };
        let after = edge.until("a session with the new password", |now| {
            session(now).is_some_and(|it| Some(it) != session(&before))
        });
        assert_eq!(after.last_error, None);
        // As root the same process could read it.
        if device.node == "as-root" {
            assert_eq!(after.hub_pid, before.hub_pid, "{}", edge.log());
        }
        edge.stop();
    }
}

fn cloud_status(cloud: &Cloudcore) -> CloudStatus {
    let socket = cloud.path(CLOUD_SOCKET);
    control::call(&socket, &Request::new(CloudOp::Status), LIMIT).expect("cloudcore answers")
}

/// A device joins, and renews its certificate.
fn serves(cloud: &Cloudcore, node: &str) {
    let site = Site::new();
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let joined = site.join(&hub, cloud.https, &cloud.token_file(), node, &[]);
    joined.ends(0);
    site.run(&["certs", "renew"]).ends(0);
    site.connected();
}

#[test]
fn cloudcore_has_no_rights_and_serves() {
    let mut cloud = Cloudcore::start(&[]);
    let seen = assert_confined(cloud.pid(), own_uid());
    let sandbox = cloud_status(&cloud).sandbox;
    assert!(sandbox.iter().any(|it| it == "seccomp"), "{sandbox:?}");
    serves(&cloud, "served");
    assert_confined(cloud.pid(), own_uid());
    cloud.stop();
    let free = Cloudcore::start(&["--no-sandbox"]);
    assert_eq!(cloud_status(&free).sandbox, ["off"]);
    assert_eq!(
        field(free.pid(), "CapEff:"),
        field(std::process::id(), "CapEff:")
    );
    figures::tried(
        "hardening-cloud",
        "rights, limits and identities of the confined cloudcore that were looked at",
        seen,
    );
}

#[test]
fn cloudcore_becomes_its_own_user_where_there_is_one() {
    if !processes::is_root() {
        not_tried("a user of cloudcore's own: only root can become another");
        return;
    }
    let mut cloud = Cloudcore::start(&[]);
    assert_confined(cloud.pid(), 0);
    cloud.stop();
    // What root has made is taken over.
    let line = format!("cloudcore:x:{UID}:{GID}::/:/sbin/nologin\n");
    let passwd = cloud.path("etc/passwd");
    fs::write(&passwd, line).expect("a file");
    cloud.start_again(&[]);
    assert_confined(cloud.pid(), UID);
    let key = "etc/kubeedge/cloudcore/ca.key";
    for path in ["etc/kubeedge/cloudcore", key, "var/lib/kubeedge/cloudcore"] {
        assert_eq!(owner(&cloud.path(path)), (UID, GID), "{path}");
    }
    assert_eq!(owner(&cloud.path("etc/kubeedge")).0, 0);
    serves(&cloud, "modest");
    // A token made while it does not run is made by root.
    cloud.stop();
    cloud.token();
    cloud.start_again(&[]);
    serves(&cloud, "modest-again");
    cloud.stop();
    fs::remove_file(&passwd).expect("it was there");
    cloud.start_again(&[]);
    assert_confined(cloud.pid(), 0);
    assert_eq!(owner(&cloud.path(key)), (0, 0));
    serves(&cloud, "root-again");
}

#[test]
fn it_can_be_switched_off() {
    let (cloud, mut device) = (Cloud::start(&[]), Device::new("free"));
    device.configure(&cloud, &cloud.token());
    let edge = device.start_with_flags(&["--no-sandbox"]);
    let status = edge.connected();
    assert_eq!(status.sandbox, ["off"]);
    for pid in [status.pid, hub(&status)] {
        assert_eq!(
            field(pid, "Seccomp:"),
            field(std::process::id(), "Seccomp:")
        );
        assert_eq!(field(pid, "CapEff:"), field(std::process::id(), "CapEff:"));
    }
    edge.stop();
    device.hub_keys.push("sandbox: false".to_owned());
    device.configure(&cloud, "");
    let edge = device.start();
    assert_eq!(edge.connected().sandbox, ["off"]);
    edge.stop();
}

const UID: u32 = 61_234;
const GID: u32 = 61_235;

//! Devices that nobody sits at: what an image asks of them becomes an identity, and then a token less.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::device::{BOOTSTRAP, CONFIG, Device, Edge, KEY};
use common::site::Cloudcore;
use common::{KUBEEDGE, figures, files_below, mode, wait_until};
use kubeedge::protocol::control::EdgeState;

const JOIN: &str = "/etc/kubeedge/join";
const UCI: &str = "/etc/config/kubeedge";

/// What the image of a fleet has in its join file.
fn request(cloud: &Cloudcore, token: &str) -> String {
    format!(
        "# the same on every device\ncloudcore-ipport: 127.0.0.1:{}\ncertport: {}\n\
         token: {token}\nnode-name: barn-{{mac}}\nlabels: site=barn\n",
        cloud.hub, cloud.https
    )
}

/// A device as the factory makes it: the image, and an address of its own.
fn image() -> Device {
    let device = Device::new("barn-b827eb000001");
    device.write("/sys/class/net/eth0/address", "b8:27:eb:00:00:01\n", 0o644);
    device
}

/// Nothing on the device holds this token any more.
fn forgotten(device: &Device, token: &str) {
    wait_until("the end of the token", || !device.path(BOOTSTRAP).exists());
    for (path, content) in files_below(&device.path("/")) {
        let content = String::from_utf8_lossy(&content);
        assert!(!content.contains(token), "{} has the token", path.display());
    }
}

fn joins(edge: &Edge<'_>, device: &Device, cloud: &Cloudcore) {
    let status = edge.connected();
    assert_eq!(status.node, device.node);
    wait_until("the session in the cloud's list", || {
        cloud.sessions().iter().any(|it| it.node == device.node)
    });
    assert!(device.path(KEY).exists());
}

#[test]
fn one_image_makes_a_node_of_every_device() {
    let cloud = Cloudcore::start(&[]);
    let token = cloud.token();
    let device = image();
    device.write(JOIN, &request(&cloud, &token), 0o644);
    let edge = device.start();
    joins(&edge, &device, &cloud);
    forgotten(&device, &token);
    assert!(!device.path(JOIN).exists());
    assert!(edge.log().contains("had mode 644"), "{}", edge.log());
    assert!(!edge.log().contains(&token));
    assert_eq!(mode(&device.path(CONFIG)), 0o644);
    assert!(device.read(CONFIG).contains("site: barn"));
    edge.stop();
    // From now on it is a device as any other.
    let edge = device.start();
    joins(&edge, &device, &cloud);
    edge.stop();
}

/// Of such an image one folder can be written to, and memory.
#[test]
fn a_root_that_can_not_be_written_to_needs_its_identitys_folder_alone() {
    let cloud = Cloudcore::start(&[]);
    let token = cloud.token();
    let mut device = image();
    device.write(JOIN, &request(&cloud, &token), 0o600);
    device.mounts = Some(
        "mkdir -p $1/var $1/run; mount --bind $1 $1; mount --bind $1/run $1/run; \
         mount --bind $1/etc/kubeedge $1/etc/kubeedge; mount -o remount,ro,bind $1; \
         touch $1/var/x 2>/dev/null && exit 1; :"
            .to_owned(),
    );
    let edge = device.start();
    joins(&edge, &device, &cloud);
    forgotten(&device, &token);
    let place = edge.status().objects_in.expect("it is told");
    assert!(place.contains("/etc/kubeedge/state"), "{place}");
    edge.stop();
}

#[test]
fn the_kernels_command_line_asks_and_is_ignored_ever_after() {
    let cloud = Cloudcore::start(&[]);
    let (device, token) = (image(), cloud.token());
    let line = |hub: &str, token: &str| {
        format!(
            "console=ttyS0 kubeedge.join=\"cloudcore-ipport={hub};certport={};token={token};\
             node-name=barn-{{mac}}\" quiet\n",
            cloud.https
        )
    };
    let hub = format!("127.0.0.1:{}", cloud.hub);
    device.write("/proc/cmdline", &line(&hub, &token), 0o444);
    let edge = device.start();
    joins(&edge, &device, &cloud);
    wait_until("the end of the token", || !device.path(BOOTSTRAP).exists());
    edge.stop();
    let before = device.read(CONFIG);
    device.write("/proc/cmdline", &line("192.0.2.1:1", &cloud.token()), 0o444);
    let edge = device.start();
    joins(&edge, &device, &cloud);
    assert_eq!(device.read(CONFIG), before);
    edge.stop();
}

#[test]
fn uci_keeps_everything_but_the_token() {
    let cloud = Cloudcore::start(&[]);
    let (device, token) = (image(), cloud.token());
    let options = |token: &str| {
        format!(
            "\nconfig edgecore 'edgecore'\n\toption enabled '1'\n\
             \toption server '127.0.0.1:{}'\n\toption certport '{}'\n{token}\
             \toption node_name 'barn-{{mac}}' # of the label\n\toption log_level 'debug'\n",
            cloud.hub, cloud.https
        )
    };
    let asked = options(&format!("\toption token '{token}'\n"));
    device.write(UCI, &asked, 0o600);
    let edge = device.start();
    joins(&edge, &device, &cloud);
    forgotten(&device, &token);
    assert_eq!(device.read(UCI), options(""));
    assert_eq!(mode(&device.path(UCI)), 0o600);
    edge.stop();
}

#[test]
fn it_waits_for_the_network_as_long_as_it_takes() {
    let mut cloud = Cloudcore::start(&[]);
    let (device, token) = (image(), cloud.token());
    cloud.stop();
    device.write(JOIN, &request(&cloud, &token), 0o600);
    let edge = device.start();
    let status = edge.complains("refused");
    assert_eq!(status.state, EdgeState::Enrolling);
    assert!(device.read(JOIN).contains(&token));
    cloud.start_again(&[]);
    joins(&edge, &device, &cloud);
    forgotten(&device, &token);
    edge.stop();
}

#[test]
fn a_wrong_token_is_told_and_a_better_one_is_taken() {
    let (cloud, other) = (Cloudcore::start(&[]), Cloudcore::start(&[]));
    let (device, token) = (image(), cloud.token());
    device.write(JOIN, &request(&cloud, &other.token()), 0o600);
    let edge = device.start();
    edge.until("a need for a token", |status| {
        status.state == EdgeState::NeedsToken && status.last_error.is_some()
    });
    device.write(JOIN, &request(&cloud, &token), 0o600);
    joins(&edge, &device, &cloud);
    forgotten(&device, &token);
    edge.stop();
}

#[test]
fn what_can_not_be_understood_is_told_and_waited_for() {
    let cloud = Cloudcore::start(&[]);
    let (device, token) = (image(), cloud.token());
    device.write(
        JOIN,
        "cloudcore-ipport: 127.0.0.1\nnode-name: x-{imei}\n",
        0o600,
    );
    // It is ready: the init system has nothing to do about it.
    let edge = device.start();
    let faults = edge.log().matches("token or token-file is missing").count();
    assert_eq!(faults, 1, "{}", edge.log());
    assert!(!device.path(CONFIG).exists());
    device.write(JOIN, &request(&cloud, &token), 0o600);
    edge.signal(nix::sys::signal::Signal::SIGHUP);
    wait_until("the configuration", || device.path(CONFIG).exists());
    wait_until("the hub", || {
        device.path("/run/kubeedge/edgecore-status.sock").exists()
    });
    joins(&edge, &device, &cloud);
    forgotten(&device, &token);
    edge.stop();
}

#[test]
fn one_process_does_it_as_well() {
    let cloud = Cloudcore::start(&[]);
    let (device, token) = (image(), cloud.token());
    device.write(JOIN, &request(&cloud, &token), 0o600);
    let edge = device.start_with_flags(&["--no-supervisor"]);
    joins(&edge, &device, &cloud);
    forgotten(&device, &token);
    edge.stop();
}

#[test]
fn a_request_that_comes_with_new_firmware_is_taken_away() {
    let (cloud, other) = (Cloudcore::start(&[]), Cloudcore::start(&[]));
    let (device, token) = (image(), cloud.token());
    device.write(JOIN, &request(&cloud, &token), 0o600);
    let edge = device.start();
    joins(&edge, &device, &cloud);
    wait_until("the end of the token", || !device.path(BOOTSTRAP).exists());
    edge.stop();
    device.write(JOIN, &request(&cloud, &token), 0o600);
    let edge = device.start();
    assert!(!device.path(JOIN).exists());
    joins(&edge, &device, &cloud);
    edge.stop();
    // Another cloud's is no business of a device that belongs to this one.
    device.write(JOIN, &request(&other, &other.token()), 0o600);
    let edge = device.start();
    joins(&edge, &device, &cloud);
    assert!(device.path(JOIN).exists());
    assert!(edge.log().contains("reset edge"), "{}", edge.log());
    edge.stop();
}

#[test]
fn it_may_be_killed_at_any_instant() {
    let cloud = Cloudcore::start(&[]);
    let started = std::time::Instant::now();
    let whole = {
        let (device, token) = (image(), cloud.token());
        device.write(JOIN, &request(&cloud, &token), 0o600);
        let edge = device.start();
        joins(&edge, &device, &cloud);
        started.elapsed()
    };
    let rounds = 12;
    for round in 0..rounds {
        let device = Device::new(&format!("killed-{round}"));
        let token = cloud.token();
        let text = request(&cloud, &token).replace("barn-{mac}", &device.node);
        device.write(JOIN, &text, 0o600);
        for _ in 0..3 {
            // The instant is what is tried here, so it is waited for.
            let instant = whole.mul_f64(fastrand::f64());
            let edge = device.start_unready();
            std::thread::sleep(instant.min(Duration::from_secs(5)));
            drop(edge);
            let is_safe = Path::new(&device.path(KEY)).exists();
            assert!(
                is_safe || device.read(JOIN).contains(&token),
                "neither is there"
            );
        }
        let edge = device.start();
        joins(&edge, &device, &cloud);
        forgotten(&device, &token);
        edge.stop();
    }
    figures::tried(
        "kills-first-boot",
        "SIGKILL at random instants of a first boot",
        rounds * 3,
    );
}

#[test]
fn an_init_that_does_not_wait_starts_it_once() {
    let cloud = Cloudcore::start(&[]);
    let device = image();
    let log = std::fs::File::create(device.path("edgecore.log")).expect("a log");
    // The shell is process 1 of its namespace, and all in it ends with unshare.
    let mut init = Command::new("unshare");
    let init = init
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
        ])
        .args(["\"$0\" edgecore & wait", KUBEEDGE])
        .env("KUBEEDGE_ROOT", device.path("/"))
        .stdin(Stdio::null())
        .stderr(log);
    let mut init = init.spawn().expect("unshare runs");
    wait_until("that it says what it waits for", || {
        device.log().contains("waiting for either")
    });
    device.write(JOIN, &request(&cloud, &cloud.token()), 0o600);
    wait_until("the session in the cloud's list", || {
        cloud.sessions().iter().any(|it| it.node == device.node)
    });
    init.kill().expect("it runs still");
    init.wait().expect("it ends");
}

//! Configuration that reaches programs: items of the cloud's objects become files, and a hook is run once a change.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::cloud::Cloud;
use common::device::{Device, Edge};
use common::{LIMIT, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::{Value, json};

const FOLDER: &str = "/etc/app";

/// A device with a hook that says what it does, and the test that hears it.
struct Scene {
    device: Device,
    lines: Receiver<String>,
    /// Both sides of the hook's pipes, so that nobody waits for the other.
    _said: File,
    gate: File,
}

/// What a hook found, and when.
struct Run {
    at: SystemTime,
    found: String,
}

impl Scene {
    /// The hook says its time in nanoseconds and the content of `conf`; with a gate it then waits for a line, and says
    /// that it was let through.
    fn new(cloud: &Cloud, gated: bool) -> Scene {
        let words = "cat CONF 2>/dev/null || echo none";
        Scene::saying(cloud, words, gated, &[])
    }

    /// The hook says its time and what these words say, in which CONF is the file `conf`.
    fn saying(cloud: &Cloud, words: &str, gated: bool, keys: &[&str]) -> Scene {
        let mut device = Device::new("edge-1");
        device.hub_keys = vec!["heartbeat: 1".to_owned()];
        let pipe = |name: &str| {
            let path = device.path(name);
            mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a pipe");
            let file = File::options().read(true).write(true).open(&path);
            (path, file.expect("the pipe is opened"))
        };
        let ((said, reader), (gate_path, gate)) = (pipe("/said"), pipe("/gate"));
        let conf = device.path(FOLDER).join("conf");
        let words = words.replace("CONF", &conf.display().to_string());
        let (said, gate_path) = (said.display(), gate_path.display());
        let mut script = format!("echo $(date +%s%N) $({words}) > {said}");
        if gated {
            script += &format!("; read word < {gate_path}; echo 0 $word > {said}");
        }
        device.meta_keys = vec![
            "deliver:".to_owned(),
            format!("- folder: {FOLDER}"),
            format!("  hook: [/bin/sh, -c, '{script}']"),
        ];
        let keys = keys.iter().map(|key| (*key).to_owned());
        device.meta_keys.extend(keys);
        device.configure(cloud, &cloud.token());
        let (sender, lines) = channel();
        let heard = reader.try_clone().expect("a second end");
        std::thread::spawn(move || {
            for line in BufReader::new(heard).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Scene {
            device,
            lines,
            _said: reader,
            gate,
        }
    }

    /// The next thing that a hook says.
    fn next(&self) -> Run {
        let line = self.lines.recv_timeout(LIMIT);
        let line = line.unwrap_or_else(|_| panic!("no hook: {}", self.device.log()));
        let (at, found) = line.split_once(' ').expect("a time and a word");
        let at = Duration::from_nanos(at.parse().expect("nanoseconds"));
        Run {
            at: UNIX_EPOCH + at,
            found: found.to_owned(),
        }
    }

    /// Runs of the hook, until after one of them it is so.
    fn until(&self, is_so: impl Fn(&Run) -> bool) -> Run {
        loop {
            let run = self.next();
            if is_so(&run) {
                return run;
            }
        }
    }

    fn is_quiet(&self) {
        let more = self.lines.try_recv();
        assert!(more.is_err(), "the hook ran without a change: {more:?}");
    }

    fn exists(&self, path: &str) -> bool {
        self.device.path(FOLDER).join(path).exists()
    }
}

fn put(cloud: &mut Cloud, resource: &str, object: &Value) {
    cloud.order(&format!(
        "put {}",
        json!({"resource": resource, "object": object})
    ));
}

fn have(cloud: &mut Cloud, resource: &str, object: &Value) {
    cloud.order(&format!(
        "have {}",
        json!({"resource": resource, "object": object})
    ));
}

fn pod(annotated: bool, volumes: &Value) -> Value {
    let annotations = match annotated {
        true => json!({"kubeedge.io/deliver": FOLDER}),
        false => json!({}),
    };
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"annotations": annotations},
        "spec": {"containers": [], "volumes": volumes}})
}

fn config(text: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"conf": text}})
}

/// The device runs, and both sides say that it is connected.
fn begin<'a>(cloud: &mut Cloud, device: &'a Device) -> Edge<'a> {
    let edge = device.start();
    edge.connected();
    cloud.event("connect");
    edge
}

fn annotated(object: &Value, folder: &str) -> Value {
    let mut object = object.clone();
    object["metadata"] = json!({"annotations": {"kubeedge.io/deliver": folder}});
    object
}

/// As systemd has it by `ProtectSystem=strict`: what is not named can't be written to, before and after the drop-in.
#[test]
fn a_unit_that_does_not_allow_the_folder_is_told_of() {
    let mut cloud = Cloud::start(&[]);
    let mut scene = Scene::new(&cloud, false);
    let invocation = ("INVOCATION_ID", "0123".to_owned());
    scene.device.environment.push(invocation);
    let unit = |folders: &str| {
        format!(
            "mount --bind $1 $1; for it in {folders}; do mount --bind $1/$it $1/$it; done; mount -o remount,ro,bind $1"
        )
    };
    let own = "etc/kubeedge run var";
    for folder in own.split(' ') {
        fs::create_dir_all(scene.device.path(folder)).expect("a folder");
    }
    scene.device.mounts = Some(unit(own));
    let edge = begin(&mut cloud, &scene.device);
    put(
        &mut cloud,
        "default/configmap/conf",
        &annotated(&config("one"), FOLDER),
    );
    edge.until("the unit's refusal", |status| {
        let said = status.last_error.as_ref().map(|it| it.message.as_str());
        said.is_some_and(|it| it.contains("app is not delivered") && it.contains("ReadWritePaths="))
    });
    edge.stop();
    fs::create_dir(scene.device.path(FOLDER)).expect("the folder");
    scene.device.mounts = Some(unit(&format!("{own} etc/app")));
    let edge = begin(&mut cloud, &scene.device);
    scene.until(|run| run.found == "one");
    edge.stop();
}

#[test]
fn items_become_files_and_the_hook_runs_once_a_change_and_after_a_boot() {
    let mut cloud = Cloud::start(&[]);
    let scene = Scene::new(&cloud, false);
    let device = &scene.device;
    let edge = begin(&mut cloud, device);
    have(&mut cloud, "default/configmap/conf", &config("one"));
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "data": {"word": "aGlkZGVu"}});
    have(&mut cloud, "default/secret/key", &secret);
    let volumes = json!([{"name": "v", "configMap": {"name": "conf"}},
        {"name": "w", "secret": {"secretName": "key"}}]);
    put(&mut cloud, "default/pod/app", &pod(true, &volumes));
    // The one may come after the other: then that is a change of its own.
    scene.until(|run| run.found == "one" && scene.exists("word"));
    let secret = device.path("/etc/app/word");
    assert_eq!(fs::read(&secret).expect("the item"), b"hidden");
    let mode = |name: &str| {
        let metadata = fs::metadata(device.path(name)).expect("the file");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(
        (mode("/etc/app/word"), mode("/etc/app/conf")),
        (0o600, 0o644)
    );

    let mut took = Vec::new();
    for round in 0..5 {
        let text = format!("round-{round}");
        let pushed = SystemTime::now();
        put(&mut cloud, "default/configmap/conf", &config(&text));
        let run = scene.until(|run| run.found == text);
        took.push(run.at.duration_since(pushed).unwrap_or_default());
    }
    took.sort();
    eprintln!("from the push to the hook: {took:?}");
    // It is a second on a device; the rest is for slow machines.
    assert!(took[2] < Duration::from_secs(5), "{took:?}");
    // Another object changes nothing in the folder.
    put(&mut cloud, "default/configmap/other", &config("x"));
    cloud.event_where("acked", |it| it["resource"] == "default/configmap/other");

    // A boot: what lies below /run is gone, and so is the cloud.
    edge.stop();
    cloud.order("down");
    scene.is_quiet();
    fs::remove_dir_all(device.path("/run/kubeedge/edgecore")).expect("it was there");
    let edge = device.start();
    assert_eq!(scene.next().found, "round-4");
    cloud.order("up");
    edge.connected();
    put(&mut cloud, "default/pod/app", &pod(false, &volumes));
    scene.until(|run| run.found == "none");
    assert!(!scene.exists("conf") && !scene.exists("word"));
    edge.stop();
    // Started again without a boot, nothing has to be done.
    let edge = device.start();
    edge.connected();
    edge.stop();
    scene.is_quiet();
    cloud.satisfied();
}

/// As on a device that keeps objects in memory, after a boot.
#[test]
fn what_was_delivered_outlives_the_objects_until_the_cloud_has_had_time_to_send_them() {
    let mut cloud = Cloud::start(&[]);
    let scene = Scene::new(&cloud, false);
    let device = &scene.device;
    let edge = begin(&mut cloud, device);
    let more = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"more": "x"}});
    put(
        &mut cloud,
        "default/configmap/more",
        &annotated(&more, FOLDER),
    );
    put(
        &mut cloud,
        "default/configmap/conf",
        &annotated(&config("one"), FOLDER),
    );
    scene.until(|run| run.found == "one" && scene.exists("more"));
    edge.stop();
    cloud.order("down");
    scene.is_quiet();
    for lost in ["/run/kubeedge/edgecore", "/var/lib/kubeedge/edgecore/meta"] {
        fs::remove_dir_all(device.path(lost)).expect("it was there");
    }
    let edge = device.start();
    assert_eq!(scene.next().found, "one");
    assert!(scene.exists("more"));
    // Of the two the cloud has only one by now.
    cloud.order("up");
    edge.connected();
    put(
        &mut cloud,
        "default/configmap/conf",
        &annotated(&config("two"), FOLDER),
    );
    scene.until(|run| run.found == "two");
    assert!(scene.exists("more"));
    let line = scene.lines.recv_timeout(3 * LIMIT).expect("a last change");
    assert!(line.ends_with(" two"), "{line}");
    assert!(!scene.exists("more"));
    edge.stop();
    scene.is_quiet();
    cloud.satisfied();
}

/// The supervisor holds signals back for itself; a daemon that the hook restarts has to hear them.
#[test]
fn no_signal_is_held_back_from_a_hook_and_one_that_does_not_start_says_why() {
    let mut cloud = Cloud::start(&[]);
    let keys = [
        "- folder: /etc/absent",
        "  hook: [/no/such/program, --root, x]",
        "- folder: /etc/plain",
        "  hook: [/etc/passwd]",
        "- folder: /etc/failing",
        "  hook: [/bin/sh, -c, exit 9]",
    ];
    let words = "grep SigBlk: /proc/$$/status; sleep 0.01 & wait";
    let scene = Scene::saying(&cloud, words, false, &keys);
    let edge = begin(&mut cloud, &scene.device);
    let own = annotated(&config("own"), FOLDER);
    put(&mut cloud, "default/configmap/own", &own);
    let none = "0".repeat(16);
    assert_eq!(scene.next().found, format!("SigBlk: {none}"));
    for (folder, said) in [
        ("absent", "/no/such/program --root x can't be run: "),
        ("plain", "/etc/passwd can't be run: permission denied"),
        ("failing", "exit 9 failed (exit status: 9)"),
    ] {
        let object = annotated(&config("x"), &format!("/etc/{folder}"));
        put(&mut cloud, &format!("default/configmap/{folder}"), &object);
        wait_until(said, || edge.log().contains(said));
    }
    assert!(edge.log().contains("check its path and mode"));
    edge.stop();
    cloud.satisfied();
}

#[test]
fn a_folder_that_is_not_allowed_stays_untouched() {
    let mut cloud = Cloud::start(&[]);
    let scene = Scene::new(&cloud, false);
    let edge = begin(&mut cloud, &scene.device);
    let other = annotated(&config("x"), "/etc/other");
    put(&mut cloud, "default/configmap/conf", &other);
    cloud.event_where("acked", |it| it["resource"] == "default/configmap/conf");
    put(
        &mut cloud,
        "default/configmap/own",
        &annotated(&config("own"), FOLDER),
    );
    assert_eq!(scene.next().found, "own");
    // The same look at what is stored has found both.
    assert!(edge.log().contains("does not allow"), "{}", edge.log());
    assert!(!scene.device.path("/etc/other").exists());
    edge.stop();
    cloud.satisfied();
}

#[test]
fn mappings_name_the_files_and_of_two_that_want_one_the_first_has_it() {
    let mut cloud = Cloud::start(&[]);
    let scene = Scene::new(&cloud, false);
    let edge = begin(&mut cloud, &scene.device);
    let data =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "1", "b": "2", "c": "3"}});
    have(&mut cloud, "default/configmap/mapped", &data);
    let items = json!([{"key": "a", "path": "conf"}, {"key": "b", "path": "sub/b.conf"},
        {"key": "c", "path": "../outside"}]);
    let volumes = json!([{"name": "v", "configMap": {"name": "mapped", "items": items}}]);
    put(&mut cloud, "default/pod/app", &pod(true, &volumes));
    scene.until(|run| run.found == "1");
    let read = |path: &str| fs::read_to_string(scene.device.path(FOLDER).join(path)).ok();
    assert_eq!(read("sub/b.conf").as_deref(), Some("2"));
    assert_eq!(
        (read("a"), read("b"), read("../outside")),
        (None, None, None)
    );
    assert!(
        edge.log()
            .contains("\"../outside\": it would be no file in the folder")
    );
    // `default/configmap/first` comes before `default/configmap/mapped`.
    let first = annotated(&config("first"), FOLDER);
    put(&mut cloud, "default/configmap/first", &first);
    scene.until(|run| run.found == "first");
    let log = edge.log();
    let word = "/etc/app/conf is wanted by default/configmap/first";
    assert!(log.contains(word), "{log}");
    edge.stop();
    cloud.satisfied();
}

#[test]
fn while_a_hook_runs_the_supervisor_does_its_work() {
    let mut cloud = Cloud::start(&[]);
    let mut scene = Scene::new(&cloud, true);
    let edge = scene.device.start();
    let status = edge.connected();
    cloud.event("connect");
    put(
        &mut cloud,
        "default/configmap/own",
        &annotated(&config("own"), FOLDER),
    );
    assert_eq!(scene.next().found, "own");
    // The hook waits at its gate; a hub that ends meanwhile is started again.
    let hub = status.hub_pid.expect("a supervised hub");
    kill(Pid::from_raw(hub as i32), Signal::SIGKILL).expect("it runs");
    cloud.event_where("connect", |event| event["generation"] == 2);
    scene.is_quiet();
    scene.gate.write_all(b"through\n").expect("the hook reads");
    // It was not ended for having taken long.
    assert_eq!(scene.next().found, "through");
    // The new hub may not know what came of it, and then it runs once more.
    scene.gate.write_all(b"through\n").expect("the hook reads");
    put(
        &mut cloud,
        "default/configmap/own",
        &annotated(&config("other"), FOLDER),
    );
    scene.until(|run| run.found == "other");
    scene.gate.write_all(b"through\n").expect("the hook reads");
    edge.stop();
    cloud.satisfied();
}

//! `join` on a device, with a cloud as KubeEdge's behaves and with our own.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use common::cloud::Cloud;
use common::device::{BOOTSTRAP, CA, CERTIFICATE, CONFIG, KEY};
use common::site::{Cloudcore, EXECUTABLE, SHORT, Said, Site};
use common::{KUBEEDGE, LIMIT, files_below, mode, put, wait_until};
use kubeedge::config::{self, edit};
use kubeedge::protocol::control::EdgeState;
use kubeedge::system::processes;
use serde_json::{Value, json};

/// The words for a join with a cloud in Python; its token is in a file.
fn words(cloud: &Cloud) -> Vec<String> {
    let (hub, api) = (format!("{}:{}", cloud.dialled(), cloud.hub), cloud.https);
    let token = cloud.path().join("token").display().to_string();
    let api = api.to_string();
    ["join", "-e", &hub, "-s", &api, "--token-file", &token]
        .map(str::to_owned)
        .to_vec()
}

fn join(site: &Site, cloud: &Cloud, more: &[&str]) -> Said {
    let words = words(cloud);
    site.run(&[strs(&words), more.to_vec()].concat())
}

fn own_words(cloud: &Cloudcore) -> Vec<String> {
    let (hub, api) = (format!("127.0.0.1:{}", cloud.hub), cloud.https.to_string());
    [
        "join",
        "-e",
        &hub,
        "-s",
        &api,
        "--token-file",
        &cloud.token_file(),
    ]
    .map(str::to_owned)
    .to_vec()
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn key(site: &Site, path: &str) -> Option<Value> {
    edit::get(&site.read(CONFIG), &config::path(path)).expect("YAML")
}

#[test]
fn a_cloud_that_is_busy_is_waited_for_and_not_longer_than_the_timeout() {
    let (mut cloud, site) = (Cloud::start(&[]), Site::new());
    for (misdeed, path) in [("busy", "/ca.crt"), ("busy-for-an-hour", "/node/pump-7")] {
        cloud.order(&format!("be https {misdeed} {path}"));
        let started = Instant::now();
        let said = join(&site, &cloud, &["-i", "pump-7", "--timeout", "3s"]).ends(75);
        let waits = said.err.matches("as the cloud wants").count();
        assert!(said.err.contains("(later)"), "{}", said.err);
        // Where it is of no use, it does not wait.
        assert_eq!(waits > 0, misdeed == "busy", "{}", said.err);
        assert!(started.elapsed() < LIMIT && !site.has(CONFIG));
    }
    cloud.order("be https busy /ca.crt");
    let words = words(&cloud);
    let mut command = site.command(&strs(&words));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the executable starts");
    let told = BufReader::new(child.stderr.take().expect("it was piped"));
    let mut told = told.lines().map_while(Result::ok);
    let waits = told.find(|line| line.contains("as the cloud wants"));
    assert!(waits.is_some_and(|line| line.contains("answers 429 (later)")));
    cloud.order("be https good");
    let rest: Vec<String> = told.collect();
    assert!(child.wait().expect("it ends").success(), "{rest:?}");
    site.connected();
}

#[test]
fn a_device_joins_whatever_the_umask_and_tells_the_token_nobody() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let token = cloud.token();
    let secret = token
        .trim()
        .rsplit('.')
        .next()
        .expect("a signature")
        .to_owned();
    let mut command = std::process::Command::new("/bin/sh");
    let words = words(&cloud);
    command
        .args(["-c", "umask 0; exec \"$@\"", "sh", KUBEEDGE])
        .args(&words)
        .args(["-i", "pump-7", "-v", "4"])
        .env("KUBEEDGE_ROOT", site.path("/"))
        .env_remove("SYSTEMCTL");
    let started = Instant::now();
    let said = command.output().expect("the executable starts");
    assert!(started.elapsed() < LIMIT);
    let (out, err) = (
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
    );
    assert!(said.status.success(), "{err}");
    assert!(out.starts_with("pump-7 is connected to "), "{out}");
    assert!(out.contains("will not start at boot"), "{out}");
    assert!(!out.contains(&secret) && !err.contains(&secret));

    let status = site.connected();
    assert_eq!(status.node, "pump-7");
    for (path, wanted) in [
        (CONFIG, 0o644),
        (KEY, 0o600),
        (CERTIFICATE, 0o644),
        (CA, 0o644),
        (EXECUTABLE, 0o755),
        ("/etc/kubeedge", 0o755),
        ("/etc/kubeedge/certs", 0o700),
    ] {
        assert_eq!(mode(&site.path(path)), wanted, "{path}");
    }
    assert!(!site.has(BOOTSTRAP), "the token is still there");
    for (path, content) in files_below(&site.path("/")) {
        let text = String::from_utf8_lossy(&content);
        assert!(
            !text.contains(&secret),
            "the token is in {}",
            path.display()
        );
        // What edgecore is just writing may have got its name by now.
        if let Ok(metadata) = fs::metadata(&path) {
            assert_eq!(
                metadata.permissions().mode() & 0o022,
                0,
                "{}",
                path.display()
            );
        }
    }
    let hub = status.hub_pid.expect("there is a supervisor");
    for file in [status.pid, hub].map(|pid| [format!("{pid}/cmdline"), format!("{pid}/environ")]) {
        for file in file {
            let text = fs::read(format!("/proc/{file}")).expect("edgecore runs");
            assert!(!String::from_utf8_lossy(&text).contains(&secret), "{file}");
        }
    }
    for name in ["keadm", "edgecore", "cloudcore"] {
        let link = site.path("/usr/local/bin").join(name);
        assert_eq!(fs::read_link(link).expect("a link"), Path::new("kubeedge"));
    }
    cloud.satisfied();
}

#[test]
fn joining_again_changes_nothing() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    join(&site, &cloud, &["-i", "twice"]).ends(0);
    let (files, status) = (site.own_files(), site.connected());
    let said = join(&site, &cloud, &["-i", "twice"]).ends(0);
    assert!(
        said.out.contains("connected") && said.out.contains("already"),
        "{}",
        said.out
    );
    assert!(site.own_files() == files, "files have changed");
    assert_eq!(site.connected().pid, status.pid);
    assert!(!said.out.contains("note"), "{}", said.out);
    // Nor does a join that is not even said where its token is.
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let said = site.run(&["join", "-e", &hub, "-i", "twice"]).ends(0);
    assert!(!said.out.contains("note"), "{}", said.out);
    // What it does not do although it was told to, it says.
    for more in [
        &["--set", "modules.edgeHub.heartbeat=20"][..],
        &["-l", "site=barn"],
        &["--hub-protocol", "quic"],
    ] {
        if more[1] == "quic" && cfg!(not(feature = "quic")) {
            continue;
        }
        let words = [&["join", "-e", &hub, "-i", "twice"], more].concat();
        let said = site.run(&words).ends(0);
        assert!(said.out.contains("config-update"), "{more:?}: {}", said.out);
        assert!(site.own_files() == files, "files have changed");
    }
    // A device of another name, or of another cloud, is not taken away by the way.
    let other = join(&site, &cloud, &["-i", "other"]).ends(78);
    assert!(
        other.fault("kubeedge join").contains("--force"),
        "{}",
        other.err
    );
    assert!(site.own_files() == files, "files have changed");
    cloud.satisfied();
}

/// Word for word, by an operator who knows no more than what `status` prints.
#[test]
fn what_status_advises_brings_a_device_back() {
    let cloud = Cloudcore::start(&[]);
    let site = Site::new();
    let words = own_words(&cloud);
    site.run(&[strs(&words), vec!["-i", "lost", "--init", "none"]].concat())
        .ends(0);
    let advised = |command: &str| {
        let said = site.run(&["status", "-o", "json"]).ends(69).json();
        let advice = said["advice"].as_str().expect("an advice").to_owned();
        let words = advice.split('`').find(|it| it.starts_with(command));
        let words = words.unwrap_or_else(|| panic!("no {command} in {advice}"));
        (words.to_owned(), advice.clone())
    };
    let state = || site.status().map(|status| status.state);
    site.run(&["service", "stop"]).ends(0);
    let (words, advice) = advised("kubeedge service start");
    let log = site.path("/var/log/kubeedge/edgecore.log");
    assert!(advice.contains(&log.display().to_string()), "{advice}");
    site.run(&words.split(' ').skip(1).collect::<Vec<_>>())
        .ends(0);
    wait_until("its session", || state() == Some(EdgeState::Connected));
    // Another port than the one that join takes unasked.
    cloud.run(&["certs", "revoke", "lost"]).ends(0);
    wait_until("the refusal", || state() == Some(EdgeState::NeedsToken));
    let (words, _) = advised("kubeedge join");
    let words = words.replace("FILE", &cloud.token_file());
    site.run(&words.split(' ').skip(1).collect::<Vec<_>>())
        .ends(0);
    site.connected();
}

#[test]
fn json_is_one_object_and_nothing_else() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let token = cloud.token();
    let words = words(&cloud);
    let mut words = strs(&words);
    words[6] = "-";
    words.extend(["-i", "json", "--output", "json"]);
    let said = site.run_with_input(&words, &token).ends(0);
    assert_eq!(said.err, "");
    let told = said.json();
    let status = site.connected();
    assert_eq!(told["node"], "json");
    assert_eq!(told["alreadyConnected"], false);
    assert_eq!(told["init"], "none");
    assert_eq!(told["startsAtBoot"], false);
    let facts = status.certificate.expect("a certificate");
    assert_eq!(told["certificate"]["serial"], json!(facts.serial));
    assert!(
        told["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    assert_eq!(
        site.run_with_input(&words, &token).ends(0).json()["alreadyConnected"],
        true
    );

    let failed = site
        .run(&["join", "-e", "127.0.0.1:1", "-t", "x", "-o", "json"])
        .ends(64);
    assert_eq!(failed.json()["exitCode"], 64);
}

#[test]
fn a_configuration_that_is_there_is_merged() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let before = "# the gateway in the barn\n\
                  apiVersion: edgecore.config.kubeedge.io/v1alpha2\n\
                  kind: EdgeCore\n\
                  modules:\n  \
                  edgeHub:\n    \
                  heartbeat: 7   # as agreed\n    \
                  futureKey: [1, 2]\n    \
                  websocket:\n      \
                  server: 192.0.2.1:10000\n  \
                  edged:\n    \
                  hostnameOverride: barn   # as on the label\n\
                  # the end\n";
    let path = site.write(CONFIG, before, 0o640);
    join(&site, &cloud, &[]).ends(0);
    assert_eq!(site.connected().node, "barn");
    let after = site.read(CONFIG);
    assert_eq!(mode(&path), 0o640);
    let server = format!("server: 127.0.0.1:{}", cloud.hub);
    for line in before.lines().filter(|line| !line.contains("server:")) {
        assert!(
            after.lines().any(|it| it == line),
            "{line:?} is gone:\n{after}"
        );
    }
    assert!(after.contains(&server), "{after}");
    let added = after.lines().count() - before.lines().count();
    assert_eq!(added, 2, "httpServer and websocket.enable:\n{after}");
    cloud.satisfied();
}

#[test]
fn flags_become_keys() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let said = join(
        &site,
        &cloud,
        &[
            "--edgenode-name=keys",
            "-l",
            "site=barn,floor=2",
            "--labels=empty",
            "-p",
            "unix:///run/crio.sock",
            "--cgroupdriver",
            "systemd",
            "--set",
            "modules.edgeHub.heartbeat=9,modules.edged.nodeIP=192.0.2.9",
            "--set=Modules.EdgeHub.MessageQPS=40",
        ],
    );
    said.ends(0);
    let (hub, api) = (cloud.hub, cloud.https);
    for (path, value) in [
        ("edgecoreVersion", json!("v1.23.1")),
        ("modules.edgeHub.token", json!("")),
        (
            "modules.edgeHub.httpServer",
            json!(format!("https://127.0.0.1:{api}")),
        ),
        (
            "modules.edgeHub.websocket.server",
            json!(format!("127.0.0.1:{hub}")),
        ),
        ("modules.edgeHub.websocket.enable", json!(true)),
        ("modules.edgeHub.quic.enable", json!(false)),
        ("modules.edgeHub.quic.server", json!("127.0.0.1:10001")),
        ("modules.edgeStream.server", json!("127.0.0.1:10004")),
        ("modules.edgeHub.heartbeat", json!(9)),
        ("modules.edgeHub.messageQPS", json!(40)),
        ("modules.edged.hostnameOverride", json!("keys")),
        ("modules.edged.nodeIP", json!("192.0.2.9")),
        (
            "modules.edged.nodeLabels",
            json!({"site": "barn", "floor": "2", "empty": ""}),
        ),
        (
            "modules.edged.tailoredKubeletConfig.cgroupDriver",
            json!("systemd"),
        ),
        (
            "modules.edged.tailoredKubeletConfig.containerRuntimeEndpoint",
            json!("unix:///run/crio.sock"),
        ),
        (
            "modules.edged.tailoredKubeletConfig.imageServiceEndpoint",
            json!("unix:///run/crio.sock"),
        ),
    ] {
        assert_eq!(key(&site, path), Some(value), "{path}");
    }
}

/// It looks at the hub before it has a certificate: many that do are no attack, and who comes next is told the reason.
#[test]
fn for_the_cloud_a_join_is_nothing_to_warn_of() {
    let (cloud, site) = (Cloudcore::start(&[]), Site::new());
    let hub = format!("127.0.0.1:{}", cloud.hub);
    let token = cloud.run(&["token", "create", "-o", "json"]).ends(0).json();
    let text = |key: &str| token[key].as_str().expect("text").to_owned();
    let file = cloud.keep("token", &text("token"));
    let join = |more: &[&str]| site.join(&hub, cloud.https, &file, "looks", more);
    for _ in 0..3 {
        join(&["--dry-run"]).ends(0);
    }
    cloud.run(&["token", "delete", &text("id")]).ends(0);
    let refused = join(&["--init", "none"]).ends(77);
    assert!(refused.err.contains("401"), "{}", refused.err);
    let log = cloud.log();
    assert!(!log.contains("no tunnel from"), "{log}");
}

/// The shells of OpenWrt and bare BusyBox don't look into the folder that it is installed in.
#[test]
fn what_to_call_next_is_a_path_where_the_shell_does_not_look() {
    let (cloud, site) = (Cloudcore::start(&[]), Site::new());
    let (hub, api) = (format!("127.0.0.1:{}", cloud.hub), cloud.https.to_string());
    let token = cloud.token_file();
    let flags = ["--token-file", &token, "-i", "found", "--init", "none"];
    let words = [&["join", "-e", &hub, "-s", &api], &flags[..]].concat();
    let installed = site.path(EXECUTABLE).display().to_string();
    let bin = site.path("/usr/local/bin");
    let elsewhere = "/usr/sbin:/usr/bin:/sbin:/bin";
    for (path, program) in [
        (elsewhere.to_owned(), installed.as_str()),
        (format!("{elsewhere}:{}", bin.display()), "kubeedge"),
    ] {
        let said = Said::of(site.command(&words).env("PATH", &path).output()).ends(0);
        let line = format!("\n  see also     {program} status\n");
        assert!(said.out.contains(&line), "{}", said.out);
    }
    assert!(Path::new(&installed).exists());
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let ignored = [
        "-i",
        "dry",
        "--dry-run",
        "--image-repository=docker.io/x",
        "--kubeedge-version",
        "v1.23.1",
        "-r",
        "docker",
        "--with-mqtt=false",
        "--tarballpath",
        "/x",
        "--certPath",
        "/y",
    ];
    let said = join(&site, &cloud, &ignored).ends(0);
    for flag in [
        "--image-repository",
        "--kubeedge-version",
        "--runtimetype",
        "--with-mqtt",
        "--tarballpath",
        "--certPath",
    ] {
        let about = said.err.lines().filter(|line| line.contains(flag));
        assert_eq!(about.count(), 1, "{flag}: {}", said.err);
    }
    assert!(said.out.contains("would join"), "{}", said.out);
    assert!(said.out.contains(CONFIG), "{}", said.out);
    assert_eq!(fs::read_dir(site.path("/")).expect("the root").count(), 0);
    // The usual value of --certPath means nothing else.
    let said = join(
        &site,
        &cloud,
        &["--dry-run", "--certPath=/etc/kubeedge/certs"],
    )
    .ends(0);
    assert!(!said.err.contains("--certPath"), "{}", said.err);
    cloud.satisfied();
}

#[test]
fn what_can_not_be_meant_is_said_in_one_sentence() {
    let site = Site::new();
    let hash = "a".repeat(64);
    let good = format!("{hash}.e30.e30.{}", "s".repeat(43));
    let long = format!("{hash}.a.b");
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 64, "--cloudcore-ipport"),
        (&["-e", "https://x:1"], 64, "scheme"),
        (&["-e", "x:99999"], 64, "port"),
        (&["-e", "x", "-s", "0"], 64, "--certport"),
        (&["-e", "x", "--hub-protocol", "udp"], 64, "--hub-protocol"),
        (&["-e", "x", "--cgroupdriver", "x"], 64, "--cgroupdriver"),
        (
            &["-e", "x", "-t", &good, "-i", "Pump_7"],
            64,
            "--edgenode-name",
        ),
        (&["-e", "x", "-t", "abc"], 64, "no dot"),
        (&["-e", "x", "-t", &long], 64, "3 parts"),
        (&["-e", "x", "-t", "abc.e30.e30.c"], 64, "64 hex digits"),
        (
            &["-e", "x", "-t", &good, "--token-file", "y"],
            64,
            "give one",
        ),
        (&["-e", "x", "--token-file", "/no/such"], 1, "/no/such"),
        (&["-e", "x", "-t", "-"], 64, "empty"),
        (&["-e", "x"], 64, "a token is needed"),
        (&["-e", "x", "-t", &good, "--set", "heartbeat"], 78, "'='"),
        (
            &[
                "-e",
                "x",
                "-t",
                &good,
                "--set",
                "modules.edgeHub.hartbeat=3",
            ],
            78,
            "did you mean heartbeat?",
        ),
        (
            &[
                "-e",
                "x",
                "-t",
                &good,
                "--set",
                "modules.edgeHub.heartbeat=x",
            ],
            78,
            "modules.edgeHub.heartbeat",
        ),
        (
            &[
                "-e",
                "x",
                "-t",
                &good,
                "--set",
                "modules.edgeHub.enable=false",
            ],
            78,
            "modules.edgeHub.enable",
        ),
        (
            &["-e", "x", "-t", &good, "--timeout", "soon"],
            64,
            "--timeout",
        ),
        (&["-e", "x", "-t", &good, "--init", "upstart"], 64, "--init"),
        (
            &["-e", "x", "-t", &good, "--edgenode-nam"],
            64,
            "--edgenode-name",
        ),
        (
            &["-e", "x", "-t", &good, "--pre-run", "/no/such"],
            1,
            "/no/such",
        ),
    ];
    for (words, code, part) in cases {
        let words = [&["join"], *words].concat();
        let said = site.run(&words);
        assert_eq!(said.code, *code, "{words:?}: {}", said.err);
        let fault = said.fault("kubeedge join");
        assert!(fault.contains(part), "{words:?}: {fault}");
        assert!(!fault.contains(&good) && !fault.contains(&long), "{fault}");
        assert_eq!(said.out, "", "{words:?}");
    }
    assert_eq!(site.files(), []);
}

#[test]
fn a_cloud_that_is_not_what_it_should_be_stops_a_join_before_it_changes_anything() {
    let site = Site::new();
    let cases: &[(&[&str], &[&str], i32, &str)] = &[
        (&["--sabotage", "ca-other"], &[], 77, "but this token pins"),
        (
            &["--sabotage", "serving-other-ca"],
            &[],
            77,
            "terminates TLS",
        ),
        (&["--sabotage", "hub-other-ca"], &[], 77, "the hub"),
        (&["--sabotage", "serving-no-address"], &[], 77, "192.0.2.1"),
        (&["--sabotage", "serving-expired"], &[], 77, "expired"),
        (&["--token-seconds", "-60"], &[], 77, "the token ended at"),
        (
            &["--node-exists", "pump"],
            &["-i", "pump"],
            77,
            "--edgenode-name",
        ),
    ];
    for (options, more, code, part) in cases {
        let cloud = Cloud::start(options);
        let said = join(&site, &cloud, more);
        assert_eq!(said.code, *code, "{options:?}: {}", said.err);
        let fault = said.fault("kubeedge join");
        assert!(fault.contains(part), "{options:?}: {fault}");
        assert_eq!(site.files(), [], "{options:?}");
    }
}

#[test]
fn a_cloud_that_is_not_there_is_named_by_its_port() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let token = cloud.path().join("token").display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = listener.local_addr().expect("its address").port();
    drop(listener);
    let (closed, hub, api) = (
        closed.to_string(),
        cloud.hub.to_string(),
        cloud.https.to_string(),
    );
    for (host, hub, api, part) in [
        ("127.0.0.1", &hub, &closed, "the certificate API"),
        ("127.0.0.1", &closed, &api, "the hub"),
        ("cloud.invalid", &hub, &api, "cloud.invalid"),
        // The certificate API where the hub should be, and the other way round.
        ("127.0.0.1", &hub, &hub, ""),
    ] {
        let address = format!("{host}:{hub}");
        let said = site
            .run(&["join", "-e", &address, "-s", api, "--token-file", &token])
            .ends(69);
        let fault = said.fault("kubeedge join");
        assert!(fault.contains(part) && fault.contains(host), "{fault}");
    }
    assert_eq!(site.files(), []);
}

#[test]
fn a_name_that_is_taken_can_be_taken_over() {
    let (cloud, site) = (Cloud::start(&["--node-exists", "pump"]), Site::new());
    join(&site, &cloud, &["-i", "pump", "--force"]).ends(0);
    assert_eq!(site.connected().node, "pump");
}

#[test]
fn an_old_cloud_will_do() {
    let (cloud, site) = (Cloud::start(&["--v113"]), Site::new());
    let said = join(&site, &cloud, &["-i", "old"]).ends(0);
    assert!(said.err.contains("too old"), "{}", said.err);
    cloud.satisfied();
}

#[test]
fn over_ipv6() {
    let (cloud, site) = (Cloud::start(&["--bind", "::1"]), Site::new());
    join(&site, &cloud, &["-i", "six"]).ends(0);
    let server = json!(format!("[::1]:{}", cloud.hub));
    assert_eq!(key(&site, "modules.edgeHub.websocket.server"), Some(server));
    cloud.satisfied();
}

#[test]
fn a_token_that_is_refused_ends_the_wait_at_once() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let token = cloud.token();
    // Another signature of the same length: what pins the CA is still right.
    let (start, signature) = token.trim().rsplit_once('.').expect("four parts");
    let other: String = signature.chars().rev().collect();
    let path = site.write("/wrong", &format!("{start}.{other}"), 0o600);
    let words = words(&cloud);
    let mut words = strs(&words);
    let path = path.display().to_string();
    words[6] = &path;
    words.extend(["-i", "refused"]);
    let said = site.run(&words).ends(77);
    let fault = said.fault("kubeedge join");
    assert!(fault.contains("fresh token"), "{fault}");
    // With a good one, all that was done is used.
    join(&site, &cloud, &["-i", "refused"]).ends(0);
    assert_eq!(site.connected().node, "refused");
    assert!(!site.has(BOOTSTRAP));
}

#[test]
fn a_wait_that_is_too_long_names_stage_and_reason() {
    let (mut cloud, site) = (Cloud::start(&[]), Site::new());
    cloud.order("answer 500");
    let patience = format!("{}s", SHORT.as_secs());
    let said = join(&site, &cloud, &["-i", "late", "--timeout", &patience]).ends(75);
    let fault = said.fault("kubeedge join");
    for part in ["certificate", "500", "kubeedge status", "edgecore.log"] {
        assert!(fault.contains(part), "{part}: {fault}");
    }
    // It goes on trying, and the same command completes it.
    let pid = site.status().expect("edgecore runs on").pid;
    cloud.order("answer 200");
    join(&site, &cloud, &["-i", "late"]).ends(0);
    assert!(!processes::alive(pid) || site.connected().pid == pid);
    cloud.satisfied();
}

#[test]
fn another_cloud_needs_force() {
    let (first, second, site) = (Cloud::start(&[]), Cloud::start(&[]), Site::new());
    join(&site, &first, &["-i", "moved"]).ends(0);
    let files = site.own_files();
    let said = join(&site, &second, &["-i", "moved"]).ends(78);
    assert!(
        said.fault("kubeedge join").contains("--force"),
        "{}",
        said.err
    );
    assert!(site.own_files() == files, "files have changed");
    assert_eq!(site.connected().cloud, format!("127.0.0.1:{}", first.hub));
    join(&site, &second, &["-i", "moved", "--force"]).ends(0);
    assert_eq!(site.connected().cloud, format!("127.0.0.1:{}", second.hub));
    second.satisfied();
}

#[test]
fn killed_at_any_step_and_run_again_it_succeeds() {
    let cloud = Cloudcore::start(&[]);
    let mut steps = 0;
    for lines in 1.. {
        let site = Site::new();
        let node = format!("cut-{lines}");
        let mut words = own_words(&cloud);
        words.extend(["-i".to_owned(), node.clone()]);
        let told = site.kill_after(lines, &strs(&words));
        let said = site.run(&strs(&words));
        assert_eq!(said.code, 0, "after {told:?}: {}", said.err);
        assert_eq!(site.connected().node, node);
        // The edgecore of the killed one may have its session already, and erase the token only now.
        wait_until("the end of the token", || !site.has(BOOTSTRAP));
        if told.len() < lines {
            break;
        }
        steps = lines;
    }
    assert!(steps >= 8, "only {steps} steps were told of");
}

#[test]
fn a_second_device_of_the_same_name_is_stopped_at_our_own_cloud() {
    let (cloud, first, second) = (Cloudcore::start(&[]), Site::new(), Site::new());
    let mut words = own_words(&cloud);
    words.extend(["-i".to_owned(), "unique".to_owned()]);
    first.run(&strs(&words)).ends(0);
    let said = second.run(&strs(&words)).ends(77);
    assert!(
        said.fault("kubeedge join").contains("unique"),
        "{}",
        said.err
    );
    assert_eq!(second.files(), []);
    // The device itself may come again, and again after its edgecore has gone.
    first.run(&strs(&words)).ends(0);
    let pid = first.connected().pid;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a number"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    // The hub ends with its supervisor, a moment later.
    wait_until("the end of both", || first.status().is_none());
    first.run(&strs(&words)).ends(0);
    assert_eq!(first.connected().node, "unique");
}

#[test]
fn two_joins_at_once_do_not_meet() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let path = site.write("/run/kubeedge/keadm.lock", "4711\n", 0o600);
    let lock = fs::File::open(path).expect("the file");
    lock.lock().expect("the lock");
    let said = join(&site, &cloud, &[]).ends(75);
    assert!(said.fault("kubeedge join").contains("4711"), "{}", said.err);
    drop(lock);
    join(&site, &cloud, &["-i", "alone"]).ends(0);
}

#[test]
fn scripts_run_before_and_after() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let (before, after) = (site.path("/before"), site.path("/after"));
    let mark =
        |path: &Path, code: i32| format!("echo said; echo x >> {}; exit {code}\n", path.display());
    let failing = site.write(
        "/failing",
        &format!("#!/bin/sh\n{}", mark(&before, 3)),
        0o755,
    );
    let failing = failing.display().to_string();
    let said = join(&site, &cloud, &["--pre-run", &failing]).ends(1);
    assert!(said.err.contains("said"), "{}", said.err);
    assert!(
        said.fault("kubeedge join").contains(&failing),
        "{}",
        said.err
    );
    assert!(before.exists() && !site.has("/etc") && !site.has("/usr"));
    // Without a first line it goes to /bin/sh; what fails afterwards fails nothing.
    let fine = site
        .write("/fine", &mark(&before, 0), 0o644)
        .display()
        .to_string();
    let later = site
        .write("/later", &mark(&after, 5), 0o644)
        .display()
        .to_string();
    let hooks = [
        "-i",
        "hooks",
        "-o",
        "json",
        "--pre-run",
        &fine,
        "--post-run",
        &later,
    ];
    let said = join(&site, &cloud, &hooks).ends(0);
    assert_eq!(said.json()["node"], "hooks");
    assert!(said.err.contains(&later), "{}", said.err);
    assert_eq!(fs::read_to_string(&before).expect("it ran twice"), "x\nx\n");
    assert_eq!(fs::read_to_string(&after).expect("it ran once"), "x\n");
    // A rerun that finds nothing to do runs neither.
    join(&site, &cloud, &hooks).ends(0);
    assert_eq!(fs::read_to_string(&before).expect("it is there"), "x\nx\n");
}

#[test]
fn systemd_gets_a_unit_and_starts_it() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let systemctl = common::site::stub_systemctl(&site);
    let words = words(&cloud);
    let mut command = site.command(&strs(&words));
    command.args(["-i", "unit", "--init", "systemd", "-o", "json"]);
    let said = Said::of(command.env("SYSTEMCTL", &systemctl).output()).ends(0);
    let told = said.json();
    assert_eq!(
        (&told["init"], &told["startsAtBoot"]),
        (&json!("systemd"), &json!(true))
    );
    let unit = site.path("/etc/systemd/system/edgecore.service");
    assert_eq!(mode(&unit), 0o644);
    assert!(
        !site
            .read("/etc/systemd/system/edgecore.service")
            .contains(&cloud.token())
    );
    let calls = site.read("/calls");
    let orders = [
        "daemon-reload",
        "enable edgecore.service",
        "start edgecore.service",
    ];
    let mut given = calls.lines().filter(|line| !line.starts_with("show"));
    assert!(
        orders.iter().all(|order| given.any(|line| line == *order)),
        "{calls}"
    );
    assert!(!site.has("/run/kubeedge/edgecore.pid"));
    cloud.satisfied();
}

#[test]
fn another_program_called_edgecore_is_not_overwritten() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    let path = site.path("/usr/local/bin/edgecore");
    put(&path, "#!/bin/sh\n", 0o755);
    let said = join(&site, &cloud, &["-i", "foreign"]).ends(78);
    assert!(
        said.fault("kubeedge join").contains("edgecore"),
        "{}",
        said.err
    );
    assert_eq!(fs::read(&path).expect("it is there"), b"#!/bin/sh\n");
    join(&site, &cloud, &["-i", "foreign", "--force"]).ends(0);
    assert!(path.is_symlink());
}

#[test]
fn the_sockets_have_their_modes() {
    let (cloud, site) = (Cloud::start(&[]), Site::new());
    join(&site, &cloud, &["-i", "sockets"]).ends(0);
    for (name, wanted) in [("edgecore-status.sock", 0o666), ("edgecore.sock", 0o600)] {
        let path = site.path("/run/kubeedge").join(name);
        let metadata = fs::metadata(&path).expect("a socket");
        assert!(metadata.file_type().is_socket(), "{name}");
        assert_eq!(metadata.permissions().mode() & 0o777, wanted, "{name}");
    }
}

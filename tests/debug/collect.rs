//! `debug collect`: what is in the archive, and that no secret is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::common::device::{BOOTSTRAP, CLOCK, CONFIG, KEY};
use super::common::site::{Cloudcore, Site};
use super::common::{Folder, mode, put};
use super::{joined, try_examples};

/// The archive of a device, unpacked by the system's own tar.
fn unpacked(site: &Site, more: &[&str]) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let place = folder.path().display().to_string();
    let words = [&["debug", "collect", "-o", &place], more].concat();
    let path = PathBuf::from(site.run(&words).ends(0).out.trim());
    assert_eq!(mode(&path), 0o600);
    let mut tar = Command::new("tar");
    let done = tar
        .arg("-xzf")
        .arg(&path)
        .arg("-C")
        .arg(folder.path())
        .output();
    let done = done.expect("tar runs");
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    (folder, path)
}

#[test]
fn no_secret_is_in_the_archive_wherever_it_lies() {
    let cloud = Cloudcore::start(&[]);
    let site = joined(&cloud);
    // As of another cloud: that of its own is erased by a session that has just begun.
    let token = cloud.token();
    let (_, rest) = token.split_once('.').expect("the hash of a CA");
    let token = format!("{}.{rest}", "0".repeat(64));
    let key = site.read(KEY);
    let line = key.lines().nth(1).expect("a line of the key").to_owned();
    let known = [
        "proxypass-4711",
        "stored-secret-word",
        "wifi pass word",
        "shell-history-word",
        "hunter2-in-a-log",
        "bearer-of-a-log",
        "list-item-secret",
        "proc-argument-secret",
        "linked-secret",
    ];
    site.write(BOOTSTRAP, &token, 0o600);
    site.write(
        "/etc/kubeedge/proxy-credentials",
        "user:proxypass-4711\n",
        0o600,
    );
    let secret = json!({"metadata": {"name": "s", "namespace": "default"},
        "data": {"a": "c3RvcmVkLXNlY3JldC13b3Jk"}});
    site.write(
        "/var/lib/kubeedge/edgecore/meta/secret/default/s.json",
        &secret.to_string(),
        0o600,
    );
    let config = site.read(CONFIG);
    let config = format!(
        "{config}extra:\n  wifiPassword: wifi pass word\n  apiKeys:\n  - list-item-secret\n"
    );
    site.write(CONFIG, &config, 0o640);
    site.write("/root/.bash_history", "shell-history-word", 0o600);
    site.write("/elsewhere", "linked-secret", 0o600);
    std::os::unix::fs::symlink(
        site.path("/elsewhere"),
        site.path("/var/log/kubeedge/link.log"),
    )
    .expect("a link");
    let log = format!(
        "a token {token} and its end {}\nthe key is {line}\n{key}\npassword=hunter2-in-a-log\nAuthorization: Bearer bearer-of-a-log\n\
         http://user:proxypass-4711@proxy/ and stored-secret-word and c3RvcmVkLXNlY3JldC13b3Jk\nhere nothing is secret\n",
        token.rsplit('.').next().expect("a part")
    );
    site.write("/var/log/kubeedge/app.log", &log, 0o600);
    let sleeper = Command::new("sh")
        .args(["-c", "read x", "proc-argument-secret"])
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut sleeper = sleeper.expect("sh runs");
    let (folder, path) = unpacked(&site, &[]);
    sleeper.kill().expect("it is there");
    sleeper.wait().expect("it ends");
    let text = String::from_utf8_lossy(&fs::read(&path).expect("the archive")).into_owned();
    let parts: Vec<&str> = token
        .trim()
        .split('.')
        .skip(1)
        .filter(|part| part.len() > 8)
        .collect();
    for secret in known
        .iter()
        .chain(&parts)
        .chain(&[line.as_str(), "c3RvcmVkLXNlY3JldC13b3Jk"])
    {
        assert!(!text.contains(secret), "{secret} is in the archive");
    }
    let read = |name: &str| {
        fs::read_to_string(folder.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    assert!(read("log/app.log").contains("here nothing is secret"));
    assert!(read("edgecore/edgecore.yaml").contains("hostnameOverride: pump-7"));
    assert!(read("status.json").contains("pump-7") && read("check.json").contains("rows"));
    assert!(read("edgecore/objects").contains("secret default s"));
    assert!(read("edgecore/server.crt").contains("BEGIN CERTIFICATE"));
    assert!(read("system/process").contains(" sh ") && read("system/meminfo").contains("MemTotal"));
    let warnings: Value = serde_json::from_str(&read("edgecore/warnings.json")).expect("JSON");
    assert!(warnings.is_array(), "{warnings}");
    assert!(read("left-out").contains("link.log"));
}

#[test]
fn a_damaged_secret_does_not_let_the_others_out() {
    let site = Site::new();
    let place = "/var/lib/kubeedge/edgecore/meta/secret";
    site.write(&format!("{place}/default/a.json"), "{\"data\":", 0o600);
    for (path, word) in [
        ("default/b", "word-of-b-4711"),
        ("later/c", "word-of-c-4712"),
    ] {
        let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": word}});
        site.write(&format!("{place}/{path}.json"), &secret.to_string(), 0o600);
    }
    let log = "word-of-b-4711 and word-of-c-4712\nhere nothing is secret\n";
    site.write("/var/log/kubeedge/app.log", log, 0o600);
    let (folder, _) = unpacked(&site, &[]);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("it is there");
    let log = read("log/app.log");
    assert!(log.contains("here nothing is secret"), "{log}");
    assert!(!log.contains("word-of-"), "{log}");
    let left_out = read("left-out");
    for part in ["some Secrets", "default/a.json", "look through the archive"] {
        assert!(left_out.contains(part), "{left_out}");
    }
}

#[test]
fn an_archive_never_takes_the_place_of_another() {
    let site = Site::new();
    // Not set yet: each command has the time at which it was built.
    site.write(CLOCK, "-2000000000", 0o644);
    let log = "/var/log/kubeedge/app.log";
    site.write(log, "an early word\n", 0o644);
    let (folder, first) = unpacked(&site, &[]);
    let before = fs::read(&first).expect("the archive");
    // Somebody else has put a file there, for all to read.
    let name = first.file_name().expect("a name").to_string_lossy();
    let second = first.with_file_name(name.replace(".tar", "-2.tar"));
    put(&second, "", 0o666);
    site.write(log, "a late word\n", 0o644);
    let words = [
        "debug",
        "collect",
        "-o",
        &folder.path().display().to_string(),
    ];
    let third = PathBuf::from(site.run(&words).ends(0).out.trim());
    assert_eq!(third, first.with_file_name(name.replace(".tar", "-3.tar")));
    assert_eq!(mode(&third), 0o600);
    // What is stored is not compressed.
    let archive = fs::read(&third).expect("the archive");
    assert!(String::from_utf8_lossy(&archive).contains("a late word"));
    assert_eq!(fs::read(&first).ok(), Some(before));
    assert_eq!(fs::read(&second).ok(), Some(Vec::new()));
}

#[test]
fn an_archive_has_bounds_and_failures_leave_nothing() {
    let site = Site::new();
    let line = "one line of a log that goes on and on\n";
    for number in 0..4 {
        let path = format!("/var/log/kubeedge/{number}.log");
        site.write(&path, &line.repeat(50_000), 0o644);
    }
    let (folder, path) = unpacked(&site, &["--limit", "1"]);
    assert!(fs::metadata(&path).expect("the archive").len() <= (1 << 20) + 4096);
    let first = fs::read_to_string(folder.path().join("log/0.log")).expect("a log");
    assert!(
        first.starts_with(line) && first.len() <= 512 << 10,
        "its last lines, whole"
    );
    assert!(!folder.path().join("log/3.log").exists());
    let nowhere = site.path("/none").display().to_string();
    let said = site.run(&["debug", "collect", "-o", &nowhere]).ends(1);
    assert!(said.err.contains(&nowhere), "{}", said.err);
    for said in try_examples(&site, "debug collect", &[0]) {
        fs::remove_file(said.out.trim()).expect("the archive");
    }
}

//! Requests as they stand on devices: which one counts, what is wrong in them, and how they end.

use super::*;
use crate::system::clock::Clock;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

fn device() -> (Scratch, Host) {
    let scratch = Scratch::new();
    let host = Host {
        root: Root::new(Some(scratch.path().to_owned())),
        files: Files::real(),
        clock: Clock::system(),
    };
    (scratch, host)
}

fn put(host: &Host, path: &str, text: &str, mode: u32) {
    let path = host.root.at(path);
    host.files.make_dir(path.parent().unwrap(), 0o755).unwrap();
    host.files.replace(&path, text.as_bytes(), mode).unwrap();
}

const FILE: &str =
    "cloudcore-ipport: a\ntoken: of-the-file\nnode-name: barn-{mac}\nset: a=b\nset: c=d\n";
const OPTIONS: &str =
    "config edgecore\n option server a\n option token of-uci\n option respawn 5\n";

#[test]
fn the_first_that_asks_counts() {
    let (_folder, host) = device();
    assert_eq!(find(&host).unwrap(), None);
    put(&host, UCI, OPTIONS, 0o600);
    let asks = |host: &Host| {
        find(host)
            .unwrap()
            .map(|it| (it.source, it.token.to_string()))
    };
    assert_eq!(asks(&host), Some((Source::Uci, "of-uci".into())));
    put(&host, JOIN_FILE, FILE, 0o644);
    let request = find(&host).unwrap().unwrap();
    assert_eq!(
        (request.source, request.token.as_str()),
        (Source::JoinFile, "of-the-file")
    );
    assert_eq!(request.name.as_deref(), Some("barn-{mac}"));
    let flags: Vec<&str> = request.flags.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(flags, ["cloudcore-ipport", "set", "set"]);
    assert_eq!(host.files.mode(&host.root.at(JOIN_FILE)).unwrap(), 0o600);
    let line = "quiet kubeedge.join=cloudcore-ipport=a,token=of-the-kernel\n";
    put(&host, COMMAND_LINE, line, 0o444);
    assert_eq!(
        asks(&host),
        Some((Source::KernelCommandLine, "of-the-kernel".into()))
    );
    assert_eq!(find_erasable(&host).unwrap().source, Source::JoinFile);
}

#[test]
fn what_is_wrong_is_said_without_a_secret() {
    let (_folder, host) = device();
    for (text, fault) in [
        ("token: secret", "cloudcore-ipport is missing"),
        ("cloudcore-ipport: a", "token or token-file is missing"),
        (
            "cloudcore-ipport: a\ntoken: secret\ntoken-file: b",
            "both there",
        ),
        (
            "cloudcore-ipport: a\ntoken: secret\ntoken: secret",
            "token is there twice",
        ),
        (
            "cloudcore-ipport: a\ntoken: secret\nnode-name: x\nedgenode-name: y",
            "twice",
        ),
        (
            "cloudcore-ipport: a\ntoken: secret\ncertprot: 443",
            "certprot is no key",
        ),
        (
            "cloudcore-ipport: a\ntoken: secret\npre-run: /x",
            "pre-run is no key",
        ),
        ("cloudcore-ipport: a\ntoken-file: /none", "no token-file"),
        ("secret", "line 1"),
    ] {
        put(&host, JOIN_FILE, text, 0o600);
        let error = find(&host).unwrap_err().to_string();
        assert!(
            error.contains(fault) && !error.contains("secret"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
    put(&host, JOIN_FILE, &"x".repeat(MAX_FILE + 1), 0o600);
    assert!(find(&host).is_err());
    let path = host.root.at(JOIN_FILE);
    host.files.replace(&path, b"\xff", 0o600).unwrap();
    assert!(find(&host).unwrap_err().to_string().contains("not UTF-8"));
    host.files
        .replace(
            &path,
            b"\xef\xbb\xbfcloudcore-ipport=a\r\ntoken=t\r\n",
            0o600,
        )
        .unwrap();
    assert_eq!(*find(&host).unwrap().unwrap().token, "t");
}

#[test]
fn every_token_has_its_end() {
    let (_folder, host) = device();
    assert!(!erase(&host).unwrap());
    put(&host, UCI, OPTIONS, 0o640);
    put(
        &host,
        JOIN_FILE,
        "cloudcore-ipport: a\ntoken-file: /etc/kubeedge/token\n",
        0o600,
    );
    put(&host, "/etc/kubeedge/token", "of-a-file\n", 0o600);
    assert_eq!(*find(&host).unwrap().unwrap().token, "of-a-file");
    assert!(erase(&host).unwrap());
    for path in [JOIN_FILE, "/etc/kubeedge/token"] {
        assert!(!host.files.exists(&host.root.at(path)), "{path}");
    }
    let left = host.files.read(&host.root.at(UCI), MAX_FILE).unwrap();
    assert_eq!(
        String::from_utf8(left).unwrap(),
        "config edgecore\n option server a\n option respawn 5\n"
    );
    assert_eq!(host.files.mode(&host.root.at(UCI)).unwrap(), 0o600);
    assert_eq!(find(&host).unwrap(), None);
    // What is on a stick, or pretends to be elsewhere than it is, belongs to somebody else.
    for elsewhere in ["/mnt/stick/token", "/etc/kubeedge/../stick/token"] {
        put(
            &host,
            "/etc/kubeedge/join",
            &format!("token-file: {elsewhere}\n"),
            0o600,
        );
        put(&host, elsewhere, "t", 0o600);
        assert!(erase(&host).unwrap());
        assert!(host.files.exists(&host.root.at(elsewhere)));
    }
}

#[test]
fn names_of_devices() {
    let (_folder, host) = device();
    put(
        &host,
        "/sys/class/net/eth0/address",
        "b8:27:eb:00:00:01\n",
        0o444,
    );
    put(
        &host,
        "/sys/class/net/wlan0/address",
        "b8:27:eb:00:00:02\n",
        0o444,
    );
    put(
        &host,
        "/proc/device-tree/serial-number",
        "10000000ABCDEF01\0",
        0o444,
    );
    put(&host, "/etc/hostname", "Pump_7\n", 0o644);
    let name = |template, card| node_name(&host, template, card).map(|name| name.to_string());
    assert_eq!(name("a-{mac}", None).unwrap(), "a-b827eb000001");
    assert_eq!(name("a-{mac}", Some("wlan0")).unwrap(), "a-b827eb000002");
    assert!(name("a-{mac}", Some("wg0")).is_err());
    assert_eq!(
        name("{hostname}-{serial}", None).unwrap(),
        "pump-7-10000000abcdef01"
    );
    let error = name("Barn_{mac}", None).unwrap_err().to_string();
    assert!(
        error.contains("makes \"Barn_b827eb000001\" here"),
        "{error}"
    );
}

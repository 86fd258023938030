//! Executables from a web server: tests/peers/downloads.py, which does well and badly. Where no edgecore runs, what is
//! put in place waits for the next start.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use kubeedge::pki::hash::Sha256Hash;
use kubeedge::pki::issue::{Issuer, new_ca_called};
use kubeedge::pki::key::PrivateKey;
use kubeedge::system::clock::Clock;
use kubeedge::trial::KEY;
use serde_json::Value;

use crate::common::device::Device;
use crate::common::script::{Script, port};
use crate::common::site::{Cloudcore, Said};
use crate::common::{Folder, KUBEEDGE, put};
use crate::stage::{NEW, Seal, address, device, install, is_installed, is_tidy, new, old, report};

/// The server, with version 0.2.0 as `kubeedge`.
pub struct Web {
    script: Script,
    folder: Folder,
    port: u16,
    proxy: u16,
    ca: String,
    digest: String,
}

impl Web {
    pub fn start() -> Web {
        let folder = Folder::new();
        let now = Clock::system().now();
        let year = Duration::from_secs(365 * 86_400);
        let (ca, key) = new_ca_called("a web server", year, now).expect("a CA");
        let issuer = Issuer::new(ca.clone(), key).expect("an issuer");
        let key = PrivateKey::generate().expect("a key");
        let names = ["downloads.test".to_owned()];
        let addresses = ["127.0.0.1".parse().expect("an address")];
        let certificate = issuer.server(&key, &names, &addresses, now, now.plus(year));
        let certificate = certificate.expect("signed");
        let at = |name: &str| folder.path().join(name);
        put(&at("tls.crt"), certificate.to_pem(), 0o644);
        put(&at("tls.key"), key.to_sec1_pem().as_bytes(), 0o600);
        put(&at("ca.crt"), ca.to_pem(), 0o644);
        let program = fs::read(new()).expect("a build");
        let digest = Sha256Hash::of(&program).to_string();
        put(&at("kubeedge"), program, 0o644);
        let other = Sha256Hash::of(b"other");
        for (manner, list) in [
            ("listed", format!("{other}  other\n{digest}  kubeedge\n")),
            ("mislisted", format!("{other}  kubeedge\n")),
            ("unlisted", format!("{other}  other\n")),
        ] {
            put(&at(&format!("{manner}/SHA256SUMS")), list, 0o644);
        }
        let words = [folder.path().to_str().expect("UTF-8")];
        let mut script = Script::start(&[], "downloads.py", &words);
        let ready = script.event_where("ready", |_| true);
        Web {
            port: port(&ready, "port"),
            proxy: port(&ready, "proxy"),
            ca: at("ca.crt").display().to_string(),
            script,
            folder,
            digest,
        }
    }

    /// The address of the proxy beside it.
    pub fn proxy(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy)
    }

    /// Whether the proxy was asked for a way to this place, and to no other.
    pub fn went_to(&mut self, place: &str) -> bool {
        let tunnels = self.script.take("tunnel");
        !tunnels.is_empty() && tunnels.iter().all(|it| it["to"] == place)
    }

    fn url(&self, manner: &str) -> String {
        format!("https://127.0.0.1:{}/{manner}/kubeedge", self.port)
    }

    /// The command, without what this machine may say of proxies.
    fn command(&self, device: &Device, url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(KUBEEDGE);
        command
            .args(["upgrade", "edge", "--force", "--from", url, "--ca-file"])
            .arg(&self.ca)
            .args(more)
            .env("KUBEEDGE_ROOT", device.path("/"))
            .stdin(Stdio::null());
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
        command
    }

    fn upgrade(&self, device: &Device, manner: &str, more: &[&str]) -> Said {
        Said::of(self.command(device, &self.url(manner), more).output())
    }

    /// `bytes=N-` and the tag of every request for the executable since the last call, once so many are told of.
    fn asked(&mut self, at_least: usize) -> Vec<(Option<String>, Option<String>)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let fits = |it: &Value| {
            it["path"]
                .as_str()
                .is_some_and(|it| it.ends_with("kubeedge"))
        };
        let mut asked: Vec<Value> = (0..at_least)
            .map(|_| self.script.event_where("request", fits))
            .collect();
        asked.extend(self.script.take("request").into_iter().filter(fits));
        asked
            .iter()
            .map(|it| (text(&it["range"]), text(&it["if_range"])))
            .collect()
    }
}

#[test]
fn a_release_on_the_web_takes_over() {
    let cloud = Cloudcore::start(&[]);
    let web = Web::start();
    let device = device(&cloud, "surfer");
    let edge = device.start();
    edge.connected();
    let said = web.upgrade(&device, "listed", &["-o", "json"]).ends(0);
    assert_eq!(said.json()["proven"], true);
    edge.connected();
    assert_eq!(address(&edge), NEW);
    assert!(is_installed(&device, &new()));
    is_tidy(&device);
    edge.stop();
}

#[test]
fn a_download_that_was_cut_goes_on_with_the_same_file_alone() {
    let cloud = Cloudcore::start(&[]);
    let mut web = Web::start();
    let device = device(&cloud, "patient");
    let size = fs::metadata(new()).expect("a build").len();
    let rest = Some(format!("bytes={}-", size / 2));
    let tag = |tag: &str| Some(format!("\"{tag}\""));
    for (manner, second) in [
        ("cut", (rest.clone(), tag("one"))),
        ("no-ranges", (rest.clone(), None)),
        ("no-tags", (rest.clone(), None)),
        ("swapped", (rest.clone(), tag("zero"))),
        ("swapped-silently", (rest.clone(), None)),
    ] {
        let digest = web.digest.clone();
        let words = ["--digest", &digest, "--no-probe", "--disable-backup"];
        let said = web.upgrade(&device, manner, &words).ends(0);
        assert!(is_installed(&device, &new()), "{manner}");
        let mut expected = vec![(None, None), second];
        let again = said.err.contains("once more from the beginning");
        assert_eq!(again, manner == "swapped-silently", "{}", said.err);
        if again {
            expected.push((None, None));
        }
        assert_eq!(web.asked(expected.len()), expected, "{manner}");
        install(&device, &old());
    }
    // The next command goes on where the last one gave up.
    let digest = web.digest.clone();
    let words = ["--digest", &digest, "--no-probe", "--disable-backup"];
    let said = web.upgrade(&device, "cut-twice", &words).ends(75);
    assert!(
        said.err.contains("goes on where this one stopped"),
        "{}",
        said.err
    );
    assert!(is_installed(&device, &old()));
    web.asked(2);
    web.upgrade(&device, "cut-twice", &words).ends(0);
    assert_eq!(web.asked(1), [(rest, None)]);
    assert!(is_installed(&device, &new()));
}

#[test]
fn what_is_wrong_on_the_web_is_not_taken() {
    let cloud = Cloudcore::start(&[]);
    let web = Web::start();
    let device = device(&cloud, "wary");
    let wrong = Sha256Hash::of(b"other").to_string();
    let right = web.digest.clone();
    for (manner, digest, code, part) in [
        ("good", wrong.as_str(), 77, "the digest is"),
        ("mislisted", "", 77, "the digest is"),
        ("unlisted", "", 77, "does not name kubeedge"),
        (
            "good",
            "",
            77,
            "nothing says that kubeedge is what you want",
        ),
        ("good/nothing", &right, 75, "the server says 404"),
        ("sick", &right, 75, "the server says 500"),
        ("circle", &right, 75, "without end"),
        ("plain", &right, 75, "no https:// address"),
        ("other-part", &right, 75, "another part than was asked for"),
        ("huge", &right, 1, "there is no room for more"),
    ] {
        let more = ["--digest", digest];
        let more = if digest.is_empty() { &[] } else { &more[..] };
        let said = web.upgrade(&device, manner, more).ends(code);
        assert!(said.err.contains(part), "{manner}: {}", said.err);
        assert!(is_installed(&device, &old()), "{manner}");
        assert_eq!(report(&device)["success"], false);
    }
    let (other, _) =
        new_ca_called("another", Duration::from_secs(3600), Clock::system().now()).expect("a CA");
    put(&web.folder.path().join("ca.crt"), other.to_pem(), 0o644);
    let said = web.upgrade(&device, "good", &["--digest", &right]).ends(75);
    assert!(said.err.contains("did not come"), "{}", said.err);
}

/// The flash of the device is a small file system of its own.
#[test]
fn an_endless_answer_fills_no_flash() {
    let cloud = Cloudcore::start(&[]);
    let web = Web::start();
    let device = device(&cloud, "bounded");
    let inner = web.command(&device, &web.url("endless"), &["--digest", &web.digest]);
    let script = "cp -a $1/usr/local/bin $1/saved; mount -t tmpfs -o size=4m tmpfs $1/usr/local/bin; \
                  cp -a $1/saved/. $1/usr/local/bin; top=$1; shift; \"$@\"; code=$?; \
                  ls -A $top/usr/local/bin; exit $code";
    let mut outer = Command::new("unshare");
    outer
        .args(["--mount", "/bin/sh", "-c", script, "sh"])
        .arg(device.path("/"))
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    let said = Said::of(outer.stdin(Stdio::null()).output()).ends(1);
    assert!(
        said.err.contains("there is no room for more"),
        "{}",
        said.err
    );
    let left: Vec<&str> = said.out.lines().collect();
    assert_eq!(left, ["cloudcore", "edgecore", "keadm", "kubeedge"]);
}

#[test]
fn a_signature_is_looked_for_beside_the_file() {
    let cloud = Cloudcore::start(&[]);
    let web = Web::start();
    let device = device(&cloud, "sealed");
    let seal = Seal::new();
    device.write(KEY, &seal.public(), 0o644);
    let program = fs::read(new()).expect("a build");
    let place = web.folder.path().join("good/kubeedge.minisig");
    let more = ["--no-probe", "--disable-backup"];
    let said = web.upgrade(&device, "good", &more).ends(77);
    assert!(said.err.contains("asks for a signature"), "{}", said.err);
    put(&place, seal.sign(b"another file"), 0o644);
    web.upgrade(&device, "good", &more).ends(77);
    assert!(is_installed(&device, &old()));
    is_tidy(&device);
    put(&place, seal.sign(&program), 0o644);
    let said = web.upgrade(&device, "good", &more).ends(0);
    assert!(said.err.contains("signed: file:kubeedge"), "{}", said.err);
    assert!(is_installed(&device, &new()));
}

#[test]
fn redirects_and_proxies_are_followed() {
    let cloud = Cloudcore::start(&[]);
    let mut web = Web::start();
    let device = device(&cloud, "traveller");
    let (digest, proxy) = (web.digest.clone(), web.proxy());
    let more = ["--digest", &digest, "--no-probe", "--disable-backup"];
    web.upgrade(&device, "elsewhere", &more).ends(0);
    assert!(is_installed(&device, &new()));
    for _ in 0..2 {
        web.script.event_where("request", |_| true);
    }
    assert_eq!(web.script.unread("request").len(), 0);
    install(&device, &old());
    // A name that the proxy alone knows.
    let url = format!("https://downloads.test:{}/good/kubeedge?build=7", web.port);
    let more = [&more[..], &["--proxy", &proxy]].concat();
    Said::of(web.command(&device, &url, &more).output()).ends(0);
    assert!(is_installed(&device, &new()));
    assert!(web.went_to(&format!("downloads.test:{}", web.port)));
}

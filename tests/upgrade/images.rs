//! Executables out of images: of a registry that does badly (tests/peers/registry.py), and of Debian's.

use std::fs;
use std::process::{Command, Stdio};

use kubeedge::registry::platform::Platform;
use serde_json::json;

use crate::common::device::Device;
use crate::common::script::{Script, port};
use crate::common::site::{Cloudcore, Said};
use crate::common::{Folder, KUBEEDGE, put};
use crate::debian::Registry;
use crate::image::{Pack, Store, tar};
use crate::stage::{NEW, address, device, install, is_installed, is_tidy, new, old, report};
use crate::web::Web;

/// Images of version 0.2.0 for this machine, `v0.2.0`, and for another one, `foreign`.
fn store() -> Store {
    let mut store = Store::default();
    let program = fs::read(new()).expect("a build");
    let below = store.layer(Pack::Gzip, &tar(&[("etc/os-release", b"ID=none")]));
    let own = store.layer(Pack::Zstd, &tar(&[("usr/local/bin/kubeedge", &program)]));
    let here = Platform::here().to_string();
    let image = store.image("here", &here, &[below.clone(), own.clone()]);
    store.index("v0.2.0", &[image]);
    let image = store.image("there", "linux/s390x", &[below.clone(), own]);
    store.index("foreign", &[image]);
    let image = store.image("bare", &here, &[below]);
    store.index("empty", &[image]);
    store
}

fn upgrade(device: &Device, image: &str, more: &[&str]) -> Said {
    let mut command = Command::new(KUBEEDGE);
    command
        .args(["upgrade", "edge", "--force", "--image", image])
        .args(more)
        .env("KUBEEDGE_ROOT", device.path("/"))
        .stdin(Stdio::null());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    Said::of(command.output())
}

#[test]
fn an_image_of_a_registry_takes_over() {
    let folder = Folder::new();
    let Some(registry) = Registry::start(folder.path(), &json!({})) else {
        return;
    };
    registry.push("team/kubeedge", &store());
    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "puller");
    let edge = device.start();
    edge.connected();
    let image = format!("127.0.0.1:{}/team/kubeedge", registry.port);
    let said = upgrade(&device, &image, &["--toVersion", "v0.2.0", "-o", "json"]).ends(0);
    assert_eq!(said.json()["proven"], true);
    edge.connected();
    assert_eq!(address(&edge), NEW);
    assert!(is_installed(&device, &new()));
    is_tidy(&device);
    edge.stop();
}

#[test]
fn images_are_taken_by_digest_and_through_proxies_and_bad_ones_are_not() {
    let folder = Folder::new();
    let store = store();
    store.write(folder.path());
    let words = [folder.path().to_str().expect("UTF-8")];
    let mut registry = Script::start(&[], "registry.py", &words);
    let port_of = port(&registry.event_where("ready", |_| true), "port");

    let cloud = Cloudcore::start(&[]);
    let device = device(&cloud, "collector");
    let at = |name: &str| format!("127.0.0.1:{port_of}/{name}");
    let auth = folder.path().join("auth");
    put(&auth, "puller:geheim-7\n", 0o600);
    let auth = auth.to_str().expect("UTF-8");
    let rest = ["--no-probe", "--disable-backup"];
    let index = store.manifests["v0.2.0"].to_string();
    let digest = kubeedge::registry::digest::Digest::of(index.as_bytes()).to_string();
    for (image, more) in [
        (at("fine:v0.2.0"), vec![]),
        (at("fine"), vec!["--toVersion", "v0.2.0"]),
        (at("fine"), vec!["--image-digest", &digest]),
        (format!("{}@{digest}", at("fine")), vec![]),
        (at("cut:v0.2.0"), vec![]),
        (at("basic:v0.2.0"), vec!["--auth-file", auth]),
        (at("token:v0.2.0"), vec!["--auth-file", auth]),
    ] {
        upgrade(&device, &image, &[&rest[..], &more].concat()).ends(0);
        assert!(is_installed(&device, &new()), "{image}");
        install(&device, &old());
    }
    // A name that the proxy alone knows.
    let mut web = Web::start();
    let (image, proxy) = (format!("registry.test:{port_of}/fine:v0.2.0"), web.proxy());
    let more = ["--proxy", &proxy, "--plain-http"];
    upgrade(&device, &image, &[&rest[..], &more].concat()).ends(0);
    assert!(is_installed(&device, &new()));
    assert!(web.went_to(&format!("registry.test:{port_of}")));
    install(&device, &old());
    let other = kubeedge::registry::digest::Digest::of(b"other").to_string();
    for (image, more, code) in [
        (at("fine:v0.2.0"), vec!["--image-digest", other.as_str()], 1),
        (at("changed:v0.2.0"), vec![], 1),
        (at("fine:nothing"), vec![], 1),
        (at("fine:foreign"), vec![], 1),
        (at("fine:empty"), vec![], 1),
        (at("basic:v0.2.0"), vec![], 77),
        (at("fine:v0.2.0"), vec!["--image-digest", "sha256:0"], 64),
    ] {
        let said = upgrade(&device, &image, &[&rest[..], &more].concat());
        assert_eq!(said.code, code, "{image} {more:?}: {}", said.err);
        assert!(is_installed(&device, &old()), "{image}");
        assert_eq!(report(&device)["success"], false);
        is_tidy(&device);
    }
}

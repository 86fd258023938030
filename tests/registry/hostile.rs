//! A registry that does what none should: tests/peers/registry.py.

use std::fs;
use std::time::{Duration, Instant};

use kubeedge::registry::platform::Platform;
use kubeedge::registry::{Fetched, Options, RegistryError, Target};
use kubeedge::system::exit;
use serde_json::{Value, json};

use crate::common::script::{Script, port};
use crate::common::{Folder, files_below};
use crate::image::{Pack, Store, gzip, program, tar, tar_of};
use crate::{credentials, options, puller, reference};

const WANTED: &[&str] = &["usr/bin/edgecore", "usr/bin/kubeedge"];
const AUTH: &str = "puller:geheim-7\n";

struct Hostile {
    script: Script,
    folder: Folder,
    port: u16,
}

impl Hostile {
    fn start(store: &Store) -> Hostile {
        let folder = Folder::new();
        store.write(folder.path());
        let mut script = Script::start(
            &[],
            "registry.py",
            &[folder.path().to_str().expect("UTF-8")],
        );
        let ready = script.event_where("ready", |_| true);
        let port = port(&ready, "port");
        Hostile {
            script,
            folder,
            port,
        }
    }

    fn fetch_with(&self, options: Options, name: &str) -> Result<Fetched, RegistryError> {
        let into = self.folder.path().join("out/file");
        fs::create_dir_all(self.folder.path().join("out")).expect("a folder");
        let reference = reference(self.port, name);
        let platform: Platform = "linux/arm/v7".parse().expect("a platform");
        let fetched = puller(options).fetch_file(&reference, &platform, WANTED, &into, &mut ());
        if fetched.is_err() {
            let left: Vec<_> = files_below(&self.folder.path().join("out"));
            let left: Vec<_> = left.into_iter().map(|it| it.0).collect();
            assert!(left.is_empty(), "{name}: {left:?} is left");
        }
        fetched
    }

    fn fetch(&self, name: &str) -> Result<Fetched, RegistryError> {
        self.fetch_with(options(), name)
    }

    fn fetched(&self) -> Vec<u8> {
        let path = self.folder.path().join("out/file");
        let content = fs::read(&path).expect("the file is there");
        fs::remove_file(path).expect("removed");
        content
    }

    fn with_auth(&self) -> Options {
        Options {
            credentials: credentials(self.folder.path(), AUTH),
            ..options()
        }
    }

    fn requests(&mut self) -> Vec<Value> {
        self.script.take("request")
    }
}

fn one(layers: &[(Pack, Vec<u8>)]) -> Store {
    let mut store = Store::default();
    let layers: Vec<Value> = layers
        .iter()
        .map(|(pack, tar)| store.layer(*pack, tar))
        .collect();
    store.image("v1", "linux/arm/v7", &layers);
    store
}

fn good() -> (Store, Vec<u8>) {
    let program = program(7, 300_000);
    let store = one(&[(
        Pack::Gzip,
        tar(&[("usr/bin/edgecore", &program), ("etc/x", b"1")]),
    )]);
    (store, program)
}

#[test]
fn broken_connections_are_gone_on_with() {
    let (store, program) = good();
    let mut registry = Hostile::start(&store);
    for name in ["fine", "cut", "no-ranges"] {
        let fetched = registry.fetch(&format!("{name}:v1")).expect(name);
        assert_eq!(registry.fetched(), program, "{name}");
        assert_eq!((fetched.path.as_str(), fetched.size), (WANTED[0], 300_000));
        let ranges: Vec<Value> = registry.requests();
        let ranges = ranges.iter().filter(|it| it["range"].is_string()).count();
        match name {
            "fine" => assert_eq!(ranges, 0),
            "cut" => assert!(ranges >= 3, "{ranges}"),
            _ => assert!(ranges >= 1, "{ranges}"),
        }
    }
    let error = registry.fetch("dead:v1").expect_err("nothing more comes");
    assert!(
        error.is_retryable() && error.code() == exit::TRY_AGAIN,
        "{error}"
    );
    let error = registry.fetch("wrong-range:v1").expect_err("another part");
    assert!(error.to_string().contains("another part"), "{error}");
}

#[test]
fn what_is_not_what_its_digest_says_does_not_count() {
    let (store, _) = good();
    let registry = Hostile::start(&store);
    for (name, part) in [
        ("changed:v1", "sha256:"),
        ("longer:v1", "instead of"),
        ("many-bytes:v1", "4194304 are allowed"),
        ("html:v1", "can't be read"),
        ("gone:v1", "NAME_UNKNOWN"),
        ("fine:v2", "there is no 127.0.0.1"),
        ("sick:v1", "500 it is UNKNOWN"),
        ("teapot:v1", "418 short  and stout"),
        ("circle:v1", "circles"),
        ("nowhere:v1", "to no URL"),
    ] {
        let error = registry.fetch(name).expect_err(name);
        assert!(error.to_string().contains(part), "{name}: {error}");
    }
    // What comes behind the bytes that were promised is not even read.
    registry
        .fetch("endless:v1")
        .expect("the blob itself is right");
    registry.fetched();
    // The list is asked for again until the registry is well.
    registry.fetch("busy:v1").expect("it gets well");
    registry.fetched();
    let wrong = format!("fine:v1@sha256:{}", "0".repeat(64));
    assert!(matches!(
        registry.fetch(&wrong),
        Err(RegistryError::NotFound { .. })
    ));
}

#[test]
fn a_manifest_is_what_its_list_says() {
    let (mut store, program) = good();
    let image = store.image("v1", "linux/arm/v7", &[]);
    let layer = store.layer(Pack::Plain, &tar(&[("usr/bin/kubeedge", &program)]));
    let right = store.image("right", "linux/arm/v6", &[layer]);
    store.index("both", &[image.clone(), right.clone()]);
    store.index("v6", &[right]);
    store.index("nothing", &[]);
    let registry = Hostile::start(&store);
    let fetched = registry.fetch("fine:v6").expect("v7 runs what is for v6");
    assert_eq!(registry.fetched(), program);
    assert_ne!(fetched.image, fetched.manifest);
    let error = registry
        .fetch("fine:both")
        .expect_err("the better one is empty");
    assert!(matches!(error, RegistryError::NoFile { .. }), "{error}");
    let error = registry
        .fetch("changed-manifest:v6")
        .expect_err("a changed manifest");
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
    let error = registry.fetch("fine:nothing").expect_err("an empty list");
    assert!(
        error.to_string().contains("nothing for any platform"),
        "{error}"
    );
    let pinned = format!("fine@{}", fetched.image);
    assert_eq!(
        registry.fetch(&pinned).expect("by digest").image,
        fetched.image
    );
}

#[test]
fn an_image_for_another_machine_is_refused() {
    let mut store = Store::default();
    let layer = store.layer(Pack::Plain, &tar(&[("usr/bin/edgecore", b"x")]));
    store.image("v1", "linux/amd64", &[layer]);
    let registry = Hostile::start(&store);
    let error = registry.fetch("fine:v1").expect_err("for another machine");
    let error = error.to_string();
    assert!(
        error.contains("not made for linux/arm/v7: there is linux/amd64"),
        "{error}"
    );
}

#[test]
fn slow_and_silent_servers_are_left() {
    let (store, _) = good();
    let registry = Hostile::start(&store);
    let patience = Duration::from_millis(300);
    for name in ["slow:v1", "silent:v1", "token-silent:v1"] {
        let options = Options {
            patience,
            ..registry.with_auth()
        };
        let begun = Instant::now();
        let error = registry.fetch_with(options, name).expect_err(name);
        assert!(error.is_retryable(), "{name}: {error}");
        assert!(error.to_string().contains("slowly"), "{name}: {error}");
        // Each of a few tries has its limit, on a machine that may be very busy.
        assert!(begun.elapsed() < Duration::from_secs(50), "{name}");
    }
}

#[test]
fn passwords_go_where_they_belong() {
    let (store, program) = good();
    let mut registry = Hostile::start(&store);
    let error = registry.fetch("basic:v1").expect_err("nobody");
    assert!(
        matches!(error, RegistryError::Denied { given: false, .. }),
        "{error}"
    );
    assert_eq!(error.code(), exit::DENIED);
    registry.requests();
    registry
        .fetch_with(registry.with_auth(), "basic-redirect:v1")
        .expect("with a password");
    assert_eq!(registry.fetched(), program);
    let requests = registry.requests();
    let elsewhere: Vec<&Value> = requests
        .iter()
        .filter(|it| it["server"] == "other")
        .collect();
    assert!(!elsewhere.is_empty(), "{requests:?}");
    assert!(
        elsewhere.iter().all(|it| it["authorization"].is_null()),
        "{elsewhere:?}"
    );
    // To the registry it goes once it was asked for, and then at once.
    let to_it = |it: &&Value| {
        it["path"]
            .as_str()
            .is_some_and(|it| it.contains("/basic-redirect/"))
    };
    let refused = requests.iter().filter(to_it);
    let bare = refused.filter(|it| it["authorization"].is_null()).count();
    assert_eq!(bare, 1, "{requests:?}");
    let wrong = Options {
        credentials: credentials(registry.folder.path(), "puller:other"),
        ..options()
    };
    let error = registry
        .fetch_with(wrong, "basic:v1")
        .expect_err("a wrong password");
    assert!(
        matches!(error, RegistryError::Denied { given: true, .. }),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("other"), "{error:?}");
}

#[test]
fn tokens_are_fetched_for_what_is_pulled_and_no_more() {
    let (store, program) = good();
    let mut registry = Hostile::start(&store);
    registry
        .fetch_with(registry.with_auth(), "token:v1")
        .expect("with a token");
    assert_eq!(registry.fetched(), program);
    let requests = registry.requests();
    let asked: Vec<&str> = requests
        .iter()
        .filter_map(|it| it["path"].as_str())
        .collect();
    let asked: Vec<&&str> = asked.iter().filter(|it| it.starts_with("/token")).collect();
    assert_eq!(
        asked,
        [&"/token?service=token&scope=repository%3Atoken%3Apull"]
    );
    for (name, part) in [
        ("token-loop:v1", "refuses the user"),
        ("token-plain:v1", "plain http"),
        ("token-nowhere:v1", "no URL"),
        ("token-none:v1", "no token"),
        ("token-lines:v1", "no token"),
        ("token-huge:v1", "did not come whole"),
        ("token-sick:v1", "500"),
    ] {
        let error = registry
            .fetch_with(registry.with_auth(), name)
            .expect_err(name);
        assert!(error.to_string().contains(part), "{name}: {error}");
    }
    let error = registry.fetch("token:v1").expect_err("nobody gets a token");
    assert!(
        matches!(error, RegistryError::Denied { given: false, .. }),
        "{error}"
    );
}

#[test]
fn layers_hide_and_link() {
    let (old, new) = (program(1, 5000), program(2, 5000));
    let below = || {
        (
            Pack::Gzip,
            tar(&[("usr/bin/edgecore", &old), ("opt/x", b"opt")]),
        )
    };
    for (name, upper, expected) in [
        ("newer", tar(&[("./usr/bin/edgecore", &new)]), Some(&new)),
        ("whiteout", tar(&[("usr/bin/.wh.edgecore", b"")]), None),
        ("opaque", tar(&[("usr/.wh..wh..opq", b"")]), None),
        (
            "opaque and newer",
            tar(&[("usr/bin/edgecore", &new), ("usr/.wh..wh..opq", b"")]),
            Some(&new),
        ),
        ("file for a folder", tar(&[("usr/bin", b"")]), None),
        ("folder", tar_of(&[("usr/bin/", b'5', b"", "")]), Some(&old)),
        ("other", tar(&[("usr/bin/.wh.edgecor", b"")]), Some(&old)),
        (
            "symlink",
            tar_of(&[
                ("usr/bin/edgecore", b'2', b"", "../lib/k"),
                ("usr/lib/k", b'0', &new, ""),
            ]),
            Some(&new),
        ),
        (
            "symlink to a folder",
            tar_of(&[
                ("usr/bin", b'2', b"", "/sbin"),
                ("sbin/edgecore", b'0', &new, ""),
            ]),
            Some(&new),
        ),
        (
            "hard link",
            tar_of(&[
                ("usr/k", b'0', &new, ""),
                ("usr/bin/edgecore", b'1', b"", "usr/k"),
            ]),
            Some(&new),
        ),
        (
            "link to the other wanted",
            tar_of(&[
                ("usr/bin/edgecore", b'2', b"", "kubeedge"),
                ("usr/bin/kubeedge", b'0', &new, ""),
            ]),
            Some(&new),
        ),
        (
            "the last of a name",
            tar(&[("usr/bin/edgecore", &old), ("usr/bin/edgecore", &new)]),
            Some(&new),
        ),
    ] {
        for pack in [Pack::Plain, Pack::Gzip, Pack::Zstd] {
            let registry = Hostile::start(&one(&[below(), (pack, upper.clone())]));
            match (registry.fetch("fine:v1"), expected) {
                (Ok(_), Some(expected)) => assert!(registry.fetched() == *expected, "{name}"),
                (Err(RegistryError::NoFile { .. }), None) => {}
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}

#[test]
fn what_leads_out_or_is_no_file_is_refused() {
    for (name, layer) in [
        (
            "above",
            tar(&[("../../etc/shadow", b"x"), ("usr/bin/edgecore", b"y")]),
        ),
        (
            "symlink out",
            tar_of(&[("usr/bin/edgecore", b'2', b"", "../../../etc/shadow")]),
        ),
        ("folder out", tar_of(&[("usr", b'2', b"", "../..")])),
        (
            "hard link out",
            tar_of(&[("usr/bin/edgecore", b'1', b"", "../etc/shadow")]),
        ),
        ("device", tar_of(&[("usr/bin/edgecore", b'3', b"", "")])),
        ("pipe", tar_of(&[("usr/bin/edgecore", b'6', b"", "")])),
        ("folder", tar_of(&[("usr/bin/edgecore/", b'5', b"", "")])),
        (
            "in circles",
            tar_of(&[
                ("usr/bin/edgecore", b'2', b"", "a"),
                ("usr/bin/a", b'2', b"", "edgecore"),
            ]),
        ),
        (
            "to itself",
            tar_of(&[("usr/bin/edgecore", b'1', b"", "usr/bin/edgecore")]),
        ),
        ("no tar", program(3, 4000)),
        (
            "cut",
            tar(&[("usr/bin/edgecore", &program(3, 4000))])[..3000].to_vec(),
        ),
    ] {
        let registry = Hostile::start(&one(&[(Pack::Gzip, layer)]));
        let error = registry.fetch("fine:v1").expect_err(name);
        assert!(
            matches!(error, RegistryError::Unpack { .. }),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0; 40 << 20];
    let limits = |options: Options| {
        let mut options = options;
        options.limits.unpacked = 1 << 20;
        options.limits.file = 64 << 10;
        options
    };
    for pack in [Pack::Gzip, Pack::Zstd] {
        let registry = Hostile::start(&one(&[(pack, tar(&[("bomb", &zeros)]))]));
        let error = registry
            .fetch_with(limits(options()), "fine:v1")
            .expect_err("a bomb");
        assert!(
            error.to_string().contains("more than 1048576 bytes"),
            "{error}"
        );
    }
    let registry = Hostile::start(&one(&[(
        Pack::Gzip,
        tar(&[("usr/bin/edgecore", &zeros[..1 << 19])]),
    )]));
    let error = registry
        .fetch_with(limits(options()), "fine:v1")
        .expect_err("too large");
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    // A layer that claims more than an image may have is not even asked for.
    let mut store = Store::default();
    let mut layer = store.layer(Pack::Plain, b"x");
    layer["size"] = json!(1_u64 << 60);
    store.image("v1", "linux/arm/v7", &[layer]);
    let mut registry = Hostile::start(&store);
    let error = registry.fetch("fine:v1").expect_err("too large");
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    let asked = registry.requests();
    assert_eq!(
        asked
            .iter()
            .filter(|it| it["path"].as_str().is_some_and(|it| it.contains("/blobs/")))
            .count(),
        1,
        "{asked:?}"
    );
}

#[test]
fn layers_that_are_damaged_say_so() {
    let whole = tar(&[("usr/bin/edgecore", &program(5, 100_000))]);
    let packed = gzip(&whole);
    let mut checksum = packed.clone();
    let at = checksum.len() - 5;
    checksum[at] ^= 1;
    for (name, kind, content) in [
        ("a cut gzip", "gzip", packed[..packed.len() / 2].to_vec()),
        ("a checksum", "gzip", checksum),
        ("no gzip", "gzip", whole.clone()),
        ("no zstd", "zstd", whole),
    ] {
        let mut store = Store::default();
        let kind = format!("application/vnd.oci.image.layer.v1.tar+{kind}");
        let layer = store.blob(&kind, content);
        store.image("v1", "linux/arm/v7", &[layer]);
        let registry = Hostile::start(&store);
        match registry.fetch("fine:v1") {
            Err(RegistryError::Unpack { .. }) => {}
            // The checksum of gzip stands behind all that the archive has.
            Ok(_) if name == "a checksum" => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn an_interrupted_pull_is_gone_on_with() {
    let (store, _) = good();
    let mut registry = Hostile::start(&store);
    let puller = puller(options());
    let platform: Platform = "linux/arm/v7".parse().expect("a platform");
    let size = store.blobs.values().map(Vec::len).max().expect("blobs");
    for kind in ["folder", "images.tar"] {
        let path = registry.folder.path().join(kind);
        let target = match kind {
            "folder" => Target::Folder(path.clone()),
            _ => Target::Archive(path.clone()),
        };
        let port = registry.port;
        let pull = |name: &str| puller.pull(&[reference(port, name)], &platform, &target, &mut ());
        // Its ten bytes are kept.
        let error = pull("dead:v1").expect_err("it dies");
        assert!(error.is_retryable(), "{error}");
        registry.requests();
        assert!(!path.join("index.json").exists());
        let pulled = pull("fine:v1").expect("it is well now");
        assert_eq!(pulled[0].platform, "linux/arm/v7");
        let requests = registry.requests();
        // Those of the pull that died may be told of only now.
        let is_fine = |it: &&Value| it["path"].as_str().is_some_and(|it| it.contains("/fine/"));
        let ranges: Vec<&str> = requests
            .iter()
            .filter(is_fine)
            .filter_map(|it| it["range"].as_str())
            .collect();
        assert_eq!(ranges, ["bytes=10-"], "{kind}: {requests:?}");
        let (whole, count) = match kind {
            "folder" => (files_below(&path), 7),
            _ => (
                vec![(path.clone(), fs::read(&path).expect("an archive"))],
                1,
            ),
        };
        assert!(
            whole.len() <= count && whole.iter().any(|it| it.1.len() >= size),
            "{kind}"
        );
        // Once more: the same, and no blob is fetched.
        pull("fine:v1").expect("it is there");
        let again = registry.requests();
        let fetched = again
            .iter()
            .filter(|it| it["path"].as_str().is_some_and(|it| it.contains("/blobs/")));
        if kind == "folder" {
            // The configuration tells the platform.
            assert_eq!(fetched.count(), 1, "{again:?}");
        }
        let now = match kind {
            "folder" => files_below(&path),
            _ => vec![(path.clone(), fs::read(&path).expect("an archive"))],
        };
        assert!(now == whole, "{kind}: it is not the same");
    }
}

#[test]
fn what_a_power_cut_leaves_of_a_blob_is_fetched_again() {
    let (store, _) = good();
    let registry = Hostile::start(&store);
    let puller = puller(options());
    let platform: Platform = "linux/arm/v7".parse().expect("a platform");
    let (name, content) = store
        .blobs
        .iter()
        .max_by_key(|it| it.1.len())
        .expect("blobs");
    let folder = registry.folder.path().join("folder");
    let partial = folder.join(format!("blobs/sha256/.{name}.part"));
    // Bytes that were never written are zeros.
    crate::common::put(&partial, vec![0; content.len() / 2], 0o644);
    let target = Target::Folder(folder.clone());
    let pull = || {
        puller.pull(
            &[reference(registry.port, "fine:v1")],
            &platform,
            &target,
            &mut (),
        )
    };
    pull().expect("fetched anew");
    assert!(fs::read(folder.join(format!("blobs/sha256/{name}"))).expect("a blob") == *content);
    assert!(!partial.exists());
    // A blob that was damaged in its place is noticed too.
    let place = folder.join(format!("blobs/sha256/{name}"));
    crate::common::put(&place, &content[1..], 0o644);
    pull().expect("mended");
    assert!(fs::read(&place).expect("a blob") == *content);
    let tar = registry.folder.path().join("images.tar");
    let target = Target::Archive(tar.clone());
    let pull = || {
        puller.pull(
            &[reference(registry.port, "fine:v1")],
            &platform,
            &target,
            &mut (),
        )
    };
    pull().expect("an archive");
    let whole = fs::read(&tar).expect("an archive");
    for (cut, flip) in [
        (whole.len() / 2, 600),
        (whole.len() / 3, 0),
        (whole.len(), whole.len() / 2),
        (5000, 4999),
        (1030, 5),
        (0, 0),
    ] {
        let mut part = whole[..cut].to_vec();
        if let Some(byte) = part.get_mut(flip) {
            *byte ^= 1;
        }
        crate::common::put(
            &registry.folder.path().join(".images.tar.part"),
            part,
            0o644,
        );
        pull().expect("mended");
        assert!(fs::read(&tar).expect("an archive") == whole, "{cut} {flip}");
    }
}

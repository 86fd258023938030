//! Debian's docker-registry on loopback: plain, with a password, behind TLS with a CA of its own.

use std::fs;
use std::process::Command;

use kubeedge::pki::issue::{Issuer, new_ca_called};
use kubeedge::pki::key::PrivateKey;
use kubeedge::registry::platform::Platform;
use kubeedge::registry::{Options, RegistryError, Target};
use kubeedge::system::clock::Clock;
use serde_json::json;

use crate::common::{Folder, put};
use crate::debian::Registry;
use crate::image::{DOCKER, Pack, Store, program, tar};
use crate::{credentials, options, puller, reference};

/// `puller` with the password `geheim-7`, as htpasswd -B writes it.
const HTPASSWD: &str = "puller:$2y$04$abcdefghijklmnopqrstuukSe/dv9KTp2EMaTbatCvnaskNyWaevm\n";

fn store() -> (Store, Vec<u8>) {
    let mut store = Store::default();
    let program = program(9, 400_000);
    let base = store.layer(Pack::Gzip, &tar(&[("etc/os-release", b"ID=none")]));
    let own = tar(&[("usr/local/bin/edgecore", &program)]);
    let mut images = Vec::new();
    for (tag, platform, pack) in [
        ("arm", "linux/arm/v7", Pack::Gzip),
        ("arm64", "linux/arm64", Pack::Zstd),
        ("amd64", "linux/amd64", Pack::Plain),
    ] {
        let layer = store.layer(pack, &own);
        images.push(store.image(tag, platform, &[base.clone(), layer]));
    }
    store.index("v1", &images);
    (store, program)
}

#[test]
fn images_are_pulled_from_a_real_registry() {
    let folder = Folder::new();
    let Some(registry) = Registry::start(folder.path(), &json!({})) else {
        return;
    };
    let (mut store, program) = store();
    // The same as docker's own tools push it.
    let mut docker = store.manifests["arm"].clone();
    docker["mediaType"] = DOCKER.into();
    docker["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
    for layer in docker["layers"].as_array_mut().expect("layers") {
        layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
    }
    store.manifest("docker", docker);
    registry.push("team/edge", &store);
    let puller = puller(options());
    let into = folder.path().join("edgecore");
    for (tag, platform) in [
        ("v1", "linux/arm/v7"),
        ("v1", "linux/arm64"),
        ("v1", "linux/amd64"),
        ("docker", "linux/arm/v7"),
        ("arm", "linux/arm/v7"),
    ] {
        let image = reference(registry.port, &format!("team/edge:{tag}"));
        let platform: Platform = platform.parse().expect("a platform");
        let wanted = ["usr/local/bin/edgecore"];
        let fetched = puller.fetch_file(&image, &platform, &wanted, &into, &mut ());
        let fetched = fetched.unwrap_or_else(|error| panic!("{tag} {platform}: {error}"));
        assert!(fs::read(&into).expect("the file") == program);
        let pinned = image.pinned(fetched.image);
        puller
            .fetch_file(&pinned, &platform, &wanted, &into, &mut ())
            .expect("by digest");
    }
    let image = reference(registry.port, "team/edge:v2");
    let missing = puller.fetch_file(&image, &Platform::here(), &["x"], &into, &mut ());
    assert!(
        matches!(missing, Err(RegistryError::NotFound { .. })),
        "{missing:?}"
    );
}

#[test]
fn what_was_pulled_is_read_by_others() {
    let folder = Folder::new();
    let Some(registry) = Registry::start(folder.path(), &json!({})) else {
        return;
    };
    let (store, _) = store();
    registry.push("team/edge", &store);
    let puller = puller(options());
    let images = ["team/edge:v1", "team/edge:arm64"].map(|name| reference(registry.port, name));
    let layout = folder.path().join("layout");
    let archive = folder.path().join("images.tar");
    let platform: Platform = "linux/arm64".parse().expect("a platform");
    for target in [
        Target::Folder(layout.clone()),
        Target::Archive(archive.clone()),
    ] {
        let pulled = puller
            .pull(&images, &platform, &target, &mut ())
            .expect("pulled");
        assert_eq!(pulled.len(), 2);
        assert_eq!(pulled[0].digest, pulled[1].digest);
    }
    let (layout, archive) = (layout.display(), archive.display());
    let name = images[0].tagged().expect("a tag");
    // No policy file is needed to look; copying checks every digest.
    let copy = folder.path().join("copy");
    for place in [
        format!("oci:{layout}:{name}"),
        format!("oci-archive:{archive}:{name}"),
        format!("docker-archive:{archive}:{name}"),
    ] {
        let _ = fs::remove_dir_all(&copy);
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", &place])
            .arg(format!("dir:{}", copy.display()))
            .output()
            .expect("skopeo is there");
        assert!(copied.status.success(), "{place}: {copied:?}");
    }
}

#[test]
fn a_password_opens_a_real_registry() {
    let folder = Folder::new();
    let Some(open) = Registry::start(folder.path(), &json!({})) else {
        return;
    };
    let (store, program) = store();
    open.push("team/edge", &store);
    let htpasswd = folder.path().join("htpasswd");
    put(&htpasswd, HTPASSWD, 0o600);
    let auth = json!({"auth": {"htpasswd": {"realm": "here", "path": htpasswd}}});
    let registry = Registry::start(folder.path(), &auth).expect("it was there before");
    let image = reference(registry.port, "team/edge:v1");
    let platform: Platform = "linux/arm/v7".parse().expect("a platform");
    let into = folder.path().join("edgecore");
    let wanted = ["usr/local/bin/edgecore"];
    let fetch =
        |options: Options| puller(options).fetch_file(&image, &platform, &wanted, &into, &mut ());
    let denied = fetch(options());
    assert!(
        matches!(denied, Err(RegistryError::Denied { given: false, .. })),
        "{denied:?}"
    );
    let config = json!({"auths": {format!("127.0.0.1:{}", registry.port): {"auth": "cHVsbGVyOmdlaGVpbS03"}}});
    fetch(Options {
        credentials: credentials(folder.path(), &config.to_string()),
        ..options()
    })
    .expect("with a password");
    assert!(fs::read(&into).expect("the file") == program);
    let wrong = fetch(Options {
        credentials: credentials(folder.path(), "puller:wrong"),
        ..options()
    });
    assert!(
        matches!(wrong, Err(RegistryError::Denied { given: true, .. })),
        "{wrong:?}"
    );
}

#[test]
fn a_ca_of_its_own_has_to_be_named() {
    let folder = Folder::new();
    let Some(open) = Registry::start(folder.path(), &json!({})) else {
        return;
    };
    let (store, program) = store();
    open.push("team/edge", &store);
    let now = Clock::system().now();
    let year = std::time::Duration::from_secs(365 * 86_400);
    let (ca, key) = new_ca_called("a registry", year, now).expect("a CA");
    let issuer = Issuer::new(ca.clone(), key).expect("an issuer");
    let key = PrivateKey::generate().expect("a key");
    let addresses = ["127.0.0.1".parse().expect("an address")];
    let certificate = issuer
        .server(&key, &[], &addresses, now, now.plus(year))
        .expect("signed");
    let (crt, pem) = (folder.path().join("crt"), folder.path().join("key"));
    put(&crt, certificate.to_pem(), 0o644);
    put(&pem, key.to_sec1_pem().as_bytes(), 0o600);
    let tls = json!({"http": {"tls": {"certificate": crt, "key": pem}}});
    let registry = Registry::start(folder.path(), &tls).expect("it was there before");
    let image = reference(registry.port, "team/edge:v1");
    let platform: Platform = "linux/arm64".parse().expect("a platform");
    let into = folder.path().join("edgecore");
    let wanted = ["usr/local/bin/edgecore"];
    let fetch =
        |options: Options| puller(options).fetch_file(&image, &platform, &wanted, &into, &mut ());
    fetch(Options {
        ca: Some(ca.to_pem().into_bytes()),
        ..options()
    })
    .expect("with its CA");
    assert!(fs::read(&into).expect("the file") == program);
    let (other, _) = new_ca_called("another", year, now).expect("a CA");
    let untrusted = fetch(Options {
        ca: Some(other.to_pem().into_bytes()),
        ..options()
    });
    assert!(
        matches!(untrusted, Err(RegistryError::Untrusted { .. })),
        "{untrusted:?}"
    );
    let no_tls = fetch(Options {
        ca: Some(ca.to_pem().into_bytes()),
        ..options()
    });
    no_tls.expect("still with its CA");
    let image = reference(open.port, "team/edge:v1");
    let plain = puller(Options {
        ca: Some(ca.to_pem().into_bytes()),
        ..options()
    });
    let plain = plain.fetch_file(&image, &platform, &wanted, &into, &mut ());
    let plain = plain.expect_err("no TLS there").to_string();
    assert!(plain.contains("--plain-http"), "{plain}");
}

//! What a device's processes still know once a secret has been used: their whole memory is searched.

mod common;
#[path = "network/tinyproxy.rs"]
mod tinyproxy;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::device::{BOOTSTRAP, Device, KEY};
use common::figures;
use common::site::Cloudcore;
use kubeedge::pki::key::PrivateKey;
use kubeedge::protocol::control::EdgeStatus;
use kubeedge::system::processes;
use tinyproxy::Tinyproxy;

/// The content of all memory that a process has written to: heap, stacks, and its own data.
fn memory(pid: u32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let file = File::open(format!("/proc/{pid}/mem")).expect("the memory of a child");
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().expect("a range"), words.next());
        if !rights.is_some_and(|rights| rights.starts_with("rw")) {
            continue;
        }
        let (start, end) = range.split_once('-').expect("two ends");
        let [start, end] = [start, end].map(|it| u64::from_str_radix(it, 16).expect("a number"));
        let mut bytes = vec![0; usize::try_from(end - start).expect("it fits")];
        // A range that was given back meanwhile holds nothing any more.
        if file.read_exact_at(&mut bytes, start).is_ok() {
            all.append(&mut bytes);
        }
    }
    all
}

/// Where any of these stands; the allocator writes over the first bytes of what was given back.
fn found<'a>(memory: &[u8], pieces: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let holds = |piece: &&[u8]| memory.windows(piece.len()).any(|window| window == *piece);
    pieces
        .iter()
        .copied()
        .filter(|piece| holds(piece))
        .collect()
}

/// Sixteen characters each, so that a part of a copy is found as well.
fn pieces(text: &str) -> Vec<&[u8]> {
    text.as_bytes().chunks_exact(16).collect()
}

/// Both processes of an edgecore.
fn pids(status: &EdgeStatus) -> [u32; 2] {
    [
        status.pid,
        status.hub_pid.expect("a supervisor and its hub"),
    ]
}

fn signature(token: &str) -> &str {
    token.rsplit('.').next().expect("a last part")
}

/// The lines of base64 in which a key is written, but for the first and the last block of 16, which
/// every such key has alike.
fn body(pem: &str) -> String {
    let begin = pem.lines().position(|line| line.contains("PRIVATE KEY"));
    let lines = pem.lines().skip(begin.expect("a key") + 1);
    lines
        .take_while(|line| !line.starts_with("--"))
        .take(1)
        .collect()
}

#[test]
fn a_device_forgets_its_token_and_the_text_of_its_key() {
    assert!(processes::is_root(), "{NEEDS_ROOT}");
    let cloud = Cloudcore::start(&[]);
    let mut searched = 0;
    for in_configuration in [false, true] {
        let device = Device::new("edge-1");
        let token = cloud.token();
        if in_configuration {
            device.configure_for(&cloud, &token);
        } else {
            device.configure_for(&cloud, "");
            device.write(BOOTSTRAP, &token, 0o600);
        }
        let edge = device.start();
        let status = edge.connected();
        assert!(!device.path(BOOTSTRAP).exists());
        let pem = device.read(KEY);
        let key = PrivateKey::from_pem(pem.as_bytes()).expect("a key");
        let text = body(&pem);
        let (secrets, texts) = (pieces(signature(&token)), pieces(&text));
        for (pid, what) in pids(&status).into_iter().zip(["supervisor", "hub"]) {
            let memory = memory(pid);
            searched += 1;
            let left = found(&memory, &texts);
            assert!(left.is_empty(), "the {what} knows the text of the key");
            let left = found(&memory, &secrets);
            assert!(left.is_empty(), "the {what} knows the token");
            if what == "hub" {
                // The search would find them: this it has to keep.
                assert!(!found(&memory, &[&key.sec1_der()[7..39]]).is_empty());
            }
        }
        edge.stop();
    }
    figures::tried(
        "hardening-memory",
        "processes of a device searched in all their memory for a token that was used and the text of the key",
        searched,
    );
}

#[test]
fn a_device_has_the_password_of_its_proxy_where_it_is_used_and_its_header_nowhere() {
    assert!(processes::is_root(), "{NEEDS_ROOT}");
    let cloud = Cloudcore::start(&[]);
    let password = "Vq7ZmX2rT9bKdW4sLh6NcY8pGf3JuE5aRwQ1oBtMzC0iDxSv";
    let proxy = Tinyproxy::start(&format!("BasicAuth barn {password}"));
    let mut device = Device::new("edge-1");
    device.hub_keys = vec![format!("proxy: \"http://{}\"", proxy.address)];
    device.write(CREDENTIALS, &format!("barn:{password}\n"), 0o600);
    device.configure_for(&cloud, &cloud.token());
    let edge = device.start();
    let first = edge.connected().session.expect("it is up").generation;
    // Each goes through the proxy: the CA, the certificate, the tunnel, a renewal, another tunnel.
    assert_eq!(edge.order("renew").error, None);
    let status = edge.until("the next session", |status| {
        let session = status.session.as_ref();
        session.is_some_and(|session| session.generation > first)
    });
    let opened = |port: u16| proxy.opened(&format!("127.0.0.1:{port}"));
    assert!(opened(cloud.https) >= 2 && opened(cloud.hub) >= 2);
    let header = STANDARD.encode(format!("barn:{password}"));
    for (pid, what) in pids(&status).into_iter().zip(["supervisor", "hub"]) {
        let memory = memory(pid);
        let left = found(&memory, &pieces(&header));
        assert!(left.is_empty(), "the {what} knows the header: {left:?}");
        let left = found(&memory, &pieces(password));
        match what {
            // It will need it again, and so the search finds it.
            "hub" => assert_eq!(left.len(), password.len() / 16),
            _ => assert!(left.is_empty(), "the {what} knows the password: {left:?}"),
        }
    }
    edge.stop();
    figures::tried(
        "hardening-memory-proxy",
        "processes of a device behind a proxy searched likewise for its password and the header",
        2,
    );
}

const NEEDS_ROOT: &str = "this test needs root, as whom alone one reads the memory of others";
const CREDENTIALS: &str = "/etc/kubeedge/proxy-credentials";

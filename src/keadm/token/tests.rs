//! Tests of making tokens, with a cloudcore that runs and without.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

use super::super::lifetime;
use super::*;
use crate::authority::tokens::CreateError;
use crate::authority::tokens::TokenKey;
use crate::keadm::out;
use crate::pki::certificate::Certificate;
use crate::pki::issue::new_ca;
use crate::store::KeyPair;
use crate::system::clock::Clock;
use crate::system::exit;
use crate::system::files::Files;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

const HOUR: Duration = Duration::from_secs(3600);

fn mint(host: &Host, ttl: Duration) -> Result<Minted, TokenFault> {
    Cloud::of(host, None)?.create(&Wish::plain(ttl))
}

fn host(folder: &Scratch) -> Host {
    Host::real(Root::new(Some(folder.path().to_path_buf())))
}

fn with_ca(host: &Host, made: Timestamp) -> Certificate {
    let store = FileStore::open(
        &host.files,
        &host.root,
        Options {
            allow_volatile: true,
        },
    );
    let (certificate, key) = new_ca(made).unwrap();
    let pair = KeyPair::new(certificate, key).unwrap();
    let stored = smol::block_on(store.unwrap().create_ca(&pair)).unwrap();
    stored.certificate().clone()
}

/// A cloudcore that gives one answer; none when `line` is empty.
fn cloudcore(host: &Host, line: String) -> std::thread::JoinHandle<String> {
    let socket = host.root.at(CLOUD_SOCKET);
    host.files
        .make_dir(socket.parent().unwrap(), 0o755)
        .unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        BufReader::new(stream.try_clone().unwrap())
            .read_line(&mut asked)
            .unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        asked
    })
}

#[test]
fn without_a_ca_nothing_is_made() {
    let folder = Scratch::new();
    let error = mint(&host(&folder), HOUR).unwrap_err();
    assert!(
        error.to_string().contains("start cloudcore first"),
        "{error}"
    );
    assert_eq!(error.code(), exit::UNAVAILABLE);
    assert_eq!(Files::real().list(folder.path(), 10).unwrap(), [""; 0]);
}

#[test]
fn a_stopped_clouds_files_are_enough() {
    let folder = Scratch::new();
    let host = host(&folder);
    let ca = with_ca(&host, host.clock.now());
    let minted = mint(&host, HOUR).unwrap();
    assert_eq!(*minted.token.ca_hash(), ca.hash());
    let left = minted.expires.since(host.clock.now());
    assert!(left <= HOUR && left > HOUR - Duration::from_secs(60));
    assert_eq!(
        minted.text(),
        minted.token.secret_string().to_string() + "\n"
    );
    let json: serde_json::Value = serde_json::from_str(&out::json(&minted)).unwrap();
    assert_eq!(json["token"], *minted.token.secret_string());
    assert_eq!(json["expires"], minted.expires.to_string());
}

#[test]
fn a_ca_that_has_ended_makes_no_tokens() {
    let folder = Scratch::new();
    let mut host = host(&folder);
    let ca = with_ca(&host, host.clock.now());
    host.clock = Clock::manual(ca.not_after()).0;
    assert!(matches!(
        mint(&host, HOUR),
        Err(TokenFault::Create(CreateError::CaEnded(_)))
    ));
    host.clock = Clock::manual(ca.not_after().minus(HOUR)).0;
    assert!(matches!(
        mint(&host, HOUR),
        Err(TokenFault::Create(CreateError::CaEnds(_)))
    ));
    assert!(mint(&host, HOUR / 2).is_ok());
}

#[test]
fn a_running_cloudcore_is_asked() {
    let folder = Scratch::new();
    let host = host(&folder);
    let (ca, key) = new_ca(host.clock.now()).unwrap();
    let token = TokenKey::new(&ca, &key).mint(host.clock.now().plus(HOUR));
    let cloud = cloudcore(&host, format!("{{\"v\":1,\"token\":\"{token}\"}}\n"));
    let minted = mint(&host, HOUR).unwrap();
    assert_eq!(*minted.token.secret_string(), token);
    let asked: Request = serde_json::from_str(&cloud.join().unwrap()).unwrap();
    assert_eq!((asked.op.as_str(), asked.ttl), ("gettoken", Some(3600)));
}

#[test]
fn bad_answers_of_cloudcore_are_no_tokens() {
    let now = Clock::system().now();
    let (ca, key) = new_ca(now).unwrap();
    let expired = TokenKey::new(&ca, &key).mint(now.minus(HOUR));
    for (answer, code, part) in [
        (String::new(), exit::UNAVAILABLE, "gives no answer"),
        (
            "{\"v\":1,\"error\":\"busy\"}\n".to_owned(),
            exit::FAILURE,
            "busy",
        ),
        (
            "{\"v\":1,\"token\":\"a.b\"}\n".to_owned(),
            exit::FAILURE,
            "2 parts",
        ),
        (
            format!("{{\"v\":1,\"token\":\"{expired}\"}}\n"),
            exit::FAILURE,
            "expired at",
        ),
        ("rubbish\n".to_owned(), exit::UNAVAILABLE, "gives no answer"),
    ] {
        let folder = Scratch::new();
        let host = host(&folder);
        let cloud = cloudcore(&host, answer);
        let error = mint(&host, HOUR).map(drop).unwrap_err();
        cloud.join().unwrap();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn lifetimes() {
    assert_eq!(lifetime("24h").unwrap(), 24 * HOUR);
    assert_eq!(lifetime("1h30m").unwrap(), HOUR * 3 / 2);
    for wrong in ["", "0", "-1h", "1d", "500ms", "soon", "99999h"] {
        let error = lifetime(wrong).unwrap_err();
        assert_eq!(error.code(), exit::USAGE, "{wrong}");
    }
}

#[test]
fn tokens_are_made_listed_and_deleted_without_a_cloudcore() {
    let folder = Scratch::new();
    let host = host(&folder);
    with_ca(&host, host.clock.now());
    let cloud = Cloud::of(&host, None).unwrap();
    let wish = Wish {
        nodes: "rack1-*".parse().ok(),
        uses: Some(3),
        description: "rack 1".to_owned(),
        ..Wish::plain(HOUR)
    };
    let minted = cloud.create(&wish).unwrap();
    let id: TokenId = minted.id.clone().unwrap().parse().unwrap();
    let dial = minted.dial.clone().unwrap();
    assert_eq!((dial.hub_port, dial.certificate_port), (10_000, 10_002));
    let plain = mint(&host, HOUR).unwrap();
    let listed = cloud.list().unwrap();
    let find = |id: &str| listed.iter().find(|it| it.id == id).unwrap();
    let bound = find(id.as_str());
    assert_eq!(bound.expires, minted.expires);
    assert_eq!(
        (bound.node.as_deref(), bound.uses),
        (Some("rack1-*"), Some(3))
    );
    assert_eq!((bound.used, bound.description.as_str()), (0, "rack 1"));
    assert_eq!(find(&plain.id.unwrap()).uses, None);
    cloud.delete(&id).unwrap();
    assert!(matches!(cloud.delete(&id), Err(TokenFault::Absent(_))));
    assert_eq!(cloud.list().unwrap().len(), 1);
}

#[test]
fn a_list_that_is_cut_off_is_none() {
    let line = |id: &str| {
        format!(
            "{{\"v\":1,\"token\":{{\"id\":\"{id}\",\"created\":\"2026-01-01T00:00:00Z\",\"expires\":\
             \"2026-01-02T00:00:00Z\",\"node\":null,\"uses\":null,\"used\":0,\"description\":\"\",\
             \"usedBy\":[]}}}}\n"
        )
    };
    let (one, end) = (line("0000000001"), "{\"v\":1,\"message\":\"1\"}\n");
    for (answer, expected) in [
        (format!("{one}{end}"), Some(1)),
        (end.to_owned(), Some(0)),
        (one.clone(), None),
        (String::new(), None),
    ] {
        let folder = Scratch::new();
        let host = host(&folder);
        let cloud = cloudcore(&host, answer);
        let listed = Cloud::of(&host, None).unwrap().list();
        cloud.join().unwrap();
        assert_eq!(listed.ok().map(|tokens| tokens.len()), expected);
    }
}

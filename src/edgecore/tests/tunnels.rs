//! Recorded tunnels replayed: our upgrade and first message against an edgecore's, and what a hub
//! answered fed to our edge.

use std::rc::Rc;

use smol::future::or;

use super::compare::compare;
use super::recorded::{self, Request};
use super::server::{Server, unmasked};
use super::{edge, identity, run};
use crate::edgecore::edge::Edge;
use crate::edgecore::hub;
use crate::protocol::message::Message;
use crate::system::clock::Clock;
use crate::system::scratch::Scratch;

/// Runs the hub of an edge against recorded answers to its upgrade until `enough` connections.
fn hub_meets(edge: &Rc<Edge>, server: &Server, enough: usize) {
    let met = async {
        for _ in 0..enough {
            server.news.recv().await.unwrap();
        }
        None
    };
    let ended = run(edge, or(met, async { Some(hub::run(edge).await) }));
    assert!(ended.is_none(), "no token was there to be found");
}

#[test]
fn a_tunnel_is_opened_as_upstreams_and_begins_with_a_keepalive() {
    for (ca, node, folder, number) in [
        ("token-ca", "edge-mini", "edge-mini", "001"),
        ("token-ca", "rot-1", "rotation", "001"),
        ("token-ca", "rot-1", "rotation", "002"),
        ("v1.13/token-ca", "v113-mini", "v1.13/edge-mini", "001"),
        ("v1.13/token-ca", "rot113", "v1.13/rotation", "001"),
    ] {
        let clock = Clock::manual(recorded::time(&format!("{folder}/ws-{number}.meta.json"))).0;
        let [authority, serving] = recorded::authority(ca);
        let verbatim = recorded::bytes(&format!("{folder}/ws-{number}.s2c.bin"));
        let mut met = 0;
        let server = Server::start(&serving, &clock, move |request| {
            met += 1;
            // At first word for word, which is the answer to somebody else's key.
            if met == 1 {
                verbatim.clone()
            } else {
                answered(&verbatim, request)
            }
        });
        let scratch = Scratch::new();
        let edge = edge(&scratch, node, server.port, &clock);
        edge.adopt(identity(&authority, &edge.settings.node, clock.now()));
        hub_meets(&edge, &server, 2);
        let seen = server.seen.lock().unwrap();
        let recording = recorded::bytes(&format!("{folder}/ws-{number}.c2s.bin"));
        let wanted = Request::parse(&recording).unwrap();
        assert!(seen.requests.len() >= 2);
        for ours in &seen.requests[..2] {
            let different = compare(folder, &wanted, ours);
            assert!(different.contains("sec-websocket-key"));
        }
        // Only behind the answer to its own key does it say anything.
        let said = seen.frames.last().expect("a first frame");
        let end = head_of(&recording);
        // Some recordings end with the upgrade; the frame is the same in all versions.
        let whole = recorded::bytes("rotation/ws-001.c2s.bin");
        let first = if recording.len() > end {
            &recording[end..]
        } else {
            &whole[head_of(&whole)..]
        };
        assert_keepalive(first, said);
        // The server goes away behind the frame, which may have been noticed already.
        let session = edge.state.snapshot().session;
        assert!(session.is_none_or(|session| session.generation == 1));
    }
}

/// The length of a request's head.
fn head_of(recording: &[u8]) -> usize {
    recording.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4
}

/// The recorded 101, with the answer to this request's key.
fn answered(recorded: &[u8], request: &Request) -> Vec<u8> {
    use async_tungstenite::tungstenite::handshake::derive_accept_key;
    let key = request.header("sec-websocket-key").unwrap();
    let text = String::from_utf8(recorded.to_owned()).unwrap();
    let (before, after) = text.split_once("Sec-WebSocket-Accept: ").unwrap();
    let (_, after) = after.split_once("\r\n").unwrap();
    let accept = derive_accept_key(key.as_bytes());
    format!("{before}Sec-WebSocket-Accept: {accept}\r\n{after}").into_bytes()
}

/// Same frame, same keys in the same order, same values but for id and time.
fn assert_keepalive(recorded: &[u8], ours: &[u8]) {
    assert_eq!(ours[0], recorded[0], "one whole text frame");
    let length = usize::from(recorded[1] & 0x7f);
    let head = if length == 126 { 8 } else { 6 };
    let length = match length {
        126 => usize::from(u16::from_be_bytes([recorded[2], recorded[3]])),
        short => short,
    };
    let [theirs, ours] = [&recorded[..head + length], ours].map(|frame| {
        let text = String::from_utf8(unmasked(frame)).unwrap();
        assert!(text.ends_with("\n"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let header = &value["header"];
        let id = header["msg_id"].as_str().unwrap().to_owned();
        assert_eq!(id.len(), 36);
        let time = header["timestamp"].to_string();
        text.replace(&id, "ID").replace(&time, "TIME")
    });
    assert_eq!(ours, theirs);
}

#[test]
fn every_recorded_answer_of_the_tunnel_port_is_survived() {
    let [authority, serving] = recorded::authority("token-ca");
    let clock = Clock::manual(authority.0.not_before()).0;
    let names = recorded::names("ws-cases", ".resp.bin");
    assert!(names.len() > 20, "the recordings were not found");
    for name in names {
        let recorded = recorded::bytes(&name);
        let server = Server::start(&serving, &clock, move |_| recorded.clone());
        let scratch = Scratch::new();
        let edge = edge(&scratch, "edge-1", server.port, &clock);
        edge.adopt(identity(&authority, &edge.settings.node, clock.now()));
        hub_meets(&edge, &server, 1);
        let seen = server.seen.lock().unwrap();
        assert_eq!(seen.frames.len(), 0, "{name}: answers another's key");
        assert!(edge.state.snapshot().session.is_none(), "{name}");
    }
}

#[test]
fn the_recorded_first_messages_are_ours() {
    for folder in ["edge-mini", "v1.13/edge-mini"] {
        let lines = recorded::bytes(&format!("{folder}/ws-001.messages.jsonl"));
        let first = lines.split(|byte| *byte == b'\n').next().unwrap();
        let first: serde_json::Value = serde_json::from_slice(first).unwrap();
        let raw = first["raw"].as_str().unwrap();
        let message = Message::from_json(raw.as_bytes()).unwrap();
        assert_eq!(message.to_json(), raw, "written as it was read");
        assert_eq!(
            message.route,
            Message::keepalive(recorded::time(&format!("{folder}/ws-001.meta.json"))).route
        );
    }
}

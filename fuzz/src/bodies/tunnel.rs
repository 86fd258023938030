//! The tunnel: heads of both sides, and frames as an edge and as a hub gets them.

use std::time::Duration;

use kubeedge::pki::hash::Sha256Hash;
use kubeedge::protocol::terms::Terms;
use kubeedge::protocol::trust::CloudCas;
use kubeedge::system::clock::Timestamp;
use kubeedge::tunnel::upgrade::{Head, Upgrade};
use kubeedge::tunnel::websocket::{TunnelRequest, upgrade};
use kubeedge::tunnel::{Budget, Event, Receiver, Stream, TunnelError};

use super::assert_sentence;
use super::memory::Peer;

const REQUEST: &[u8] = b"GET /p/edge-1/events HTTP/1.1\r\nHost: c\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nNode_id: edge-1\r\n\r\n";
const WELCOME: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: {accept}\r\n\r\n";
const MAX_MESSAGE: usize = 2048;

/// The head of an upgrade request, as anybody may send it to the hub.
pub fn upgrade_head(data: &[u8]) {
    match Head::parse(data) {
        Ok(head) => {
            assert!(data.starts_with(b"GET ") || data.trim_ascii_start().starts_with(b"GET "));
            let stands = |word: &str| {
                word.is_empty() || data.windows(word.len()).any(|part| part == word.as_bytes())
            };
            assert!(!head.path.contains(['\r', '\n', ' ']) && stands(&head.path));
            for value in [head.node_id, head.project_id, head.connection_use]
                .into_iter()
                .flatten()
            {
                assert!(!value.contains(['\r', '\n']) && stands(&value));
            }
        }
        Err((status, text)) => {
            assert!((400..500).contains(&status) && !text.is_empty());
        }
    }
    // The same bytes from a stream: one answer, or a head like the one above.
    smol::block_on(async {
        match Upgrade::read(Peer::new(data), Vec::new()).await {
            Ok(upgrade) => assert!(upgrade.head.path.len() <= data.len()),
            Err(error) => assert_sentence(&error.to_string()),
        }
    });
}

/// Whatever a hub answers to the edge's upgrade request.
pub fn welcome(data: &[u8]) {
    smol::block_on(async {
        match upgrade(Peer::greeting(data), &request()).await {
            Ok(connected) => {
                let head = data.windows(3).any(|part| part == b"101");
                assert!(head, "a tunnel without a 101");
                drain(connected.tunnel.receiver, 32 * 1024 * 1024).await;
            }
            Err(error) => assert_sentence(&error.to_string()),
        }
    });
}

/// Frames from a hub, behind a good 101.
pub fn frames(data: &[u8]) {
    smol::block_on(async {
        let peer = Peer::greeting(&[WELCOME, data].concat());
        let connected = upgrade(peer, &request()).await.expect("a good 101");
        assert!(!connected.replace_safe);
        drain(connected.tunnel.receiver, 32 * 1024 * 1024).await;
    });
}

/// Frames from an edge: nothing above the limit is handed out, and the budget of all tunnels is given back.
pub fn hub_frames(data: &[u8]) {
    let budget = Budget::new(8 * 1024);
    smol::block_on(async {
        let peer = Peer::new(&[REQUEST, data].concat());
        let upgrade = Upgrade::read(peer, Vec::new())
            .await
            .unwrap_or_else(|e| panic!("a good head: {e}"));
        let tunnel = upgrade
            .accept(Timestamp::from_unix(0), MAX_MESSAGE, &budget, &cas(), None)
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        let events = drain(tunnel.receiver, MAX_MESSAGE).await;
        assert!(
            events <= data.len(),
            "{events} events from {} bytes",
            data.len()
        );
        drop(tunnel.sender);
    });
    assert_eq!(budget.left(), 8 * 1024, "a share was not given back");
}

/// Reads to the end, which must come: the peer ends its side.
async fn drain<S: Stream>(mut receiver: Receiver<S>, limit: usize) -> usize {
    let mut events = 0;
    loop {
        match receiver.next().await {
            Ok(Event::Message(message)) => {
                let content = message
                    .content
                    .as_ref()
                    .map_or(0, |content| content.get().len());
                assert!(content <= limit, "a message of {content} bytes");
            }
            Ok(Event::Malformed(error)) => assert_sentence(&error.to_string()),
            Ok(Event::Alive) => {}
            Err(end) => {
                assert_sentence(&end.to_string());
                assert!(!matches!(
                    end,
                    TunnelError::TimedOut(_) | TunnelError::Tls(_)
                ));
                return events;
            }
        }
        events += 1;
    }
}

fn request() -> TunnelRequest {
    TunnelRequest {
        terms: Terms::offer(Duration::from_secs(30)),
        endpoint: "cloud.example:10000".parse().expect("an endpoint"),
        project: "p".to_owned(),
        node: "edge-1".parse().expect("a name"),
        trusted: vec![Sha256Hash::of(b"a CA")],
    }
}

fn cas() -> CloudCas {
    let signer = Sha256Hash::of(b"a CA");
    CloudCas {
        all: vec![signer],
        signer,
    }
}

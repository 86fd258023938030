//! The hub: who gets a tunnel, what is answered on it, and how it ends.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use kubeedge::pki::issue::new_ca;
use kubeedge::pki::key::PrivateKey;
use kubeedge::protocol::control::CloudOp;
use kubeedge::protocol::message::{Message, Route};
use kubeedge::system::clock::Timestamp;
use rcgen::ExtendedKeyUsagePurpose;

use crate::api::{bearer_of_case_01, enroll, recorded_at, renew};
use crate::support::{Client, Cloud, Identity, frame, vectors};

#[test]
fn recorded_cases() {
    replay_cases(&Cloud::start("ws-cases", "", "", NOW), |_, ours| {
        ours.to_owned()
    });
}

/// On a port that serves certificates too, whoever is not let in by TLS elsewhere is refused by the
/// hub, and what is no path of a tunnel is none of its business.
#[test]
fn recorded_cases_on_one_port() {
    let cloud = Cloud::start_on_one_port("ws-cases-one-port", "", NOW);
    replay_cases(&cloud, |case, ours| match ours {
        "tls-refused" => "401".to_owned(),
        "101" if case == "05-other-path" => "404".to_owned(),
        ours => ours.to_owned(),
    });
}

fn replay_cases(cloud: &Cloud, expected: impl Fn(&str, &str) -> String) {
    let folder = vectors("ws-cases");
    let table = fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|l| l.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 42);
    let listed: BTreeSet<String> = rows
        .iter()
        .map(|row| format!("{}-{}", row[0], row[1]))
        .collect();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let case = name.split('.').next().unwrap();
        assert!(
            case == "expected" || listed.contains(case),
            "{name} is not in the table"
        );
    }
    let mut faults = Vec::new();
    for row in rows {
        let case = format!("{}-{}", row[0], row[1]);
        let request = fs::read(folder.join(format!("{case}.req.bin"))).unwrap();
        let sent = fs::read(folder.join(format!("{case}.sent.bin"))).ok();
        let identity = identity_of(cloud, &case);
        let found = replay(cloud, identity.as_ref(), &request, sent.as_deref());
        let expected = expected(&case, row[2]);
        if found != expected {
            faults.push(format!("{case}: {found} instead of {expected}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Everything that edgecores of both generations said on their tunnels, byte for byte: each request
/// is answered, nothing else is, and the tunnel stays up.
#[test]
fn recorded_tunnels() {
    for (name, generation, folder, file, opening_only) in [
        ("ws-mini-v1.23", "", "edge-mini", "ws-001", false),
        ("ws-rotation-old-v1.23", "", "rotation", "ws-001", false),
        ("ws-rotation-new-v1.23", "", "rotation", "ws-002", false),
        ("ws-mini-v1.13", "v1.13", "v1.13/edge-mini", "ws-001", false),
        (
            "ws-rotation-v1.13",
            "v1.13",
            "v1.13/rotation",
            "ws-001",
            true,
        ),
    ] {
        let folder = vectors(folder);
        let cloud = Cloud::start(name, generation, "", recorded_at(&folder, file));
        let said = fs::read(folder.join(format!("{file}.c2s.bin"))).unwrap();
        let head = said
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        let text = String::from_utf8_lossy(&said[..head]).into_owned();
        let node = text
            .split("Node_id: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap();
        let mut client = cloud.hub(Some(&cloud.identity(node))).unwrap();
        client.send(&said[..head]);
        let answer = client.answer("GET").unwrap();
        assert_eq!(answer.status, 101, "{name}");
        assert_eq!(answer.header("kubeedge-session"), Some("replace-safe"));

        let frames = unmask(&said[head..]);
        let messages: Vec<Message> = frames
            .iter()
            .filter(|(opcode, _)| *opcode == TEXT)
            .map(|(_, payload)| Message::from_json(payload).unwrap())
            .collect();
        assert_eq!(messages.is_empty(), opening_only, "{name}");
        let asks = ["query", "insert", "update", "patch", "delete", "get"];
        let requests: Vec<&Message> = messages
            .iter()
            .filter(|message| asks.contains(&message.route.operation.as_str()))
            .filter(|message| message.route.resource.split('/').nth(1) != Some("event"))
            .filter(|message| message.header.parent_id.is_empty())
            .collect();
        // How the edge left is not of interest here.
        for (opcode, payload) in frames.iter().filter(|(opcode, _)| *opcode != CLOSE) {
            client.send_frame(*opcode, payload);
        }
        let mut answered = Vec::new();
        client.send_frame(PING, b"all said");
        loop {
            match client.frame().unwrap() {
                (PONG, payload) if payload == b"all said" => break,
                (TEXT, payload) => answered.push(Message::from_json(&payload).unwrap()),
                (PONG, _) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        let parents: Vec<&str> = answered
            .iter()
            .map(|m| m.header.parent_id.as_str())
            .collect();
        let expected: Vec<&str> = requests.iter().map(|m| m.header.id.as_str()).collect();
        assert_eq!(parents, expected, "{name}");
        for message in &answered {
            let operation = message.route.operation.as_str();
            assert!(["response", "error"].contains(&operation), "{name}");
        }
    }
}

/// The newer connection takes over, without a moment in between, and the end of the older one does
/// it no harm.
#[test]
fn a_newer_connection_takes_over() {
    let cloud = Cloud::start("ws-replace", "", "", NOW);
    let (first, second) = (cloud.identity("edge-1"), cloud.identity("edge-1"));
    let mut old = open(&cloud, &first, "edge-1");
    let before = cloud.sessions();
    let mut new = open(&cloud, &second, "edge-1");
    assert_eq!(close_code(&mut old), Some(1000));
    assert!(old.ends());
    let after = cloud.sessions();
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_eq!(before[0].last_gap_ms, None);
    assert_eq!(after[0].last_gap_ms, Some(0));
    assert!(after[0].generation > before[0].generation);
    assert_eq!(before[0].serial, first.0.serial());
    assert_eq!(after[0].serial, second.0.serial());
    assert!(is_alive(&mut new));
    cloud.counts(&[
        "kubeedge_sessions 1\n",
        "KubeEdge_CloudHub_connected_nodes 1\n",
        "kubeedge_sessions_replaced_total 1\n",
    ]);
}

/// Replaced again and again: no session is lost, whoever ends first.
#[test]
fn of_many_replacements_the_last_stays() {
    let cloud = Cloud::start("ws-replace-many", "", "", NOW);
    let identity = cloud.identity("edge-1");
    let mut last = open(&cloud, &identity, "edge-1");
    for round in 0..150 {
        let mut new = open(&cloud, &identity, "edge-1");
        if round % 2 == 0 {
            // The older one goes away by itself at about the same time.
            last.send_frame(CLOSE, &1000u16.to_be_bytes());
        }
        assert!(is_alive(&mut new), "round {round}");
        last = new;
    }
    let sessions = cloud.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].last_gap_ms, Some(0));
}

/// At the limit others are refused and closed, and a node that is connected can still come anew.
#[test]
fn the_limit_counts_nodes() {
    let cloud = Cloud::start("ws-limit", "", "modules: {cloudHub: {nodeLimit: 1}}", NOW);
    let (one, two) = (cloud.identity("edge-1"), cloud.identity("edge-2"));
    let mut first = open(&cloud, &one, "edge-1");
    let mut refused = cloud.hub(Some(&two)).unwrap();
    refused.send(&upgrade("edge-2"));
    let answer = refused.answer("GET").unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(refused.ends());
    let mut again = open(&cloud, &one, "edge-1");
    assert_eq!(close_code(&mut first), Some(1000));
    assert!(is_alive(&mut again));
}

#[test]
fn silence_is_noticed_and_any_frame_is_life() {
    let cloud = Cloud::start(
        "ws-silence",
        "",
        "modules: {cloudHub: {keepaliveInterval: 1}}",
        NOW,
    );
    let started = std::time::Instant::now();
    let mut talks = open(&cloud, &cloud.identity("edge-1"), "edge-1");
    let mut silent = open(&cloud, &cloud.identity("edge-2"), "edge-2");
    while cloud.sessions().len() == 2 {
        assert!(is_alive(&mut talks));
    }
    assert!(started.elapsed().as_millis() >= 1000);
    assert_eq!(cloud.sessions()[0].node, "edge-1");
    assert_eq!(close_code(&mut silent), Some(1001));
    assert!(silent.ends());
}

/// What was agreed is said in the 101, and counts instead of the configuration.
#[test]
fn terms_are_granted_and_kept() {
    let yaml = "modules: {cloudHub: {keepaliveInterval: 1000}}";
    let cloud = Cloud::start("ws-terms", "", yaml, NOW);
    let open = |node: &str, offer: &str| {
        let mut client = cloud.hub(Some(&cloud.identity(node))).unwrap();
        let request = String::from_utf8(upgrade(node)).unwrap();
        let offer = format!("\r\nKubeedge-Terms: {offer}\r\n\r\n");
        client.send(request.replace("\r\n\r\n", &offer).as_bytes());
        let answer = client.answer("GET").unwrap();
        assert_eq!(answer.status, 101);
        let granted = answer.header("kubeedge-terms").map(str::to_owned);
        (client, granted)
    };
    let (mut patient, granted) = open("edge-1", "keepalive=600, reports, lease, colour=red");
    assert_eq!(granted.as_deref(), Some("keepalive=600, lease, reports"));
    let (_other, granted) = open("edge-2", "keepalive=0");
    assert_eq!(granted, None);
    let (mut silent, granted) = open("edge-3", "keepalive=1");
    assert_eq!(granted.as_deref(), Some("keepalive=1, lease"));
    let (mut beats, _) = open("edge-4", "keepalive=1");
    // The other one's end is awaited while this one sends answers to no question.
    let end = std::thread::spawn(move || (close_code(&mut silent), silent.ends()));
    while !end.is_finished() {
        beats.send_frame(PONG, b"");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(end.join().unwrap(), (Some(1001), true));
    assert!(is_alive(&mut beats) && is_alive(&mut patient));
}

#[test]
fn what_is_too_much_ends_the_session() {
    let yaml = "modules: {cloudHub: {maxMessageSize: 65536, partialMessageBudget: 100000}}";
    let cloud = Cloud::start("ws-too-much", "", yaml, NOW);
    let identity = cloud.identity("edge-1");

    // By its announced length: nothing of it has to come.
    let mut client = open(&cloud, &identity, "edge-1");
    let mut announced = vec![0x81, 0xff];
    announced.extend(65_537u64.to_be_bytes());
    announced.extend([1, 2, 3, 4]);
    client.send(&announced);
    assert_eq!(close_code(&mut client), Some(1009));

    let mut client = open(&cloud, &identity, "edge-1");
    for _ in 0..99 {
        client.send_frame(TEXT, b"no message");
    }
    client.send_frame(TEXT, b"{}");
    for _ in 0..99 {
        client.send_frame(TEXT, b"[]");
    }
    assert!(is_alive(&mut client));
    client.send_frame(TEXT, b"no message either");
    assert_eq!(close_code(&mut client), Some(1008));
    cloud.counts(&["kubeedge_messages_malformed_total 199"]);

    // Two messages that never end share the budget; the second one is too much.
    let part = |length: usize| [&[0x01][..], &frame(TEXT, &vec![b' '; length])[1..]].concat();
    let (one, two) = (cloud.identity("edge-1"), cloud.identity("edge-2"));
    let (mut one, mut two) = (open(&cloud, &one, "edge-1"), open(&cloud, &two, "edge-2"));
    one.send(&part(60_000));
    cloud.counts(&["budget_bytes 399"]);
    two.send(&part(60_000));
    assert_eq!(close_code(&mut two), Some(1013));
    assert!(is_alive(&mut one));
}

/// An enrolment by token that gives the name to another key ends the session of the first.
#[test]
fn a_new_key_ends_the_old_session() {
    let cloud = Cloud::start("ws-new-key", "", "", Timestamp::from_unix(1_795_334_957));
    let token = bearer_of_case_01("");
    let key = PrivateKey::generate().unwrap();
    let body = enroll(&cloud, &token, "edge-1", &key).body;
    let certificate = kubeedge::pki::certificate::Certificate::from_der(&body).unwrap();
    let mut client = open(&cloud, &(certificate, key.clone()), "edge-1");
    // The same key again is nobody else.
    assert_eq!(enroll(&cloud, &token, "edge-1", &key).status, 200);
    assert!(is_alive(&mut client));
    assert_eq!(
        enroll(&cloud, &token, "edge-1", &PrivateKey::generate().unwrap()).status,
        200
    );
    assert_eq!(close_code(&mut client), Some(1008));
    cloud.counts(&["kubeedge_keys_replaced_total 1"]);
    // And it does not come back, though its certificate is good for a year.
    let body = enroll(&cloud, &token, "edge-2", &key).body;
    let certificate = kubeedge::pki::certificate::Certificate::from_der(&body).unwrap();
    let identity = (certificate, key);
    drop(open(&cloud, &identity, "edge-2"));
    assert_eq!(
        enroll(&cloud, &token, "edge-2", &PrivateKey::generate().unwrap()).status,
        200
    );
    let (status, said) = refused(&cloud, &identity, "edge-2");
    assert_eq!(status, 403);
    assert!(said.contains("another key holds the name"), "{said}");
    cloud.counts(&["kubeedge_tunnels_refused_total{reason=\"superseded\"} 1"]);
}

/// Revoked: the session ends, and neither hub nor renewal takes the node until a token does.
#[test]
fn a_revoked_node_is_out_at_once() {
    let cloud = Cloud::start("ws-revoked", "", "", Timestamp::from_unix(1_795_334_957));
    let token = bearer_of_case_01("");
    let key = PrivateKey::generate().unwrap();
    let body = enroll(&cloud, &token, "edge-1", &key).body;
    let certificate = kubeedge::pki::certificate::Certificate::from_der(&body).unwrap();
    let identity = (certificate, key);
    let mut client = open(&cloud, &identity, "edge-1");
    let other = cloud.identity("edge-2");
    let mut other_client = open(&cloud, &other, "edge-2");

    let answer = cloud.ask(CloudOp::Revoke, &["edge-1", "nobody"]);
    assert_eq!(answer.len(), 2);
    assert_eq!(answer[0]["session_ended"], true);
    assert_eq!(
        (&answer[0]["known"], &answer[1]["known"]),
        (&true.into(), &false.into())
    );
    let (opcode, payload) = client.frame().unwrap();
    assert_eq!((opcode, &payload[..2]), (8, &1008u16.to_be_bytes()[..]));
    assert!(String::from_utf8_lossy(&payload[2..]).contains("revoked"));
    let (status, said) = refused(&cloud, &identity, "edge-1");
    assert_eq!(status, 403);
    assert!(
        said.contains("were revoked at 2026-11-22T08:09:17Z"),
        "{said}"
    );
    let renewal = renew(&cloud, &identity, "edge-1");
    assert_eq!(renewal.status, 403, "{}", renewal.text());
    assert!(renewal.text().contains("fresh token"));
    assert!(is_alive(&mut other_client));
    cloud.counts(&[
        "kubeedge_keys_revoked_total 2",
        "kubeedge_tunnels_refused_total{reason=\"revoked\"} 1",
        "kubeedge_certificates_refused_total{reason=\"revoked\"} 1",
    ]);
    assert_eq!(cloud.ask(CloudOp::Revoke, &["edge-1"])[0]["already"], true);
    assert!(cloud.ask(CloudOp::Revoke, &["No Name"])[0]["error"].is_string());

    let key = PrivateKey::generate().unwrap();
    let body = enroll(&cloud, &token, "edge-1", &key).body;
    let certificate = kubeedge::pki::certificate::Certificate::from_der(&body).unwrap();
    drop(open(&cloud, &(certificate, key), "edge-1"));
    assert_eq!(refused(&cloud, &identity, "edge-1").0, 403);
    let listed = cloud.ask(CloudOp::Revocations, &[]);
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0]["node"], &listed[0]["enrolled_since"]),
        (&"edge-1".into(), &true.into())
    );
}

/// What the hub answers to an upgrade that it refuses.
fn refused(cloud: &Cloud, identity: &Identity, node: &str) -> (u16, String) {
    let mut client = cloud.hub(Some(identity)).unwrap();
    client.send(&upgrade(node));
    let answer = client.answer("GET").unwrap();
    (answer.status, answer.text())
}

/// A legacy certificate names no node: it is let in only where the operator says so, and for one
/// node only.
#[test]
fn legacy_certificates() {
    let model = fs::read(vectors("v1.13/rotation/before.pem")).unwrap();
    let model = kubeedge::pki::certificate::Certificate::from_pem(&model).unwrap();
    let full = "modules: {cloudHub: {legacyCertificates: full}}";
    for (name, yaml, first, other) in [
        ("ws-legacy-off", "", 403, 403),
        ("ws-legacy-full", full, 101, 403),
    ] {
        let cloud = Cloud::start(name, "v1.13", yaml, NOW);
        let identity = crate::support::remake(&model, &cloud.ca);
        for (node, status) in [("edge-1", first), ("edge-2", other), ("edge-1", first)] {
            let mut client = cloud.hub(Some(&identity)).unwrap();
            client.send(&upgrade(node));
            assert_eq!(
                client.answer("GET").unwrap().status,
                status,
                "{name} {node}"
            );
        }
    }
}

/// Stopping says goodbye to every edge and is done in time.
#[test]
fn stopping_closes_every_session() {
    let mut cloud = Cloud::start("ws-stop", "", "", NOW);
    let names: Vec<String> = (0..20).map(|number| format!("edge-{number}")).collect();
    let open = |name: &String| open(&cloud, &cloud.identity(name), name);
    let mut clients: Vec<Client> = names.iter().map(open).collect();
    let idle = cloud.https(None).unwrap();
    let started = std::time::Instant::now();
    cloud.stop();
    for client in &mut clients {
        assert_eq!(close_code(client), Some(1001));
        assert!(client.ends());
    }
    drop(cloud);
    assert!(started.elapsed().as_secs() < 5);
    drop(idle);
}

/// What a case of the recording ends in, in the words of the table.
fn replay(
    cloud: &Cloud,
    identity: Option<&Identity>,
    request: &[u8],
    sent: Option<&[u8]>,
) -> String {
    // With TLS 1.3 a client learns only after the handshake that it was refused.
    let opened = cloud.hub(identity).and_then(|mut client| {
        client.send(request);
        let answer = client.answer("GET")?;
        Ok((client, answer))
    });
    let Ok((mut client, answer)) = opened else {
        return "tls-refused".to_owned();
    };
    if answer.status != 101 {
        assert!(client.ends(), "a refused connection is closed");
        return answer.status.to_string();
    }
    for refused in ["sec-websocket-extensions", "sec-websocket-protocol"] {
        assert_eq!(answer.header(refused), None);
    }
    let Some(sent) = sent else {
        return "101".to_owned();
    };
    let asked = unmask(sent).into_iter().next();
    client.send(sent);
    client.send_frame(PING, MARK);
    let first = match client.frame() {
        Ok((PONG, payload)) if payload == MARK => return "101 quiet".to_owned(),
        Ok((PONG, payload)) => {
            assert_eq!(Some(payload), asked.map(|(_, payload)| payload));
            return "101 pong".to_owned();
        }
        Ok((CLOSE, payload)) => {
            assert!(client.ends());
            return format!("101 close {}", u16::from_be_bytes([payload[0], payload[1]]));
        }
        Ok((TEXT, payload)) => payload,
        other => return format!("101 and then {other:?}"),
    };
    // One answer, and the tunnel stays.
    assert_eq!(client.frame().unwrap(), (PONG, MARK.to_vec()));
    assert!(first.ends_with(b"\n"));
    let message = Message::from_json(&first).unwrap();
    let (_, question) = whole_message(sent);
    assert_eq!(message.header.parent_id, question.header.id);
    match question.route.resource.as_str() {
        // KubeEdge's cloud never answers these; its edges know the answer by its parent.
        "membership/detail" => assert_eq!(message.route.resource, "twin"),
        resource => assert_eq!(message.route.resource, resource),
    }
    match (message.route.operation.as_str(), message.text()) {
        ("response", Some(text)) if text == "ack" => {
            assert_eq!(message.route.source, question.route.source);
            assert_eq!(message.route.group, question.route.group);
            "101 ack".to_owned()
        }
        ("error", Some(_)) => {
            let twin = question.route.group == "twin";
            assert_eq!(message.route.group, if twin { "twin" } else { "resource" });
            "101 error".to_owned()
        }
        ("response", _) => "101 answer".to_owned(),
        (operation, _) => format!("101 and then a message {operation}"),
    }
}

/// Who shows which certificate: all name ws-node, where nothing else is said.
fn identity_of(cloud: &Cloud, case: &str) -> Option<Identity> {
    let (now, hour) = (cloud.clock.now(), std::time::Duration::from_secs(3600));
    let day = hour * 24;
    match &case[..3] {
        "02-" => None,
        "09-" => Some(cloud.identity_until("ws-node", now.minus(day), now.minus(hour))),
        "10-" => Some(cloud.identity_until("ws-node", now.plus(hour), now.plus(day))),
        "11-" => {
            let (model, _) = cloud.identity("ws-node");
            let server = [ExtendedKeyUsagePurpose::ServerAuth];
            Some(crate::support::remake_for(&model, &cloud.ca, &server))
        }
        "12-" => {
            let (model, _) = cloud.identity("ws-node");
            Some(crate::support::remake(&model, &new_ca(now).unwrap()))
        }
        _ => Some(cloud.identity("ws-node")),
    }
}

/// An open tunnel of a node.
pub fn open(cloud: &Cloud, identity: &Identity, node: &str) -> Client {
    let mut client = cloud.hub(Some(identity)).unwrap();
    client.send(&upgrade(node));
    let answer = client.answer("GET").unwrap();
    assert_eq!(answer.status, 101, "{}", answer.text());
    let route = Route {
        source: "websocket".into(),
        group: "resource".into(),
        operation: "keepalive".into(),
        resource: "node".into(),
        ..Route::default()
    };
    client.send_frame(TEXT, Message::new(NOW, route, &"ping").to_json().as_bytes());
    // With the answer to a ping it is certain that the session runs.
    assert!(is_alive(&mut client));
    client
}

fn upgrade(node: &str) -> Vec<u8> {
    format!(
        "GET /e632aba927ea4ac2b575ec1603d56f10/{node}/events HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nNode_id: {node}\r\n\
         Project_id: e632aba927ea4ac2b575ec1603d56f10\r\nConnectionuse: msg\r\n\r\n"
    )
    .into_bytes()
}

fn is_alive(client: &mut Client) -> bool {
    client.send_frame(PING, MARK);
    matches!(client.frame(), Ok((PONG, payload)) if payload == MARK)
}

/// The code of the close frame that comes next, if one comes.
fn close_code(client: &mut Client) -> Option<u16> {
    let result: io::Result<(u8, Vec<u8>)> = client.frame();
    match result {
        Ok((CLOSE, payload)) => Some(u16::from_be_bytes([payload[0], payload[1]])),
        _ => None,
    }
}

/// The frames in a client's bytes, unmasked; as far as they are whole.
fn unmask(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match (second & 0x7f, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (usize::try_from(length).unwrap(), rest)
            }
            (short, rest) => (usize::from(short), rest),
        };
        let masked = second & 0x80 != 0;
        let (mask, rest) = rest.split_at(if masked { 4 } else { 0 });
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        let payload = match masked {
            true => payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect(),
            false => payload.to_vec(),
        };
        frames.push((first & 0x0f, payload));
        bytes = rest;
    }
    frames
}

/// The message that a client's frames make together.
fn whole_message(sent: &[u8]) -> (usize, Message) {
    let frames = unmask(sent);
    let whole: Vec<u8> = frames
        .iter()
        .flat_map(|(_, payload)| payload.clone())
        .collect();
    (frames.len(), Message::from_json(&whole).unwrap())
}

pub const TEXT: u8 = 1;
const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
const MARK: &[u8] = b"are you there";

/// About when the cases were recorded.
pub const NOW: Timestamp = Timestamp::from_unix(1_795_339_355);

//! Whether edge and cloud tell the same story of the tunnel. The errors are sentences.

use crate::protocol::control::{EdgeState, EdgeStatus, HubSession, SessionFacts};

/// The session, when both sides have it of the certificate in use, or of the one with `serial`;
/// else what is missing.
pub fn same(
    edge: EdgeStatus,
    cloud: Option<HubSession>,
    node: &str,
    serial: Option<&str>,
) -> Result<(SessionFacts, HubSession), String> {
    let last_error = edge
        .last_error
        .map_or(String::new(), |error| format!(": {}", error.message));
    let used = edge.certificate.map(|certificate| certificate.serial);
    let Some(wanted) = serial.or(used.as_deref()) else {
        return Err(format!("the edge has no certificate{last_error}"));
    };
    match (edge.session, cloud) {
        (Some(session), _) if edge.state != EdgeState::Connected || session.serial != wanted => {
            Err(format!(
                "the edge is {} with another certificate{last_error}",
                edge.state
            ))
        }
        (None, _) => Err(format!("the edge is {}{last_error}", edge.state)),
        (_, None) => Err("the cloud has no session of the edge".to_owned()),
        (_, Some(session)) if session.node != node || session.serial != wanted => {
            Err("the cloud's session is not of the certificate in use".to_owned())
        }
        (Some(edge), Some(cloud)) => Ok((edge, cloud)),
    }
}

/// Whether the tunnel moved to a new certificate, on both sides and without a gap.
pub fn moved(
    before: (&SessionFacts, &HubSession),
    after: (&SessionFacts, &HubSession),
) -> Result<(), String> {
    if before.0.serial == after.0.serial || before.1.serial == after.1.serial {
        return Err("the serial number is the same as before".to_owned());
    }
    if after.0.generation <= before.0.generation || after.1.generation <= before.1.generation {
        return Err("the session is the same as before".to_owned());
    }
    match after.1.last_gap_ms {
        Some(0) => Ok(()),
        Some(gap) => Err(format!("there was no tunnel for {gap} ms")),
        None => Err("the cloud does not know how long there was no tunnel".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::control::{CertificateFacts, Problem, VERSION};
    use crate::protocol::transport::Transport;
    use crate::system::clock::Timestamp;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn at_edge(generation: u64, serial: &str) -> SessionFacts {
        let (peer, serial) = ("127.0.0.1:1".to_owned(), serial.to_owned());
        SessionFacts {
            generation,
            since: NOW,
            hub: None,
            peer,
            serial,
            tunnel: Transport::WebSocket,
            no_quic: None,
        }
    }

    fn at_cloud(generation: u64, serial: &str, gap: Option<u64>) -> HubSession {
        HubSession {
            v: VERSION,
            node: "n".to_owned(),
            generation,
            since: NOW,
            peer: "127.0.0.1:2".to_owned(),
            serial: serial.to_owned(),
            tunnel: Transport::WebSocket,
            last_gap_ms: gap,
        }
    }

    fn edge(state: EdgeState, session: Option<SessionFacts>) -> EdgeStatus {
        EdgeStatus {
            v: VERSION,
            version: "0".to_owned(),
            pid: 1,
            hub_pid: None,
            sandbox: Vec::new(),
            objects_in: None,
            node: "n".to_owned(),
            cloud: "127.0.0.1:1".to_owned(),
            state,
            since: NOW,
            now: None,
            clock_shows: None,
            last_error: Some(Problem {
                at: NOW,
                message: "away".to_owned(),
                retryable: true,
            }),
            certificate: Some(CertificateFacts {
                serial: "a".to_owned(),
                not_before: NOW,
                not_after: NOW,
                ca_hash: String::new(),
            }),
            next_rotation: None,
            session,
            registration: None,
            messages: None,
            failures: None,
        }
    }

    #[test]
    fn both_have_to_have_the_same_session() {
        let up = |serial| edge(EdgeState::Connected, Some(at_edge(1, serial)));
        let cloud = |serial| Some(at_cloud(7, serial, None));
        assert!(same(up("a"), cloud("a"), "n", None).is_ok());
        assert!(same(up("b"), cloud("b"), "n", Some("b")).is_ok());
        for (edge, cloud, node, serial, part) in [
            (up("b"), cloud("a"), "n", None, "another certificate: away"),
            (up("a"), cloud("a"), "n", Some("b"), "another certificate"),
            (
                edge(EdgeState::Connecting, None),
                cloud("a"),
                "n",
                None,
                "is connecting: away",
            ),
            (up("a"), None, "n", None, "the cloud has no session"),
            (
                up("a"),
                cloud("b"),
                "n",
                None,
                "not of the certificate in use",
            ),
            (
                up("a"),
                cloud("a"),
                "m",
                None,
                "not of the certificate in use",
            ),
        ] {
            let missing = same(edge, cloud, node, serial).unwrap_err();
            assert!(missing.contains(part), "{missing}");
        }
    }

    #[test]
    fn a_move_changes_everything_and_leaves_no_gap() {
        let (edge, cloud) = (at_edge(1, "a"), at_cloud(7, "a", None));
        let check =
            |edge_then, cloud_then: HubSession| moved((&edge, &cloud), (&edge_then, &cloud_then));
        assert_eq!(check(at_edge(2, "b"), at_cloud(8, "b", Some(0))), Ok(()));
        for (edge, cloud, part) in [
            (
                at_edge(2, "a"),
                at_cloud(8, "a", Some(0)),
                "serial number is the same",
            ),
            (
                at_edge(2, "b"),
                at_cloud(8, "a", Some(0)),
                "serial number is the same",
            ),
            (
                at_edge(1, "b"),
                at_cloud(8, "b", Some(0)),
                "session is the same",
            ),
            (
                at_edge(2, "b"),
                at_cloud(7, "b", Some(0)),
                "session is the same",
            ),
            (
                at_edge(2, "b"),
                at_cloud(8, "b", Some(3)),
                "no tunnel for 3 ms",
            ),
            (at_edge(2, "b"), at_cloud(8, "b", None), "does not know"),
        ] {
            let fault = check(edge, cloud).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        }
    }
}

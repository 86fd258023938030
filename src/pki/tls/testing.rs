//! A whole handshake in memory, for tests.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};

use super::server_name;

/// What each side ended with.
#[derive(Debug, Default)]
pub struct Failure {
    pub client: Option<Error>,
    pub server: Option<Error>,
}

/// A whole handshake in memory, to its end on both sides.
pub fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    host: &str,
) -> Result<(ClientConnection, ServerConnection), Box<Failure>> {
    let name = server_name(&host.parse().unwrap()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let mut failure = Failure::default();
    for _ in 0..6 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() && failure.server.is_none() {
            server.read_tls(&mut wire).unwrap();
            failure.server = server.process_new_packets().err();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() && failure.client.is_none() {
            client.read_tls(&mut wire).unwrap();
            failure.client = client.process_new_packets().err();
        }
    }
    if failure.client.is_some() || failure.server.is_some() {
        return Err(Box::new(failure));
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

//! What stands for the tunnel over QUIC in a build without it.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};

use super::{AnyCarrier, TunnelError};
use crate::system::names::Host;

pub const OFFERED: bool = false;

pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
pub type Spawn = Arc<dyn Fn(Task) + Send + Sync>;

pub async fn dial(
    _socket: UdpSocket,
    _to: (SocketAddr, &Host),
    _config: &ClientConfig,
    _idle: Duration,
    _spawn: Spawn,
) -> Result<AnyCarrier, TunnelError> {
    Err(TunnelError::Protocol(NONE.to_owned()))
}

/// There is none.
pub enum Hub {}

impl Hub {
    pub fn new(_socket: UdpSocket, _config: &ServerConfig, _spawn: Spawn) -> io::Result<Hub> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NONE))
    }

    pub async fn next(&self) -> Option<Caller> {
        match *self {}
    }

    pub async fn finish(&self) {
        match *self {}
    }
}

pub enum Caller {}

impl Caller {
    pub fn address(&self) -> SocketAddr {
        match *self {}
    }

    pub fn is_validated(&self) -> bool {
        match *self {}
    }

    pub fn validate(self) {
        match self {}
    }

    pub fn refuse(self) {
        match self {}
    }

    pub async fn accept(self) -> Result<AnyCarrier, TunnelError> {
        match self {}
    }
}

const NONE: &str = "this program was built without QUIC";

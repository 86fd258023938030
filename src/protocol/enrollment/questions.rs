//! What a cloud is asked besides certificates: whether it is one, which CAs it has, whether a name is taken.

use ureq::http::StatusCode;

use super::{CA_PATH, CertificateApi, EnrollError, NODE_PATH, NodeCheck};
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::{PkiError, pem, tls};
use crate::system::names::NodeName;

impl CertificateApi {
    /// Whether a certificate API is there at all. Whose it is this does not tell.
    pub fn answers(&self) -> bool {
        let asked = tls::client_unverified(&self.clock).map_err(|e| self.no_tls(e));
        let asked = asked.and_then(|config| self.get(config, CA_PATH, &[], b""));
        let body = asked.and_then(|reply| self.success(reply));
        body.is_ok_and(|body| Certificate::from_der(&body).is_ok())
    }

    /// Asks whether another key holds the name. With the node's own identity, its own name is free.
    pub fn check_node(
        &self,
        trusted: &[Certificate],
        identity: Option<(&Certificate, &PrivateKey)>,
        node: &NodeName,
    ) -> Result<NodeCheck, EnrollError> {
        let path = format!("{NODE_PATH}{node}");
        let answer = self.ask(trusted, identity, &path, &[], b"")?;
        let free = answer.body.starts_with(b"Node not found");
        match answer.status {
            StatusCode::OK => Ok(NodeCheck::Taken),
            StatusCode::NOT_FOUND if free => Ok(NodeCheck::Free),
            StatusCode::NOT_FOUND => Ok(NodeCheck::Unknown),
            _ => Err(self.refused(&answer)),
        }
    }

    /// The CA that this cloud says it has, from whoever answers: for telling a person, never to be
    /// believed.
    pub fn meet_ca(&self) -> Result<Certificate, EnrollError> {
        let config = tls::client_unverified(&self.clock).map_err(|e| self.no_tls(e))?;
        let body = self.success(self.get(config, CA_PATH, &[], b"")?)?;
        let ca = Certificate::from_der(&body).map_err(|e| self.unusable(e))?;
        match ca.is_ca() {
            true => Ok(ca),
            false => Err(self.unusable(PkiError::NotCa)),
        }
    }

    /// What a cloud of ours gives to edges that follow a change of the CA, not yet judged.
    pub fn bundle(
        &self,
        trusted: &[Certificate],
        identity: Option<(&Certificate, &PrivateKey)>,
    ) -> Result<Vec<Certificate>, EnrollError> {
        let answer = self.ask(trusted, identity, BUNDLE_PATH, &[], b"")?;
        let body = self.success(answer)?;
        let blocks = pem::blocks(&body).map_err(|e| self.unusable(e))?;
        let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
        certificates
            .take(MAX_BUNDLE)
            .map(|block| Certificate::from_der(&block.der).map_err(|e| self.unusable(e)))
            .collect()
    }
}

const BUNDLE_PATH: &str = "/ca-bundle";
/// Certificates in a bundle: two CAs, and what one says of the other.
const MAX_BUNDLE: usize = 8;

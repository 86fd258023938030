//! Token to identity: fetch and pin the CA, make a key, get the certificate, commit, erase.

use smol::future::zip;

use super::edge::{Edge, Failure};
use super::follow;
use super::identity::{Identity, IdentityError};
use super::pending;
use crate::pki::certificate::{Certificate, Subject};
use crate::pki::csr;
use crate::pki::key::PrivateKey;
use crate::protocol::token::JoinToken;
use crate::system::clock::Timestamp;

/// Trades the token for an identity. When it returns, the identity is safely on disk and the
/// token is erased; on an error nothing on disk has changed, and the token is still there.
pub async fn enroll(edge: &Edge, token: &JoinToken) -> Result<Identity, Failure> {
    let (pinned, clock, ends) = (token.clone(), &edge.host.clock, token.expires());
    // What an earlier identity said of the time may belong to another cloud.
    clock.ground(Timestamp::from_unix(0), ends);
    // A full or read-only disk is found before the cloud has signed anything.
    let fetched = edge.api(move |api| api.fetch_ca(&pinned));
    let (ca, room) = zip(fetched, make_room(edge)).await;
    room?;
    let ca = ca?;
    clock.ground(ca.not_before(), ends);
    let subject = Subject::node(&edge.settings.node);
    let pending = pending::recall(edge, token).await?;
    let make = move || request_for(pending, &subject);
    let (key, request) = edge.off_thread(make).await??;
    pending::keep(edge, token, &key).await?;
    let (trusted, bearer, node) = (vec![ca], token.clone(), edge.settings.node.clone());
    let pinned = trusted.clone();
    let certificate = edge
        .api(move |api| api.apply(&pinned, &bearer, &node, &request))
        .await?;
    let trusted = follow::issuers(edge, &certificate, trusted, None).await?;
    let identity = accept(edge, key, certificate, trusted)?;
    commit(edge, &identity).await?;
    pending::forget(edge).await;
    log::info!(
        "enrolled as {} until {}",
        edge.settings.node,
        identity.certificate.not_after()
    );
    let tokens = edge.tokens.clone();
    // The identity is safe; a token that can't be erased now is erased at the next start.
    if let Err(error) = edge.off_thread(move || tokens.erase()).await? {
        edge.state.problem(&error, true);
    }
    Ok(identity)
}

/// A fresh key and the request for a certificate on it.
pub fn new_key(subject: &Subject) -> Result<(PrivateKey, Vec<u8>), Failure> {
    request_for(None, subject)
}

fn request_for(
    key: Option<PrivateKey>,
    subject: &Subject,
) -> Result<(PrivateKey, Vec<u8>), Failure> {
    let key = key.map_or_else(PrivateKey::generate, Ok)?;
    let request = csr::create(&key, subject)?;
    Ok((key, request))
}

/// Judges what the cloud sent: our key, our name, by a CA that we trust.
pub fn accept(
    edge: &Edge,
    key: PrivateKey,
    certificate: Certificate,
    mut trusted: Vec<Certificate>,
) -> Result<Identity, Failure> {
    if certificate.spki_hash() != key.spki_hash() {
        return Err(Failure::WrongCertificate("is for another key"));
    }
    if certificate.is_ca() {
        return Err(Failure::WrongCertificate("is a CA's"));
    }
    if !certificate.allows_client_auth() {
        return Err(Failure::WrongCertificate("is not for clients"));
    }
    // With none it is by the first one, which `check` then finds not to be so.
    let issuer = follow::issuer(&certificate, &trusted).unwrap_or(0);
    let identity = Identity {
        key,
        certificate,
        ca: trusted.remove(issuer),
        also: trusted,
    };
    let wrong = |error| match error {
        IdentityError::OtherNode { .. } => Failure::WrongCertificate("is for another node"),
        IdentityError::NotByCa(_) => Failure::WrongCertificate("is not by this cloud's CA"),
        other => Failure::Identity(other),
    };
    identity.check(&edge.settings.node).map_err(wrong)?;
    // Perhaps the device's clock is wrong; then this is cured by waiting, and the token is kept.
    if identity.expired(edge.host.clock.now()) {
        return Err(Failure::WrongCertificate(
            "has ended already by this device's clock",
        ));
    }
    Ok(identity)
}

async fn make_room(edge: &Edge) -> Result<(), Failure> {
    let (files, place) = (edge.host.files.clone(), edge.settings.place.clone());
    Ok(edge.off_thread(move || place.make_room(&files)).await??)
}

pub async fn commit(edge: &Edge, identity: &Identity) -> Result<(), Failure> {
    let (files, place) = (edge.host.files.clone(), edge.settings.place.clone());
    let identity = identity.clone();
    Ok(edge
        .off_thread(move || identity.commit(&files, &place))
        .await??)
}

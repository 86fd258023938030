//! What is secret on this device, so that it is known where it must not be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::redact::Redactor;
use crate::keadm::debug::fault::Fault;
use crate::keadm::debug::store::Store;
use crate::keadm::device;
use crate::keadm::join::present::BOOTSTRAP;
use crate::protocol::local::KUBECONFIG;
use crate::protocol::resource::Kind;
use crate::system::host::Host;

/// Reads every place that may hold a secret, and says when a Secret could not be read: what it holds may stand in a log.
pub fn known(host: &Host, config: Option<&str>) -> (Redactor, Option<Fault>) {
    let mut redactor = Redactor::default();
    let mut files = vec![host.root.at(BOOTSTRAP)];
    if let Ok((config, _)) = device::load(host, config) {
        if let Some(token) = &config.hub.token {
            redactor.learn(token.expose());
            redactor.learn_parts(token.expose(), '.');
        }
        files.push(host.root.at(&config.hub.network.credentials_file));
        files.push(host.root.at(&config.hub.tls_private_key_file));
    }
    for path in files {
        let bytes = host.files.read_secret(&path, MAX_FILE).ok().flatten();
        let text = bytes.as_ref().and_then(|bytes| bytes.text());
        let Some(text) = text else {
            continue;
        };
        // The certificates behind a key are no secret.
        let key = text
            .split("-----BEGIN CERTIFICATE")
            .next()
            .unwrap_or_default();
        redactor.learn(key);
        // A token's parts, and a proxy's password.
        redactor.learn_parts(key, '.');
        redactor.learn_parts(key, ':');
        // As a proxy is told.
        redactor.learn(&STANDARD.encode(text.trim()));
    }
    let local = host.files.read_opt(&host.root.at(KUBECONFIG), MAX_FILE);
    let local = local.ok().flatten().unwrap_or_default();
    for line in String::from_utf8_lossy(&local).lines() {
        if let Some((_, token)) = line.split_once("token:") {
            redactor.learn(token);
        }
    }
    let learned = Store::open(host, None).and_then(|store| {
        store.each(Kind::Secret, None, |secret| {
            for part in ["data", "stringData"] {
                for value in secret[part]
                    .as_object()
                    .into_iter()
                    .flat_map(|it| it.values())
                {
                    learn_value(&mut redactor, value);
                }
            }
        })
    });
    redactor.settle();
    let unknown = learned.err();
    // Nothing was ever told to this device.
    let unknown = unknown.filter(|fault| !matches!(fault, Fault::NoStore(_)));
    (redactor, unknown)
}

fn learn_value(redactor: &mut Redactor, value: &Value) {
    let text = value.as_str().unwrap_or_default();
    redactor.learn(text);
    let plain = STANDARD.decode(text).unwrap_or_default();
    if let Ok(plain) = String::from_utf8(plain) {
        redactor.learn(&plain);
    }
}

/// Bytes.
const MAX_FILE: usize = 64 * 1024;

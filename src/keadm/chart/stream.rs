//! The Secret with the certificate for streams of logs: made before an install, renewed by an upgrade.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::bundle::Bundle;
use super::values::Values;
use super::{ChartError, NAMESPACE, RELEASE, workload};
use crate::pki::certificate::Certificate;
use crate::pki::issue::{Issuer, new_ca_called};
use crate::pki::key::PrivateKey;
use crate::system::clock::Timestamp;

/// The file of its template.
pub const FILE: &str = "cloudcore/secret.yaml";

/// A Secret with a new CA, and a certificate for the Service of that CA.
pub fn secret(bundle: &Bundle, values: &Values, now: Timestamp) -> Result<Value, ChartError> {
    let mut object = bundle.read(FILE)?;
    object["metadata"]["namespace"] = NAMESPACE.into();
    workload::label(&mut object, &values.cloud_core);
    let (ca, ca_key) = new_ca_called("cloudcore-ca", LIFETIME, now)?;
    let names = [
        format!("{RELEASE}.{NAMESPACE}"),
        format!("{RELEASE}.{NAMESPACE}.svc"),
    ];
    let key = PrivateKey::generate()?;
    let issuer = Issuer::new(ca.clone(), ca_key)?;
    let certificate = issuer.server(&key, &names, &[], now, now.plus(LIFETIME))?;
    object["data"] = json!({
        "streamCA.crt": STANDARD.encode(ca.to_pem()),
        "stream.crt": STANDARD.encode(certificate.to_pem()),
        "stream.key": STANDARD.encode(key.to_sec1_pem().as_bytes()),
    });
    Ok(object)
}

/// Whether a Secret that is there has to be made anew: K28, less than a third of its life is left.
pub fn is_due(secret: &Value, now: Timestamp) -> bool {
    let end = |key: &str| {
        let text = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
        let certificate = Certificate::from_pem(&text).ok()?;
        let life = certificate.not_after().since(certificate.not_before());
        let left = certificate.not_after().since(now);
        Some(left < life / 3)
    };
    let has_key = secret["data"]["stream.key"].is_string();
    !has_key
        || ["streamCA.crt", "stream.crt"]
            .iter()
            .any(|key| end(key) != Some(false))
}

const LIFETIME: Duration = Duration::from_secs(3650 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::chain;

    #[test]
    fn it_is_good_for_ten_years_and_renewed_in_the_last_third() {
        let now = Timestamp::from_unix(1_800_000_000);
        let bundle = Bundle::open().unwrap();
        let values = Values::read(&bundle.read("values.yaml").unwrap()).unwrap();
        let secret = secret(&bundle, &values, now).unwrap();
        let read = |key: &str| {
            STANDARD
                .decode(secret["data"][key].as_str().unwrap())
                .unwrap()
        };
        let ca = Certificate::from_pem(&read("streamCA.crt")).unwrap();
        let certificate = Certificate::from_pem(&read("stream.crt")).unwrap();
        let key = PrivateKey::from_pem(&read("stream.key")).unwrap();
        assert_eq!(certificate.spki(), key.spki());
        assert_eq!(
            certificate.dns_names(),
            ["cloudcore.kubeedge", "cloudcore.kubeedge.svc"]
        );
        assert_eq!(ca.subject().common_name.as_deref(), Some("cloudcore-ca"));
        assert!(chain::verify_server(&certificate, &[ca], now).is_ok());
        let days = |count: u64| now.plus(Duration::from_secs(count * 86_400));
        assert!(!is_due(&secret, days(2400)));
        assert!(is_due(&secret, days(2500)));
        assert!(is_due(&serde_json::json!({"data": {}}), now));
    }
}

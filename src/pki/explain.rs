//! TLS errors as one sentence each, with cause and remedy.

use rustls::{AlertDescription, CertificateError, Error};

use super::certificate::{Certificate, Subject};
use super::chain::timestamp;

/// Says why a connection to `dialled` failed, and what to do, as seen from a client; `shown` is the
/// certificate that the server presented, where it is known.
pub fn explain(error: &Error, dialled: &str, shown: Option<&Certificate>) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error, dialled, shown),
        Error::AlertReceived(alert) => refused(*alert, dialled),
        Error::InvalidMessage(_) => format!(
            "{dialled} does not speak TLS: check the port, and that no plain HTTP proxy is in between"
        ),
        Error::PeerIncompatible(_) => format!(
            "{dialled} offers no TLS version or cipher that is safe: update what listens there ({error})"
        ),
        _ => format!("the TLS connection to {dialled} failed ({error}): look at the log there"),
    }
}

/// The same where it is known that behind `dialled` there is a cloud with the CA that was expected.
pub fn terminated(dialled: &str, shown: Option<&Certificate>) -> String {
    format!(
        "something terminates TLS in between: {dialled} shows {}, which is not by the cluster's CA, \
         though the cloud behind it has that CA: let it pass TCP through, with SNI at most",
        who(shown)
    )
}

/// Whose certificate it is and who has issued it, in words that are safe to print.
fn who(shown: Option<&Certificate>) -> String {
    let name = |subject: Subject| {
        let name = subject.common_name.or(subject.organization);
        let name: String = name.unwrap_or_default().chars().take(MAX_NAME).collect();
        format!("{name:?}")
    };
    shown.map_or_else(
        || "a certificate".to_owned(),
        |it| {
            format!(
                "a certificate of {} by {}",
                name(it.subject()),
                name(it.issuer())
            )
        },
    )
}

/// Whether one side finds that the other's certificate is not valid now, for which a wrong clock can
/// be the cause.
pub fn is_about_time(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(error) => matches!(
            error,
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        ),
        Error::AlertReceived(alert) => *alert == AlertDescription::CertificateExpired,
        _ => false,
    }
}

/// Whether the other side does not know by whom our certificate is.
pub fn is_refused_issuer(error: &Error) -> bool {
    let alert = match error {
        Error::AlertReceived(alert) => alert,
        _ => return false,
    };
    matches!(
        alert,
        AlertDescription::UnknownCA | AlertDescription::DecryptError
    )
}

fn certificate(error: &CertificateError, dialled: &str, shown: Option<&Certificate>) -> String {
    match error {
        CertificateError::NotValidForNameContext { presented, .. } => {
            let found = names(presented);
            let found = if found.is_empty() { "no name" } else { &found };
            format!(
                "the certificate of {dialled} is valid for {found} only: connect to one of these, or add \
                 what you dial on the cloud: `cloudcore cert add-san NAME` until its next start, \
                 advertiseAddress or dnsNames in cloudcore.yaml for good"
            )
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "{dialled} shows {}, which is not by the cluster's CA: either something terminates TLS in \
             between (let it pass TCP through), or the cloud has a new CA (join again)",
            who(shown)
        ),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {dialled} expired at {} and the clock here says {}: renew it on the \
             cloud, or set the clock",
            timestamp(*not_after),
            timestamp(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate of {dialled} is valid from {} but the clock here says {}: set the clock",
            timestamp(*not_before),
            timestamp(*time)
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!(
                "the certificate of {dialled} is not made for a server: give cloudcore one with \
                 serverAuth, or remove it and let cloudcore make its own"
            )
        }
        error => format!(
            "the certificate of {dialled} cannot be accepted ({error}): replace it on the cloud"
        ),
    }
}

fn refused(alert: AlertDescription, dialled: &str) -> String {
    match alert {
        AlertDescription::CertificateRequired => format!(
            "{dialled} asks for a certificate and got none: something terminates TLS in between, or \
             this device has to join first"
        ),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => format!(
            "{dialled} does not know the CA of this device's certificate: join again with a token of \
             that cloud"
        ),
        AlertDescription::CertificateExpired => format!(
            "{dialled} finds this device's certificate expired or not yet valid: compare the clocks \
             of both machines, else join again with a fresh token"
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => format!(
            "{dialled} refuses this device's certificate ({alert:?}): join again with a fresh token"
        ),
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => format!(
            "{dialled} and this device have no TLS version or cipher in common: update the older one"
        ),
        alert => format!(
            "{dialled} ended the TLS handshake ({alert:?}): look at the log there, and what is in between"
        ),
    }
}

/// rustls gives `DnsName("a")` and `IpAddress(192.0.2.1)`: the words around the names go, and so
/// does the empty name.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name
            .split_once('(')
            .map_or(name.as_str(), |(_, behind)| behind);
        inner.trim_end_matches(')').trim_matches('"').to_owned()
    };
    let mut names: Vec<String> = presented.iter().map(bare).collect();
    names.retain(|name| !name.is_empty());
    names.truncate(MAX_NAMES);
    names.join(", ")
}

/// Names that are listed; a certificate can hold thousands.
const MAX_NAMES: usize = 20;
/// Characters of a name.
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::chain::unix_time;
    use crate::system::clock::Timestamp;
    use rustls::InvalidMessage;

    #[test]
    fn each_cause_has_its_remedy() {
        let (early, late) = (Timestamp::from_unix(0), Timestamp::from_unix(86_400));
        let name = rustls::pki_types::ServerName::try_from("cloud.example").unwrap();
        let presented = [
            r#"DnsName("")"#,
            r#"DnsName("a.example")"#,
            "IpAddress(192.0.2.1)",
        ];
        let cases: [(Error, &[&str]); 8] = [
            (
                CertificateError::NotValidForNameContext {
                    expected: name.to_owned(),
                    presented: presented.map(str::to_owned).to_vec(),
                }
                .into(),
                &[
                    "valid for a.example, 192.0.2.1 only",
                    "cert add-san NAME",
                    "advertiseAddress",
                ],
            ),
            (
                CertificateError::UnknownIssuer.into(),
                &["shows a certificate, which", "terminates TLS", "join again"],
            ),
            (
                CertificateError::NotValidYetContext {
                    time: unix_time(early),
                    not_before: unix_time(late),
                }
                .into(),
                &[
                    "valid from 1970-01-02T00:00:00Z",
                    "says 1970-01-01T00:00:00Z",
                    "set the clock",
                ],
            ),
            (
                CertificateError::ExpiredContext {
                    time: unix_time(late),
                    not_after: unix_time(early),
                }
                .into(),
                &["expired at 1970-01-01T00:00:00Z", "renew"],
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                &["does not speak TLS"],
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                &["got none"],
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                &["does not know the CA", "join again"],
            ),
            (Error::DecryptError, &["failed"]),
        ];
        for (error, parts) in cases {
            let text = explain(&error, "cloud.example:10000", None);
            assert!(text.contains("cloud.example:10000"), "{text}");
            assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
            for part in parts {
                assert!(text.contains(part), "{part:?} is missing: {text}");
            }
        }
    }

    #[test]
    fn a_certificate_without_names_and_one_with_thousands() {
        assert_eq!(names(&[]), "");
        let many = vec![r#"DnsName("a")"#.to_owned(); 5_000];
        assert_eq!(names(&many).matches('a').count(), MAX_NAMES);
    }
}

//! What time the cloud says it is, and requests that time alone was against.

use super::{CA_PATH, CertificateApi, EnrollError, Reply};
use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::tls::{self, Presented};
use crate::system::clock::{Clock, Refused, Timestamp, Word, http_date};

impl CertificateApi {
    /// Asks the cloud what time it is. A certificate of the server that is good in every way but time
    /// is no fault here; what it then says is believed as far as `Clock::hear` goes.
    pub fn ask_time(&self, ca: &Certificate) -> Result<(), EnrollError> {
        self.learn_time(ca).map_err(|unlearned| match unlearned {
            Unlearned::Failed(error) => error,
            Unlearned::Silent => self.about_time("it does not say what time it is".to_owned()),
            Unlearned::Refused(refused) => self.about_time(refused.to_string()),
        })
    }

    fn learn_time(&self, ca: &Certificate) -> Result<(), Unlearned> {
        let presented = Presented::default();
        let config = tls::client_but_for_time(std::slice::from_ref(ca), &self.clock, &presented);
        let config = config.map_err(|e| Unlearned::Failed(self.no_tls(e)))?;
        let answer = self.get(config, CA_PATH, &[], b"");
        let date = answer.map_err(Unlearned::Failed)?.date;
        let word = date.and_then(|date| word(date, &presented, ca, &self.clock));
        let word = word.ok_or(Unlearned::Silent)?;
        self.clock.hear(word).map_err(Unlearned::Refused)
    }

    /// A request on a connection that is trusted. When time alone is against that, the cloud is asked
    /// for it, and then the request is made once more.
    pub(super) fn ask(
        &self,
        trusted: &[Certificate],
        identity: Option<(&Certificate, &PrivateKey)>,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, EnrollError> {
        // Both CAs of a rotation are the same cloud's.
        let ca = trusted
            .first()
            .ok_or_else(|| self.no_tls(PkiError::UnknownCa))?;
        let presented = Presented::default();
        let ask = || {
            let config = tls::client_observed(trusted, identity, &self.clock, &presented);
            let config = config.map_err(|e| self.no_tls(e))?;
            let answer = self.get(config, path, headers, body)?;
            if let Some(date) = answer.date {
                take_word(date, &presented, ca, &self.clock);
            }
            Ok(answer)
        };
        match ask() {
            Err(fault @ EnrollError::Time { .. }) => match self.learn_time(ca) {
                Ok(()) => ask(),
                Err(Unlearned::Refused(refused @ Refused::Passed { .. })) => {
                    Err(self.about_time(refused.to_string()))
                }
                // The clock here is as it should be: then the certificate is not.
                Err(_) => Err(fault),
            },
            Err(EnrollError::Foreign { .. }) => Err(self.in_between(trusted, &presented)),
            answered => answered,
        }
    }

    /// Why the server's certificate is not by the CA that it should be by, as far as this can be found
    /// out: whoever answers is asked for the CA, as anybody may.
    fn in_between(&self, trusted: &[Certificate], presented: &Presented) -> EnrollError {
        let shown = presented.certificate();
        let (endpoint, dialled) = (self.endpoint.clone(), self.endpoint.to_string());
        let cause = match self.meet_ca() {
            Err(portal @ EnrollError::Portal { .. }) => return portal,
            Ok(ca) if trusted.contains(&ca) => tls::terminated(&dialled, shown.as_ref()),
            _ => tls::explain(&tls::unknown_issuer(), &dialled, shown.as_ref()),
        };
        EnrollError::Foreign { endpoint, cause }
    }

    fn about_time(&self, cause: String) -> EnrollError {
        EnrollError::Time {
            endpoint: self.endpoint.clone(),
            cause,
        }
    }
}

/// Why the cloud was of no help with the time.
enum Unlearned {
    Failed(EnrollError),
    /// It does not say.
    Silent,
    Refused(Refused),
}

/// What a server says of the time, with what its certificate says of itself.
fn word(date: Timestamp, server: &Presented, ca: &Certificate, clock: &Clock) -> Option<Word> {
    let certificate = server.certificate()?;
    let since = certificate.not_before().max(ca.not_before());
    let until = certificate.not_after().min(ca.not_after());
    let now = clock.now();
    Some(Word {
        date,
        valid: (since, until),
        but_for_time: now < since || now > until,
    })
}

/// Takes the word of a server that is trusted; one that can't be believed is worth a line, no more.
pub fn take_word(date: Timestamp, server: &Presented, ca: &Certificate, clock: &Clock) {
    if let Some(word) = word(date, server, ca, clock)
        && let Err(refused) = clock.hear(word)
    {
        log::debug!("{refused}");
    }
}

/// The moment that a `Date` header names.
pub fn date(value: &[u8]) -> Option<Timestamp> {
    http_date::parse(std::str::from_utf8(value).ok()?)
}

//! Reports that are posted: of upgrades that keadm does for jobs of v1alpha1, and for clouds before v1.16.

use super::{CertificateApi, EnrollError};
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::tls::{self, Presented};

impl CertificateApi {
    /// Tells the cloud, with the node's certificate, how something went; `content` is JSON.
    pub fn report(
        &self,
        trusted: &[Certificate],
        identity: (&Certificate, &PrivateKey),
        path: &str,
        content: &str,
    ) -> Result<(), EnrollError> {
        let presented = Presented::default();
        let config = tls::client_observed(trusted, Some(identity), &self.clock, &presented);
        let config = config.map_err(|e| self.no_tls(e))?;
        let agent = self.agent(self.connector(config)?);
        let request = agent.post(format!("https://{}{path}", self.endpoint));
        let request = request.header("Content-Type", "application/json");
        let sent = request.send(content.as_bytes());
        let answer = self.read(sent.map_err(|e| self.failed(e))?)?;
        self.success(answer).map(drop)
    }
}

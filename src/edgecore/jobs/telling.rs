//! Tells the cloud how the steps of jobs went: over the session, or by HTTPS where it hears of it like that.

use std::time::Duration;

use serde_json::Value;

use super::Desk;
use super::record::Said;
use crate::edgecore::edge::Failure;
use crate::edgecore::identity::IdentityError;
use crate::protocol::enrollment::{CertificateApi, EnrollError};
use crate::protocol::message::Message;

impl Desk {
    /// Sends what the cloud has not been told, if there is a session, and forgets what has arrived.
    pub(super) async fn tell(&mut self) {
        self.delivery.over(self.edge.requests.session());
        let acknowledged = self.edge.jobs.acknowledged.take();
        let ids = acknowledged.iter();
        let mut arrived: usize = ids.map(|id| self.delivery.acknowledged(id)).sum();
        let (asked, answered) = self.edge.requests.heard(self.delivery.session());
        if !self.is_acknowledged() {
            arrived += self.delivery.answered(answered);
        }
        self.record.unsent.drain(..arrived);
        let mut sent = false;
        if let Some(outgoing) = self.edge.requests.outgoing() {
            arrived += self.post_first().await;
            for said in self.record.unsent.iter().skip(self.delivery.count()) {
                if said.history.is_some() {
                    break;
                }
                let Some(message) = said.message(self.edge.host.clock.stamp()) else {
                    break;
                };
                let id = message.header.id.clone();
                if outgoing.try_send(message).is_err() {
                    break;
                }
                self.delivery.add(id, asked);
                sent = true;
            }
        }
        if sent && !self.is_acknowledged() {
            self.have_answered();
        }
        if arrived > 0 {
            self.save().await;
        }
    }

    /// Asks what every cloud answers, at once: then what was sent before has been read.
    fn have_answered(&self) {
        let edge = self.edge.clone();
        let lease = format!("kube-node-lease/lease/{}", edge.settings.node);
        let now = edge.host.clock.stamp();
        let question = Message::of_edged(now, "query", &lease, &Value::Null);
        self.edge.spawn(async move {
            // Without an answer the next one to another question will do.
            if edge.requests.ask(question, PATIENCE).await.is_ok() {
                edge.jobs.session.raise();
            }
        });
    }

    /// Posts the first reports, as far as they are for a cloud that hears of them like that; how many arrived.
    async fn post_first(&mut self) -> usize {
        let mut count = 0;
        while let Some(said) = self.record.unsent.first().filter(|it| it.history.is_some()) {
            match self.post(said).await {
                Err(failure) if !is_answer(&failure) => {
                    self.edge.state.problem(&failure, true);
                    break;
                }
                Err(failure) => log::warn!("the cloud does not take the end of a job: {failure}"),
                Ok(()) => {}
            }
            self.record.unsent.remove(0);
            count += 1;
        }
        count
    }

    async fn post(&self, said: &Said) -> Result<(), Failure> {
        let (Some(address), Some(history)) = (said.address(), &said.history) else {
            return Ok(());
        };
        let (path, end) = said.report.of_the_end(&address, history);
        let identity = self.edge.identity.borrow().clone();
        let identity = identity.ok_or(IdentityError::Absent)?;
        let end = end.to_string();
        let report = move |api: &CertificateApi| {
            let own = (&identity.certificate, &identity.key);
            api.report(&identity.trusted(), own, path, &end)
        };
        self.edge.api(report).await
    }

    /// The cloud of the present session says when it has written a report down.
    fn is_acknowledged(&self) -> bool {
        self.edge.terms.get().is_some_and(|terms| terms.reports)
    }

    /// Nothing wakes us: the line was full, or it is only seen by looking what has arrived.
    pub(super) fn has_to_look(&self) -> bool {
        let (all, under_way) = (self.record.unsent.len(), self.delivery.count());
        let waits = all > under_way || (under_way > 0 && !self.is_acknowledged());
        waits && self.edge.requests.session().is_some()
    }
}

/// The cloud has heard it, whatever it makes of it: so there is nothing to say again.
fn is_answer(failure: &Failure) -> bool {
    match failure {
        Failure::Api(EnrollError::Status { .. }) => true,
        Failure::Each(failures) => failures.iter().any(is_answer),
        failure => !failure.retryable(),
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

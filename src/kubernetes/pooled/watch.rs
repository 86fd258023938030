//! A watch on a connection of its own, which is cut when it stays silent for too long.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use smol::Timer;
use smol::future::or;
use smol::lock::SemaphoreGuardArc;

use super::Inner;
use super::connection::{self, Sender, message, raw};
use crate::kubernetes::exchange::{Fault, judge_refusal};
use crate::kubernetes::lines::Lines;
use crate::kubernetes::login::Shown;
use crate::kubernetes::request::WATCH_SECONDS;
use crate::kubernetes::{CallError, Calling, Event, Events, Request};
use crate::pki::tls::Presented;

struct Watch {
    body: Incoming,
    lines: Lines,
    presented: Presented,
    server: String,
    /// Without a byte, after which nobody is there any more.
    silence: Duration,
    /// The connection ends with it.
    _sender: Sender,
    _place: SemaphoreGuardArc,
}

pub async fn open(inner: &Inner, request: &Request) -> Result<Box<dyn Events>, CallError> {
    let place = inner.watches.try_acquire_arc().ok_or(CallError::Busy)?;
    let opened = async {
        let mut shown = inner.show().await?;
        let mut answered = begin(inner, request, &shown).await?;
        if answered.0.status() == 401
            && let Some(other) = inner.renew(&shown).await?
        {
            shown = other;
            answered = begin(inner, request, &shown).await?;
        }
        Ok((shown, answered))
    };
    let late = async {
        Timer::after(request.timeout).await;
        Err(CallError::Unreachable {
            server: inner.holder.access.server.to_string(),
            cause: format!("no watch within {} s", request.timeout.as_secs_f32()),
        })
    };
    let (shown, (response, sender)) = or(opened, late).await?;
    let server = inner.holder.access.server.to_string();
    if response.status() != 200 {
        let read = raw(response, MAX_REFUSAL, &shown.tls.presented);
        let late = async {
            Timer::after(request.timeout).await;
            Err(Fault::Broken("half an answer".to_owned()))
        };
        let raw = or(read, late).await;
        return Err(judge_refusal(raw.map_err(|it| it.of_watch(server))?));
    }
    Ok(Box::new(Watch {
        body: response.into_body(),
        lines: Lines::default(),
        presented: shown.tls.presented.clone(),
        server,
        silence: silence(request),
        _sender: sender,
        _place: place,
    }))
}

async fn begin(
    inner: &Inner,
    request: &Request,
    shown: &Arc<Shown>,
) -> Result<(hyper::Response<Incoming>, Sender), CallError> {
    let begun = async {
        let message = message(request, shown, &inner.holder.access)?;
        let mut sender = inner.connect(&shown.tls).await?;
        match sender.send_request(message).await {
            Ok(response) => Ok((response, sender)),
            Err(error) => Err(connection::fault(&error, &shown.tls.presented)),
        }
    };
    let server = || inner.holder.access.server.to_string();
    begun.await.map_err(|fault: Fault| fault.of_watch(server()))
}

/// The cluster ends the watch by itself before.
fn silence(request: &Request) -> Duration {
    let asked = request
        .query
        .iter()
        .find(|(key, _)| *key == "timeoutSeconds");
    let asked = asked.and_then(|(_, seconds)| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(WATCH_SECONDS)) + GRACE
}

impl Watch {
    async fn event(&mut self) -> Result<Option<Event>, CallError> {
        loop {
            if let Some(event) = self.lines.take()? {
                return Ok(Some(event));
            }
            let silence = self.silence;
            let next = or(connection::data(&mut self.body, &self.presented), async {
                Timer::after(silence).await;
                Err(Fault::Broken(format!(
                    "nothing for {} s",
                    silence.as_secs()
                )))
            });
            match next.await {
                Ok(Some(bytes)) => self.lines.add(&bytes),
                Ok(None) if self.lines.is_cut() => {
                    let cut = Fault::Broken("a watch that ends within an event".to_owned());
                    return Err(cut.of_watch(self.server.clone()));
                }
                Ok(None) => return Ok(None),
                Err(fault) => return Err(fault.of_watch(self.server.clone())),
            }
        }
    }
}

impl Events for Watch {
    fn next(&mut self) -> Calling<'_, Option<Event>> {
        Box::pin(self.event())
    }
}

const GRACE: Duration = Duration::from_secs(30);
/// Bytes of an answer to a watch that is not opened.
const MAX_REFUSAL: usize = 64 * 1024;

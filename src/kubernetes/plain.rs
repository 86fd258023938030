//! A way to a cluster that blocks, over ureq: for commands, which have nothing else to do.

use std::future::ready;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use smol::Timer;
use smol::future::or;
use ureq::Agent;
use ureq::http::HeaderValue;

use super::access::Access;
use super::exchange::{self, Carrier, Carrying, Fault, MAX_BODY, Raw, headers};
use super::login::{Holder, Shown};
use super::{Answer, Api, CallError, Calling, Events, Method, Request};
use crate::pki::tls;
use crate::system::cause;
use crate::system::clock::Clock;
use crate::system::https::{self, Nowhere, Pinned, Wiped};
use crate::system::uplink::Uplink;
use crate::system::way::Way;

/// Every future is ready when it is polled first: it blocks until then. It opens no watches.
pub struct Plain {
    holder: Holder,
    way: Way,
}

/// The result of a call, waited for on this thread.
pub fn wait<T>(calling: Calling<'_, T>) -> Result<T, CallError> {
    smol::block_on(calling)
}

impl Plain {
    pub fn new(access: Access, clock: &Clock) -> Plain {
        let way = Way {
            uplink: Uplink::default(),
            proxy: access.proxy.clone(),
        };
        Plain {
            holder: Holder::new(access, clock),
            way,
        }
    }

    pub fn access(&self) -> &Access {
        &self.holder.access
    }

    /// `Api::call`, waited for.
    pub fn ask(&self, request: &Request) -> Result<Answer, CallError> {
        smol::block_on(exchange::call(self, request))
    }

    fn once(&self, request: &Request, shown: &Shown) -> Result<Raw, Fault> {
        let until = Instant::now() + request.timeout;
        let server = &self.access().server;
        let reached = smol::block_on(or(
            async {
                self.way
                    .connect(&server.endpoint, &[])
                    .await
                    .map_err(|it| Fault::of_network(&it))
            },
            async {
                Timer::at(until).await;
                Err(Fault::NotSent("no connection in time".to_owned()))
            },
        ))?;
        let socket = https::blocking(reached.stream);
        let socket = socket.map_err(|error| Fault::NotSent(cause::of(&error)))?;
        let (config, name) = (shown.tls.config.clone(), shown.tls.name.clone());
        let connector = Pinned::new(config, name, Box::new(()), socket, until);
        let handshaken = connector.handshaken();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .https_only(true)
            .max_idle_connections(0)
            .timeout_global(Some(until.saturating_duration_since(Instant::now())))
            .build();
        let agent = Agent::with_parts(config, connector, Nowhere);
        self.exchange(&agent, request, shown)
            .map_err(|error| self.fault(error, request, shown, handshaken.get().is_some()))
    }

    fn exchange(
        &self,
        agent: &Agent,
        request: &Request,
        shown: &Shown,
    ) -> Result<Raw, ureq::Error> {
        let url = format!("{}{}", self.access().server, request.target());
        let headers = headers(request, shown, self.access().impersonation.as_ref());
        let body = request.body.as_ref().map(|body| body.bytes.as_slice());
        let without = match request.method {
            Method::Get => Some(agent.get(&url)),
            Method::Delete => Some(agent.delete(&url)),
            _ => None,
        };
        let mut response = match (without, body) {
            (Some(mut call), None) => {
                for (name, value) in &headers {
                    call = call.header(*name, Wiped(value));
                }
                call.call()?
            }
            (without, body) => {
                let mut call = match (without, request.method) {
                    (Some(call), _) => call.force_send_body(),
                    (None, Method::Put) => agent.put(&url),
                    (None, Method::Patch) => agent.patch(&url),
                    (None, _) => agent.post(&url),
                };
                for (name, value) in &headers {
                    call = call.header(*name, Wiped(value));
                }
                call.send(body.unwrap_or_default())?
            }
        };
        let known = response.headers();
        let retry_after = known.get("retry-after").map(HeaderValue::as_bytes);
        let warnings = known.get_all("warning").iter().map(HeaderValue::as_bytes);
        Ok(Raw {
            status: response.status().as_u16(),
            retry_after: retry_after.and_then(exchange::retry_after),
            warnings: exchange::warnings(warnings),
            body: response
                .body_mut()
                .with_config()
                .limit(MAX_BODY as u64)
                .read_to_vec()?,
        })
    }

    fn fault(&self, error: ureq::Error, request: &Request, shown: &Shown, sent: bool) -> Fault {
        let io = match error {
            ureq::Error::Io(io) => io,
            ureq::Error::BodyExceedsLimit(_) => return Fault::TooLong { limit: MAX_BODY },
            ureq::Error::Http(error) => {
                return Fault::Credentials(format!(
                    "what is to be sent fits into no request ({error}): see `as`, `username` and \
                     `token` of the kubeconfig"
                ));
            }
            ureq::Error::Timeout(_) => io::ErrorKind::TimedOut.into(),
            ureq::Error::ConnectionFailed => return Fault::NotSent(error.to_string()),
            other => return Fault::Strange(other.to_string()),
        };
        if let Some(fault) = tls::tls_error(&io) {
            return Fault::of_tls(fault, &shown.tls.presented, sent);
        }
        let cause = match io.kind() {
            io::ErrorKind::TimedOut => format!("nothing within {} s", request.timeout.as_secs()),
            _ => cause::of(&io),
        };
        match sent {
            true => Fault::Broken(cause),
            false => Fault::NotSent(cause),
        }
    }
}

impl Api for Plain {
    fn call<'a>(&'a self, request: &'a Request) -> Calling<'a, Answer> {
        Box::pin(async move { self.ask(request) })
    }

    fn watch<'a>(&'a self, _request: &'a Request) -> Calling<'a, Box<dyn Events>> {
        let sentence = "this way opens no watches";
        Box::pin(ready(Err(CallError::Strange(sentence.to_owned()))))
    }
}

impl Carrier for Plain {
    fn server(&self) -> String {
        self.access().server.to_string()
    }

    fn show(&self) -> Carrying<'_, Arc<Shown>, CallError> {
        Box::pin(ready(self.holder.show()))
    }

    fn renew<'a>(&'a self, refused: &'a Arc<Shown>) -> Carrying<'a, Option<Arc<Shown>>, CallError> {
        Box::pin(ready(self.holder.renew(refused)))
    }

    fn carry<'a>(&'a self, request: &'a Request, shown: Arc<Shown>) -> Carrying<'a, Raw, Fault> {
        Box::pin(ready(self.once(request, &shown)))
    }
}

//! What Prometheus and a kubelet read: `/metrics`, `/healthz`, `/readyz`, on an address of this machine.

use std::fmt::{Display, Write};
use std::future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use smol::Timer;
use smol::future::{FutureExt, or};

use super::cloud::{Cloud, Stop};
use super::descriptors::Descriptors;
use super::http::{self, Rest};
use super::listener::Listener;
use super::metrics::{BOUNDS, Histogram, Labelled, Latencies, ROUTES};
use super::places::Places;
use crate::pki::certificate::Certificate;
use crate::protocol::transport::Transport;
use crate::system::clock::Timestamp;

/// Answers `GET /metrics` until cloudcore stops.
pub async fn serve(cloud: Arc<Cloud>, listener: Listener) {
    // Their descriptors are kept for them.
    let places = Places::new(MAX_READERS, MAX_READERS, &Descriptors::new(u64::MAX));
    loop {
        let accepted = or(async { Some(listener.accept().await) }, async {
            cloud.stop.wait().await;
            None
        });
        let Some((mut stream, peer)) = accepted.await else {
            return;
        };
        let Ok(place) = places.take(peer.ip(), &stream) else {
            continue;
        };
        let shared = cloud.clone();
        cloud.spawn(async move {
            let answer = |request| answer(&shared, request).boxed();
            http::serve(&mut stream, &shared.stop, &answer).await;
            drop(place);
        });
    }
}

async fn answer(cloud: &Cloud, request: Request<Incoming>) -> (http::Answer, Rest) {
    if http::without_host(&request) {
        let answer = http::text(StatusCode::BAD_REQUEST, http::ONE_HOST);
        return (answer, Rest::Unread);
    }
    match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET) => {
            let page = render(cloud);
            (http::typed(StatusCode::OK, FORMAT, page), Rest::Read)
        }
        ("/healthz", &Method::GET) => (http::text(StatusCode::OK, "ok"), Rest::Read),
        ("/readyz", &Method::GET) => (readiness(ready(cloud).await), Rest::Read),
        ("/metrics" | "/healthz" | "/readyz", _) => (http::wrong_method("GET"), Rest::Unread),
        _ => {
            let answer = http::text(StatusCode::NOT_FOUND, "try /metrics");
            (answer, Rest::Unread)
        }
    }
}

/// Whether certificates and tunnels are served as they should; the error is a sentence.
async fn ready(cloud: &Cloud) -> Result<(), String> {
    let now = cloud.clock.now();
    let ended = |certificate: &Certificate| certificate.not_after() <= now;
    if cloud.stop.is_asked() {
        return Err("cloudcore stops".to_owned());
    }
    if ended(&cloud.authority.ca()) {
        return Err("the CA has ended: give the cloud another".to_owned());
    }
    if ended(&cloud.authority.serving_certificate()) {
        return Err(
            "the serving certificate has ended: see the log for why none is made".to_owned(),
        );
    }
    if !cloud.nodes.is_ready() {
        return Err("what nodes are to be told is not known yet".to_owned());
    }
    match &cloud.cluster {
        Some(cluster) => cluster.ready().await,
        None => Ok(()),
    }
}

fn readiness(outcome: Result<(), String>) -> http::Answer {
    match outcome {
        Ok(()) => http::text(StatusCode::OK, "ok"),
        Err(sentence) => http::text(StatusCode::SERVICE_UNAVAILABLE, sentence),
    }
}

/// Tells that cloudcore lives and is not ready, until this is dropped; one reader after another, each
/// for a moment.
pub async fn serve_waiting<T>(listener: &Listener, why: &Mutex<String>) -> T {
    let (stop, _stopper) = Stop::new();
    loop {
        let (mut stream, _) = listener.accept().await;
        let answer = |request: Request<Incoming>| {
            let why = why.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let answer = match request.uri().path() {
                "/healthz" => http::text(StatusCode::OK, "ok"),
                _ => readiness(Err(why)),
            };
            future::ready((answer, Rest::Unread)).boxed()
        };
        let answered = async {
            http::serve(&mut stream, &stop, &answer).await;
        };
        or(answered, async {
            Timer::after(MOMENT).await;
        })
        .await;
    }
}

/// All metrics in Prometheus' text format.
pub fn render(cloud: &Cloud) -> String {
    let (metrics, now) = (&cloud.metrics, cloud.clock.now());
    let left = |end: Timestamp| end.since(now).as_secs();
    let sessions = cloud.registry.sessions();
    let mut page = Page::default();
    page.gauge("kubeedge_sessions", "Edges with a session.", sessions);
    page.gauge(
        "kubeedge_sessions_quic",
        "Those of them whose tunnel is over QUIC.",
        cloud.registry.sessions_over(Transport::Quic),
    );
    page.counter(
        "kubeedge_quic_retries_total",
        "Callers over QUIC that had to prove their address first.",
        &[("", metrics.validations.get())],
    );
    page.gauge(
        "KubeEdge_CloudHub_connected_nodes",
        "The same, by KubeEdge's name.",
        sessions,
    );
    page.gauge(
        "kubeedge_sessions_limit",
        "Edges that may have one.",
        cloud.registry.limit(),
    );
    page.counter(
        "kubeedge_sessions_replaced_total",
        "Sessions that took the place of one that was up.",
        &[("", cloud.registry.replaced())],
    );
    page.counter(
        "kubeedge_certificates_issued_total",
        "Certificates issued to edges.",
        &[
            ("by=\"token\"", metrics.issued_by_token.get()),
            ("by=\"renewal\"", metrics.issued_by_renewal.get()),
        ],
    );
    page.counter(
        "kubeedge_certificates_renewed_after_expiry_total",
        "Those of the renewals whose certificate had ended (--renew-after-expiry).",
        &[("", metrics.renewed_late.get())],
    );
    let name = "kubeedge_certificates_refused_total";
    page.labelled(
        name,
        "Requests for certificates refused.",
        &metrics.refused_certificates,
    );
    page.counter(
        "kubeedge_keys_replaced_total",
        "Names that a token gave to another key.",
        &[("", metrics.keys_replaced.get())],
    );
    page.counter(
        "kubeedge_keys_revoked_total",
        "Nodes whose keys were revoked.",
        &[("", metrics.keys_revoked.get())],
    );
    page.gauge(
        "kubeedge_token_valid_seconds",
        "Validity left of the join token that was made last; 0 when none was.",
        metrics.token_until().map_or(0, left),
    );
    page.gauge(
        "kubeedge_ca_valid_seconds",
        "Validity left of the CA.",
        left(cloud.authority.ca().not_after()),
    );
    page.gauge(
        "kubeedge_serving_certificate_valid_seconds",
        "Validity left of the serving certificate.",
        left(cloud.authority.serving_certificate().not_after()),
    );
    page.counter(
        "kubeedge_messages_total",
        "Messages on the tunnels.",
        &[
            ("direction=\"up\"", metrics.messages_up.get()),
            ("direction=\"down\"", metrics.messages_down.get()),
        ],
    );
    page.counter(
        "kubeedge_messages_malformed_total",
        "Frames from edges that were no messages.",
        &[("", metrics.malformed.get())],
    );
    page.counter(
        "kubeedge_resources_malformed_total",
        "Messages about resources that have no proper name, which are skipped.",
        &[("", metrics.unnamed.get())],
    );
    page.counter(
        "kubeedge_requests_denied_total",
        "Requests of edges for what is not their own.",
        &[("", metrics.denied.get())],
    );
    page.counter(
        "kubeedge_requests_excess_total",
        "What edges wanted kept above the bounds for one of them, which is not.",
        &[("", metrics.excess.get())],
    );
    page.counter(
        "kubeedge_events_total",
        "Events that edges reported.",
        &[("", metrics.events.get())],
    );
    page.counter(
        "kubeedge_events_dropped_total",
        "Events of edges for which there was no room on the way to the cluster.",
        &[("", metrics.events_dropped.get())],
    );
    if let Some(cluster) = &cloud.cluster {
        page.requests(&cluster.calls());
    }
    page.gauge(
        "kubeedge_cluster_known",
        "Whether what nodes are to be told is known: 1, or 0.",
        u8::from(cloud.nodes.is_ready()),
    );
    page.counter(
        "kubeedge_cluster_refused_total",
        "Requests of nodes that had too many at a time.",
        &[("", metrics.cluster_busy.get())],
    );
    page.counter(
        "kubeedge_pushes_total",
        "Objects sent to edges, and sent again for want of an acknowledgement.",
        &[
            ("time=\"first\"", metrics.pushes.get()),
            ("time=\"again\"", metrics.pushes_repeated.get()),
        ],
    );
    let (objects, gone) = cloud.nodes.counts();
    page.gauge(
        "kubeedge_objects",
        "Objects that this cloud keeps.",
        objects,
    );
    page.gauge(
        "kubeedge_objects_gone",
        "Objects that some edge still has to forget.",
        gone,
    );
    page.gauge(
        "kubeedge_partial_message_budget_bytes",
        "What is left for partly received messages.",
        cloud.budget.left(),
    );
    let name = "kubeedge_tunnels_refused_total";
    page.labelled(
        name,
        "Connections to the hub without a session.",
        &metrics.refused_tunnels,
    );
    let name = "kubeedge_connections_refused_total";
    page.labelled(
        name,
        "Connections that found no place.",
        &metrics.refused_connections,
    );
    let name = "kubeedge_connections_cut_total";
    page.labelled(
        name,
        "Connections that kept us waiting longest, cut for newer ones.",
        &metrics.cut_connections,
    );
    let name = "kubeedge_connections_failed_total";
    page.labelled(
        name,
        "Connections to the certificate port that came to no answer.",
        &metrics.failed_connections,
    );
    let name = "kubeedge_requests_refused_total";
    page.labelled(
        name,
        "Requests refused, those for certificates not included.",
        &metrics.refused_requests,
    );
    let name = "kubeedge_requests_limited_total";
    page.labelled(
        name,
        "Requests answered with 429 or 503 because too many failed.",
        &metrics.limited_requests,
    );
    page.gauge(
        "kubeedge_outbox_bytes",
        "What waits for edges to read it, above what each may hold anyway.",
        cloud.outboxes.bytes(),
    );
    let name = "kubeedge_sessions_ended_total";
    page.labelled(name, "Sessions that ended.", &metrics.ended_sessions);
    page.gauge(
        "kubeedge_connections",
        "Connections, those of sessions included.",
        cloud.descriptors.used(),
    );
    page.gauge(
        "kubeedge_connections_limit",
        "Connections that the limit on open files allows.",
        cloud.descriptors.limit(),
    );
    page.counter(
        "kubeedge_reports_total",
        "Reports on jobs, which are dropped.",
        &[
            ("taken=\"true\"", metrics.reports_taken.get()),
            ("taken=\"false\"", metrics.reports_refused.get()),
        ],
    );
    page.latencies(&metrics.requests);
    page.0
}

/// The text so far.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.line(format_args!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, values: &[(&str, u64)]) {
        self.head(name, help, "counter");
        for (label, value) in values {
            if label.is_empty() {
                self.line(format_args!("{name} {value}"));
            } else {
                self.line(format_args!("{name}{{{label}}} {value}"));
            }
        }
    }

    fn labelled(&mut self, name: &str, help: &str, counters: &Labelled) {
        self.head(name, help, "counter");
        for (reason, count) in counters.get() {
            self.line(format_args!("{name}{{reason=\"{reason}\"}} {count}"));
        }
    }

    fn requests(&mut self, counts: &[(&str, &str, u64)]) {
        let name = "kubeedge_api_requests_total";
        self.head(name, "Requests to the cluster's API.", "counter");
        for (verb, result, count) in counts {
            self.line(format_args!(
                "{name}{{verb=\"{verb}\",result=\"{result}\"}} {count}"
            ));
        }
    }

    fn latencies(&mut self, all: &[Latencies; ROUTES.len()]) {
        let name = "kubeedge_request_seconds";
        self.head(
            name,
            "Time from a request's head to its answer.",
            "histogram",
        );
        for (route, latencies) in ROUTES.iter().zip(all) {
            let Histogram { counts, sum } = latencies.get();
            let mut total = 0;
            for (place, count) in counts.iter().enumerate() {
                total += count;
                match BOUNDS.get(place) {
                    Some(le) => self.line(format_args!(
                        "{name}_bucket{{route=\"{route}\",le=\"{le}\"}} {total}"
                    )),
                    None => self.line(format_args!(
                        "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {total}"
                    )),
                }
            }
            let sum = sum.as_secs_f64();
            self.line(format_args!("{name}_sum{{route=\"{route}\"}} {sum}"));
            self.line(format_args!("{name}_count{{route=\"{route}\"}} {total}"));
        }
    }
}

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
const MAX_READERS: usize = 16;
/// For one reader, while there is nothing to read.
const MOMENT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::metrics::{Metrics, Route};
    use super::*;

    #[test]
    fn latencies_are_counted_below_their_bounds() {
        let metrics = Metrics::default();
        for micros in [500, 1_000, 1_001, 9_000_000] {
            metrics.request(Route::Node, Duration::from_micros(micros));
        }
        let mut page = Page::default();
        page.latencies(&metrics.requests);
        for line in [
            "kubeedge_request_seconds_bucket{route=\"node\",le=\"0.001\"} 2",
            "kubeedge_request_seconds_bucket{route=\"node\",le=\"0.0025\"} 3",
            "kubeedge_request_seconds_bucket{route=\"node\",le=\"5\"} 3",
            "kubeedge_request_seconds_bucket{route=\"node\",le=\"+Inf\"} 4",
            "kubeedge_request_seconds_sum{route=\"node\"} 9.002501",
            "kubeedge_request_seconds_count{route=\"node\"} 4",
            "kubeedge_request_seconds_count{route=\"ca\"} 0",
        ] {
            assert!(page.0.lines().any(|l| l == line), "{line} in {}", page.0);
        }
    }

    #[test]
    fn reasons_become_labels() {
        let metrics = Metrics::default();
        metrics.refused_certificate("csr");
        let mut page = Page::default();
        page.labelled("x", "X.", &metrics.refused_certificates);
        assert_eq!(
            page.0,
            "# HELP x X.\n# TYPE x counter\nx{reason=\"csr\"} 1\n"
        );
    }
}

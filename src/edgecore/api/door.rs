//! Who may ask, and what is asked.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::answer::{Answer, plain, refusal};
use super::{Desk, discovery, objects, orders, token, watch};
use crate::protocol::local::request::{self, Ask, Unasked};
use crate::protocol::local::{KUBECONFIG, Sort};
use crate::protocol::resource::Kind;

/// The answer to one request; its body, if it has any, is of no interest.
pub async fn answer(desk: &Rc<Desk>, mut request: Request<Incoming>) -> Answer {
    let headers = request.headers();
    // A page in a browser could have another name lead here, or send what it can't read the answer to.
    if headers.contains_key(ORIGIN) || !is_for_us(headers) {
        return refusal(
            StatusCode::FORBIDDEN,
            "Forbidden",
            "only programs on this device may ask",
        );
    }
    let uri = request.uri();
    if request.method() == Method::POST
        && let Ok((token, order)) = request::order(uri.path())
    {
        return match allowed(desk, headers, token.as_deref()) {
            Ok(known) => orders::follow(desk, order, known, request.body_mut()).await,
            Err(()) => wrong_token(),
        };
    }
    if request.method() != Method::GET {
        let message = "what the cloud said can only be read here: change it in the cloud";
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
    }
    let asked = match request::read(uri.path(), uri.query().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(why) => return unasked(&why),
    };
    let Ok(allowed) = allowed(desk, headers, asked.token.as_deref()) else {
        return wrong_token();
    };
    let secret = |sort: &Sort| sort.kind == Kind::Secret && !allowed;
    let meta = &desk.edge.meta;
    match asked.ask {
        Ask::Health | Ask::Get(..) | Ask::List(_) if !meta.is_ready() => {
            let message = "what is stored is not known yet: try again in a moment";
            refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                message,
            )
        }
        Ask::Health => plain("ok"),
        Ask::Version => discovery::version(),
        Ask::Core => discovery::core(),
        Ask::Groups => discovery::groups(),
        Ask::Group(group) => discovery::group(group),
        Ask::Resources(group) => discovery::resources(group),
        Ask::Get(sort, _) if secret(sort) => forbidden(),
        Ask::List(list) if secret(list.sort) => forbidden(),
        Ask::Get(sort, path) => objects::get(desk, sort, path).await,
        Ask::List(list) if list.watch.is_some() => watch::watch(desk, list),
        Ask::List(list) => objects::list(desk, list),
    }
}

/// Whether the token is there; an error when it is a wrong one.
fn allowed(desk: &Desk, headers: &HeaderMap, in_path: Option<&str>) -> Result<bool, ()> {
    let header = headers.get(AUTHORIZATION);
    let header = header.map(|value| value.to_str().unwrap_or_default());
    let header = header.map(|value| value.strip_prefix("Bearer ").unwrap_or_default().trim());
    let given: Vec<&str> = in_path.into_iter().chain(header).collect();
    match given
        .iter()
        .all(|given| token::is_right(given, &desk.token))
    {
        true => Ok(!given.is_empty()),
        false => Err(()),
    }
}

fn wrong_token() -> Answer {
    let message = format!("a wrong token: the right one is in {KUBECONFIG}");
    refusal(StatusCode::UNAUTHORIZED, "Unauthorized", &message)
}

fn forbidden() -> Answer {
    let message = format!(
        "Secrets are shown with the token in {KUBECONFIG} only: use kubectl --kubeconfig {KUBECONFIG}"
    );
    refusal(StatusCode::FORBIDDEN, "Forbidden", &message)
}

fn unasked(why: &Unasked) -> Answer {
    match why {
        Unasked::NotFound => {
            let message = "the server could not find the requested resource";
            refusal(StatusCode::NOT_FOUND, "NotFound", message)
        }
        Unasked::Selector(error) => {
            refusal(StatusCode::BAD_REQUEST, "BadRequest", &error.to_string())
        }
        Unasked::Query => refusal(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "the query can't be understood",
        ),
    }
}

/// Exactly one Host, which is a name of this device for itself.
fn is_for_us(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let host = host.to_str().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && !port.is_empty() => host,
        _ => host,
    };
    ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_the_device_for_itself() {
        let is_for_us = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_static(host));
            }
            is_for_us(&headers)
        };
        for host in [
            "127.0.0.1:10550",
            "localhost:10550",
            "[::1]:10550",
            "localhost",
            "[::1]",
        ] {
            assert!(is_for_us(&[host]), "{host}");
        }
        for host in [
            "",
            "192.0.2.1:10550",
            "evil.example",
            "localhost.evil.example:1",
            "127.0.0.1.evil:1",
            ":1",
        ] {
            assert!(!is_for_us(&[host]), "{host}");
        }
        assert!(!is_for_us(&[]) && !is_for_us(&["localhost", "localhost"]));
    }
}

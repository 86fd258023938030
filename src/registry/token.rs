//! Bearer tokens: asked for where a registry says, with user and password when there are any.

use serde::Deserialize;

use super::client::{Ask, Client, Refusal, later, said};
use super::credentials::Login;
use super::error::RegistryError;
use super::reference::Reference;
use super::url::Url;
use crate::system::paced::Pace;
use crate::system::secret::Secret;

/// The value of `Authorization` that lets us pull from the image's repository.
pub fn fetch(
    client: &Client,
    reference: &Reference,
    registry: &Url,
    (realm, service): (&str, Option<&str>),
    login: Option<&Login>,
) -> Result<Secret<String>, Refusal> {
    let strange = |what: String| RegistryError::Strange {
        server: registry.endpoint.to_string(),
        what,
    };
    let url = Url::parse(realm);
    let url = url.ok_or_else(|| strange("the place of its tokens is no URL".to_owned()))?;
    // A password never goes over plain HTTP, unless the registry itself was allowed to be like that.
    let allowed =
        !url.plain || (registry.plain && (url.is_loopback() || client.options.plain_http));
    if !allowed {
        return Err(strange("its tokens are to be fetched over plain http".to_owned()).into());
    }
    let scope = format!("repository:{}:pull", reference.repository());
    let url = match service {
        Some(service) => url.with_query(&[("service", service)]),
        None => url,
    };
    let url = url.with_query(&[("scope", &scope)]);
    let ask = Ask {
        accept: "application/json",
        from: 0,
        pace: Pace::Within(client.options.patience),
    };
    let header = login.map(Login::header);
    let mut response = client.exchange(&url, header.as_ref(), ask)?;
    let server = url.endpoint.to_string();
    match response.status().as_u16() {
        200 => {}
        status @ (401 | 403) => {
            return Err(RegistryError::Denied {
                server,
                status,
                given: login.is_some(),
                said: said(response.into_body()),
            }
            .into());
        }
        status @ (429 | 500..) => return Err(later(server, format!("{status}"))),
        status => {
            let what = format!("{status} instead of a token");
            return Err(RegistryError::Strange { server, what }.into());
        }
    }
    let body = response.body_mut().with_config().limit(MAX_TOKEN);
    let body = body.read_to_vec().map(Secret::new);
    let body =
        body.map_err(|_| later(server.clone(), "the token did not come whole".to_owned()))?;
    let given: Option<Given> = serde_json::from_slice(&body).ok();
    let token = given.and_then(|given| given.token.or(given.access_token));
    let token = token.map(Secret::new).filter(|token| is_token(token));
    let no_token = || RegistryError::Strange {
        server,
        what: "what it gives is no token".to_owned(),
    };
    let token = token.ok_or_else(no_token)?;
    Ok(Secret::<String>::concat(&["Bearer ", &token]))
}

/// What may stand in a header.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
}

/// Bytes. Some clouds' tokens have several thousand.
const MAX_TOKEN: u64 = 64 * 1024;

//! What an operator does with tokens through the admin socket.

use std::time::Duration;

use log::info;

use super::cloud::Cloud;
use crate::authority::tokens::{self, TokenFacts, Wish};
use crate::protocol::control::{Dial, Reply, Request, TokenLine};
use crate::store::TokenId;
use crate::system::network;
use crate::system::pattern::NodePattern;

/// Makes a token.
pub async fn create(cloud: &Cloud, request: &Request) -> Reply {
    let nodes = request.node.as_deref().map(str::parse::<NodePattern>);
    let nodes = match nodes.transpose() {
        Ok(nodes) => nodes,
        Err(error) => return Reply::refused(error.to_string()),
    };
    let wish = Wish {
        nodes,
        uses: request.uses,
        description: request.description.clone().unwrap_or_default(),
        ..Wish::plain(request.ttl.map_or(LIFE, Duration::from_secs))
    };
    let authority = &cloud.authority;
    let standing = authority.standing();
    let made = tokens::create(
        &**authority.store(),
        &standing.tokens,
        &standing.announced,
        cloud.clock.now(),
        &wish,
    );
    let made = made.await;
    let made = match made {
        Ok(made) => made,
        Err(error) => return Reply::refused(error.to_string()),
    };
    let (id, until) = (&made.record.id, made.record.expires);
    info!("the join token {id} is made, valid until {until}");
    cloud.metrics.token_made(until);
    Reply {
        token: Some(made.token),
        id: Some(id.to_string()),
        dial: dial(cloud),
        ..Reply::done(format!("valid until {until}"))
    }
}

/// Where a device would dial this cloud; nowhere without a hub.
fn dial(cloud: &Cloud) -> Option<Dial> {
    let settings = &cloud.settings;
    let host = settings.dialled.clone();
    // One port for everything is the one that is open everywhere.
    let (hub, https) = match settings.single {
        Some(single) => (single, single),
        None => (settings.hub?, settings.https?),
    };
    Some(Dial {
        host: host.unwrap_or_else(|| network::outward_address().to_string()),
        hub_port: hub.port(),
        certificate_port: https.port(),
    })
}

/// Makes an end of a token at once.
pub async fn delete(cloud: &Cloud, request: &Request) -> Reply {
    let id = request.id.as_deref().unwrap_or_default();
    let id = match id.parse::<TokenId>() {
        Ok(id) => id,
        Err(error) => return Reply::refused(error.to_string()),
    };
    match cloud.authority.store().remove_token(&id).await {
        Ok(known) => {
            if known {
                info!("the join token {id} is deleted");
            }
            Reply {
                id: known.then(|| id.to_string()),
                ..Reply::done("")
            }
        }
        Err(error) => Reply::refused(error.to_string()),
    }
}

/// A line for each token that is good now, and one that ends the list.
pub async fn list(cloud: &Cloud) -> Vec<TokenLine<TokenFacts>> {
    let line = TokenLine::empty();
    match tokens::current(&**cloud.authority.store(), cloud.clock.now()).await {
        Ok(tokens) => {
            let token = |record| TokenLine {
                token: Some(TokenFacts::of(record)),
                ..line.clone()
            };
            let end = TokenLine {
                message: Some(format!("{} tokens", tokens.len())),
                ..line.clone()
            };
            tokens.iter().map(token).chain([end]).collect()
        }
        Err(error) => vec![TokenLine {
            error: Some(error.to_string()),
            ..line
        }],
    }
}

/// A token lives as long as `gettoken` makes it live, unless the request says how long.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

//! All objects of a kind, page by page.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::object::Object;
use super::{Api, CallError, Request};

use crate::system::cause;

/// What there was at one moment.
#[derive(Debug, Default)]
pub struct Listed {
    pub items: Vec<Object>,
    /// From which on a watch tells the rest.
    pub version: String,
}

/// Asks for all pages of a list that `Request::list` describes, of at most `limit` objects together.
/// When the cluster has forgotten the moment that the list is of, it begins again.
pub async fn all(api: &dyn Api, request: &Request, limit: usize) -> Result<Listed, CallError> {
    for _ in 1..MAX_TRIES {
        match pages(api, request, limit).await {
            Err(error) if error.is_too_old() => {}
            done => return done,
        }
    }
    // In one piece nothing can get old in between.
    let mut whole = request.clone();
    whole.query.retain(|(key, _)| *key != "limit");
    pages(api, &whole, limit).await
}

async fn pages(api: &dyn Api, request: &Request, limit: usize) -> Result<Listed, CallError> {
    let mut listed = Listed::default();
    let mut behind = String::new();
    loop {
        let mut request = request.clone();
        if !behind.is_empty() {
            request = request.with("continue", std::mem::take(&mut behind));
        }
        let answer = api.call(&request).await?;
        let page: Page = serde_json::from_slice(&answer.body)
            .map_err(|error| CallError::Strange(cause::of_json(&error)))?;
        let items = page.items.unwrap_or_default();
        if listed.items.len() + items.len() > limit {
            let sentence = format!("a list of more than {limit} objects");
            return Err(CallError::Strange(sentence));
        }
        let is_empty = items.is_empty();
        listed.items.extend(items);
        listed.version = page.metadata.resource_version;
        behind = page.metadata.r#continue;
        if behind.is_empty() {
            return Ok(listed);
        }
        // One that has nothing and goes on could do so for ever.
        if is_empty {
            return Err(CallError::Strange("a page without objects".to_owned()));
        }
    }
}

#[derive(Deserialize)]
struct Page {
    metadata: About,
    items: Option<Vec<Map<String, Value>>>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct About {
    resource_version: String,
    r#continue: String,
}

const MAX_TRIES: u32 = 3;

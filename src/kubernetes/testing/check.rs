//! What a cluster takes for an object, as far as the one in memory looks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::CallError;
use super::cluster::Place;
use super::refusal;

pub fn name(name: &str) -> Result<(), CallError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(&b);
    let ends = name.starts_with(['-', '.']) || name.ends_with(['-', '.']);
    match name.len() <= 253 && name.bytes().all(plain) && !ends {
        true => Ok(()),
        false => Err(invalid(
            "metadata.name: Invalid value: a lowercase RFC 1123 subdomain",
        )),
    }
}

pub fn data(place: &Place, object: &Value) -> Result<(), CallError> {
    if !["secrets", "configmaps"].contains(&place.plural()) {
        return Ok(());
    }
    let mut size = 0;
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if key.is_empty() || !key.bytes().all(plain) {
            return Err(invalid("data: Invalid value: a valid config key"));
        }
        let Some(text) = value.as_str() else {
            return Err(refusal(400, "BadRequest", "data has to be text"));
        };
        size += match place.plural() {
            "secrets" => STANDARD
                .decode(text)
                .map_err(|_| refusal(400, "BadRequest", "illegal base64 data"))?
                .len(),
            _ => text.len(),
        };
    }
    match size > MAX_DATA {
        true => Err(invalid("data: Too long: must have at most 1048576 bytes")),
        false => Ok(()),
    }
}

pub fn invalid(message: &str) -> CallError {
    refusal(422, "Invalid", message)
}

const MAX_DATA: usize = 1 << 20;

//! `token create`, `token list`, `token delete`: tokens that can be limited and taken back.

mod access;
mod create;
mod delete;
mod error;
mod list;

pub use access::{Cloud, Minted};
pub use create::COMMAND as CREATE;
pub use delete::COMMAND as DELETE;
pub use error::TokenFault;
pub use list::COMMAND as LIST;

use std::time::Duration;

use crate::authority::tokens::Wish;
use crate::config::duration;

/// Reads the value of `--ttl`.
pub fn lifetime(text: &str) -> Result<Duration, TokenFault> {
    let ttl = duration::parse(text).map_err(|error| TokenFault::Flag {
        flag: "--ttl",
        fault: error.to_string(),
    })?;
    Wish::plain(ttl).check()?;
    Ok(ttl)
}

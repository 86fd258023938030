//! Join tokens as people paste them.
#![no_main]

use kubeedge::protocol::token::JoinToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<JoinToken>() {
        Ok(token) => {
            assert_eq!(token.secret_string(), text.trim());
            let _ = token.expires();
        }
        Err(error) => assert!(text.len() < 16 || !error.to_string().contains(text)),
    }
});

//! Configuration files, and one edit of what could be read.
#![no_main]

use kubeedge::config::cloud::CloudConfig;
use kubeedge::config::edge::EdgeConfig;
use kubeedge::config::{edit, path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = CloudConfig::load(text, "f");
    let _ = EdgeConfig::load(text, "f");
    let key = path("modules.edgeHub.token");
    if let Ok(edited) = edit::set(text, &key, &"x".into()) {
        assert_eq!(edit::get(&edited, &key), Ok(Some("x".into())));
    }
});

//! The grammar of `--set`.
#![no_main]

use kubeedge::config::set::{Kind, apply, parse_items};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(items) = parse_items(text) {
        let _ = apply("modules: {}\n", &items, Kind::Edge);
    }
});

//! Every target in one executable, which is built and linked once: KUBEEDGE_FUZZ_TARGET says which.
#![no_main]

use std::sync::OnceLock;

use kubeedge_fuzz::bodies::{self, Body};

static CHOSEN: OnceLock<Body> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let body = CHOSEN
        .get_or_init(|| bodies::named(&std::env::var("KUBEEDGE_FUZZ_TARGET").unwrap_or_default()));
    body(data);
});

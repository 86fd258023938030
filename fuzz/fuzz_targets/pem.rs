//! PEM files with any number of blocks.
#![no_main]

use kubeedge::pki::pem;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = pem::blocks(data);
});

//! The head of an upgrade request, as anybody may send it to the hub.
#![no_main]

use kubeedge::tunnel::upgrade::Head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Head::parse(data);
});

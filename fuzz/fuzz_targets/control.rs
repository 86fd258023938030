//! Lines of the local sockets.
#![no_main]

use kubeedge::protocol::control::{EdgeStatus, Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<Request>(data);
    let _ = serde_json::from_slice::<Reply>(data);
    let _ = serde_json::from_slice::<EdgeStatus>(data);
});

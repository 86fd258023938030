//! Frames of the tunnel: what is read is written again to the same message.
#![no_main]

use kubeedge::protocol::message::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::from_json(data) {
        let line = message.to_json();
        let again = Message::from_json(line.as_bytes()).expect("own JSON");
        assert_eq!(again.to_json(), line);
    }
});

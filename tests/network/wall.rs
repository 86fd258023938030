//! Rules of nftables in a test's own network: what must not be sent is dropped, and counted.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// A command for nft, which must succeed; gives what it says.
pub fn nft(words: &str) -> String {
    let done = Command::new("nft").arg(words).output();
    let done = done.expect("nft starts: run tests/setup.sh");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{words}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// That this chain has dropped nothing, and would have: a connection of another kind shows in its counter.
#[track_caller]
pub fn has_dropped_nothing(chain: &str, other: &str) {
    let list = format!("list chain ip {chain}");
    let before = nft(&list);
    assert!(before.contains("counter packets 0 "), "{before}");
    let other = other.parse().expect("an address");
    let tried = TcpStream::connect_timeout(&other, Duration::from_millis(100));
    let after = nft(&list);
    let is_counted = !after.contains("counter packets 0 ");
    assert!(tried.is_err() && is_counted, "{after}");
}

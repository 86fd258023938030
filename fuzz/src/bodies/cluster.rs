//! What a cluster keeps for others and us.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubeedge::kubernetes::release::Release;
use kubeedge::system::clock::Timestamp;
use serde_json::json;

use super::assert_sentence;

/// A record of a release that is read is the same after it was written, packed as Helm packs it.
pub fn release(data: &[u8]) {
    let secret = json!({
        "metadata": {"name": "sh.helm.release.v1.cloudcore.v1"},
        "data": {"release": STANDARD.encode(STANDARD.encode(data))},
    });
    let release = match Release::read(secret.as_object().expect("it is one")) {
        Ok(release) => release,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    assert!(release.revision() > 0);
    let secret = release.secret(Timestamp::from_unix(0), false);
    let again = Release::read(secret.as_object().expect("an object")).expect("our own");
    assert_eq!(again.revision(), release.revision());
    assert_eq!(again.status(), release.status());
    assert_eq!(again.manifest(), release.manifest());
    assert_eq!(again.config(), release.config());
    assert_eq!(again.hooks(), release.hooks());
}

//! Authorities that share a cluster: what one does, the others follow.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use smol::block_on;

use crate::authority::rotation::Wish;
use crate::authority::testing::recorded_at;
use crate::authority::{Authority, Followed, Options};
use crate::kubernetes::resource::SECRETS;
use crate::kubernetes::testing::FakeCluster;
use crate::pki::issue::new_ca;
use crate::store::kubernetes::{KubernetesStore, NAMESPACE};
use crate::system::clock::Clock;
use crate::system::files::Files;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

fn replica(fake: &FakeCluster) -> Authority {
    let (clock, _) = Clock::manual(recorded_at());
    let folder = Scratch::new();
    let root = Root::new(Some(folder.path().to_owned()));
    let store = Arc::new(KubernetesStore::new(fake.api()));
    let options = Options::default();
    let files = Files::real();
    let opening = Authority::open(store, &files, &root, &clock, options);
    block_on(opening).unwrap()
}

#[test]
fn replicas_have_one_ca_and_each_its_own_serving_key() {
    let fake = FakeCluster::new();
    let (one, other) = (replica(&fake), replica(&fake));
    assert_eq!(one.ca(), other.ca());
    let keys = [&one, &other].map(|it| it.serving_certificate().spki_hash());
    assert_ne!(keys[0], keys[1]);
    assert!(
        fake.get(&SECRETS, Some(NAMESPACE), "cloudcoresecret")
            .is_none()
    );
}

#[test]
fn a_rotation_is_followed_step_by_step() {
    let fake = FakeCluster::new();
    let (one, other) = (replica(&fake), replica(&fake));
    assert_eq!(block_on(other.follow()).unwrap(), Followed::Same);
    for _ in ["prepare", "switch", "announce", "finish"] {
        block_on(one.rotate(Wish::default())).unwrap();
        assert_eq!(block_on(other.follow()).unwrap(), Followed::Rotated);
        let standings = [&one, &other].map(Authority::standing);
        assert_eq!(standings[0].phase, standings[1].phase);
        assert_eq!(standings[0].trusted, standings[1].trusted);
        assert_eq!(standings[0].announced, standings[1].announced);
        assert_eq!(block_on(other.follow()).unwrap(), Followed::Same);
    }
    assert_eq!(one.standing().phase, None);
}

#[test]
fn a_ca_that_another_puts_there_is_followed_and_told_apart() {
    let fake = FakeCluster::new();
    let replica = replica(&fake);
    let was = replica.ca().hash();
    let (certificate, key) = new_ca(recorded_at()).unwrap();
    let put = |key: &[u8]| {
        let data = json!({
            "cadata": STANDARD.encode(certificate.der()), "cakeydata": STANDARD.encode(key),
        });
        let object = json!({"metadata": {"name": "casecret"}, "type": "Opaque", "data": data});
        fake.put(&SECRETS, Some(NAMESPACE), object);
    };
    // What is no pair is not followed.
    put(b"no key");
    block_on(replica.follow()).unwrap_err();
    assert_eq!(replica.ca().hash(), was);
    put(key.sec1_der());
    let followed = block_on(replica.follow()).unwrap();
    let is = certificate.hash();
    assert_eq!(followed, Followed::Replaced { was, is });
    assert_eq!(replica.ca(), certificate);
    let token = replica.standing().tokens.mint(recorded_at());
    assert!(token.starts_with(&is.to_string()));
    fake.remove(&SECRETS, Some(NAMESPACE), "casecret");
    assert_eq!(block_on(replica.follow()).unwrap(), Followed::Gone);
    assert_eq!(replica.ca(), certificate);
}

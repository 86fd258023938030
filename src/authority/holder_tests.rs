//! Tests of who holds a name: renewals, tokens, revocations, clocks and stores that went back.

use std::time::Duration;

use super::*;
use crate::authority::testing::{Cloud, PLAIN, recorded_at};
use crate::authority::{By, IssueRequest, Issued};
use crate::pki::certificate::Subject;
use crate::pki::csr;
use crate::pki::key::PrivateKey;
use crate::store::testing::name;

impl Cloud {
    fn get(&self, by: By<'_>) -> Result<Issued, Refusal> {
        let key = PrivateKey::generate().unwrap();
        let csr = csr::create(&key, &Subject::node(&name("a"))).unwrap();
        let request = IssueRequest {
            csr: &csr,
            node: &name("a"),
            usages: None,
            by,
        };
        smol::block_on(self.authority.issue(&request))
    }

    fn token(&self) -> Certificate {
        self.get(By::Token(&PLAIN)).unwrap().certificate
    }

    fn renewed(&self, by: &Certificate) -> Certificate {
        self.get(By::Certificate(by)).unwrap().certificate
    }

    fn stands(&self, certificate: &Certificate) -> Result<Hold, &'static str> {
        let judged = smol::block_on(self.authority.authenticate(certificate, &name("a")));
        let renewal = self
            .authority
            .check_name(certificate, &name("a"), self.hand_now());
        assert!(
            renewal.is_ok(),
            "only what is stored decides in these tests"
        );
        judged.map_err(|refusal| refusal.reason())
    }

    fn hand_now(&self) -> Timestamp {
        self.authority.clock().now()
    }

    fn shown(&self, certificate: &Certificate) {
        smol::block_on(self.authority.settle(certificate, &name("a"), None)).unwrap();
    }

    fn revoke(&self) -> Revoked {
        let (store, now) = (self.authority.store(), self.hand_now());
        let mut revoked = smol::block_on(revoke(&**store, &[name("a")], now)).unwrap();
        revoked.remove(0)
    }

    fn record(&self) -> Option<NodeRecord> {
        smol::block_on(self.authority.store().node(&name("a"))).unwrap()
    }

    fn put_back(&self, record: Option<NodeRecord>) {
        let (store, a) = (self.authority.store(), name("a"));
        smol::block_on(async {
            match record {
                Some(record) => {
                    let put = store.record_node(&a, record, Claim::Any).await;
                    put.unwrap();
                }
                None => assert!(store.remove_node(&a).await.unwrap()),
            }
        });
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_key_before_counts_until_the_new_one_has_shown_itself() {
    let cloud = Cloud::new(|_| ());
    let first = cloud.token();
    assert_eq!(cloud.stands(&first), Ok(Hold::Present));
    cloud.hand.advance(MINUTE);
    // The answer is lost, or a power cut comes before the device has it on disk: it asks again.
    let lost = cloud.renewed(&first);
    assert_eq!(cloud.stands(&first), Ok(Hold::Previous));
    let second = cloud.renewed(&first);
    assert_eq!(cloud.stands(&lost), Err("superseded"));
    assert_eq!(cloud.stands(&first), Ok(Hold::Previous));
    assert_eq!(cloud.stands(&second), Ok(Hold::Present));
    // Its tunnel is cut, and comes back with the old key before it has moved over.
    cloud.shown(&first);
    assert_eq!(cloud.stands(&first), Ok(Hold::Previous));
    cloud.shown(&second);
    assert_eq!(cloud.stands(&first), Err("superseded"));
    assert_eq!(
        cloud.get(By::Certificate(&first)).unwrap_err().reason(),
        "superseded"
    );
    let cloud = cloud.restarted(|_| ());
    assert_eq!(cloud.stands(&first), Err("superseded"));
    assert_eq!(cloud.stands(&second), Ok(Hold::Present));
}

#[test]
fn a_token_ends_all_keys_before_it_at_once() {
    let cloud = Cloud::new(|_| ());
    let first = cloud.token();
    let second = cloud.renewed(&first);
    let third = cloud.token();
    for old in [&first, &second] {
        assert_eq!(cloud.stands(old), Err("superseded"));
        assert_eq!(cloud.get(By::Certificate(old)).unwrap_err().status(), 403);
    }
    assert_eq!(cloud.stands(&third), Ok(Hold::Present));
    // Though the clock stood years ahead when the old key got its last certificate.
    cloud.hand.advance(100 * MINUTE);
    let ahead = cloud.renewed(&third);
    cloud.hand.set(recorded_at());
    let now = cloud.token();
    cloud.hand.advance(200 * MINUTE);
    assert_eq!(cloud.stands(&ahead), Err("superseded"));
    assert_eq!(cloud.stands(&now), Ok(Hold::Present));
}

#[test]
fn a_revoked_node_comes_back_with_a_token_and_with_nothing_else() {
    let cloud = Cloud::new(|options| options.protect_names = true);
    let first = cloud.token();
    let second = cloud.renewed(&first);
    assert!(cloud.record().unwrap().previous.is_some());
    let revoked = cloud.revoke();
    assert!(revoked.known && !revoked.already);
    for old in [&first, &second] {
        assert_eq!(cloud.stands(old), Err("revoked"));
        assert_eq!(
            cloud.get(By::Certificate(old)).unwrap_err().reason(),
            "revoked"
        );
    }
    assert!(!smol::block_on(cloud.authority.is_taken(&name("a"), None)).unwrap());
    assert!(cloud.revoke().already);
    let cloud = cloud.restarted(|options| options.protect_names = true);
    assert_eq!(cloud.stands(&second), Err("revoked"));

    // Protected names are free for a token then, within the same second too.
    let third = cloud.token();
    assert_eq!(cloud.stands(&third), Ok(Hold::Present));
    assert_eq!(cloud.stands(&second), Err("superseded"));
    let store = cloud.authority.store();
    let listed = smol::block_on(revocations(&**store)).unwrap();
    assert!(listed.len() == 1 && listed[0].enrolled_since);
    let again = cloud.revoke();
    assert!(!again.already && again.at > revoked.at);
    assert_eq!(cloud.stands(&third), Err("revoked"));
}

#[test]
fn a_clock_that_goes_back_readmits_nobody() {
    let cloud = Cloud::new(|_| ());
    cloud.hand.advance(1000 * MINUTE);
    let ahead = cloud.token();
    cloud.hand.set(recorded_at());
    let at = cloud.revoke().at;
    assert!(at > ahead.not_before());
    cloud.hand.advance(2000 * MINUTE);
    assert_eq!(cloud.stands(&ahead), Err("revoked"));
    cloud.hand.set(recorded_at());
    let back = cloud.token();
    assert_eq!(cloud.stands(&back), Ok(Hold::Present));
}

#[test]
fn a_node_of_before_this_store_counts_until_it_is_revoked() {
    let cloud = Cloud::new(|_| ());
    let certificate = cloud.token();
    cloud.put_back(None);
    assert_eq!(cloud.stands(&certificate), Ok(Hold::First));
    cloud.shown(&certificate);
    assert_eq!(cloud.stands(&certificate), Ok(Hold::Present));
    cloud.put_back(None);
    let revoked = cloud.revoke();
    assert!(!revoked.known);
    assert_eq!(cloud.stands(&certificate), Err("revoked"));
}

#[test]
fn a_store_from_a_backup_locks_nobody_out() {
    let cloud = Cloud::new(|_| ());
    let first = cloud.token();
    let backup = cloud.record();
    cloud.hand.advance(MINUTE);
    let second = cloud.renewed(&first);
    cloud.shown(&second);
    cloud.put_back(backup.clone());
    assert_eq!(cloud.stands(&second), Ok(Hold::Later));
    let third = cloud.renewed(&second);
    assert_eq!(cloud.stands(&first), Err("superseded"));
    assert_eq!(cloud.stands(&second), Ok(Hold::Previous));
    assert_eq!(cloud.stands(&third), Ok(Hold::Present));
    // What was revoked stays so: that stands beside the CA.
    cloud.hand.advance(MINUTE);
    cloud.revoke();
    cloud.put_back(backup);
    assert_eq!(cloud.stands(&third), Err("revoked"));
}

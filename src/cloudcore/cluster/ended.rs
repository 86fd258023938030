//! What is done through one replica, and what it means at another: sessions that end by it, and revocations.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use smol::future::{or, yield_now};
use smol::{Executor, Timer, block_on};

use super::Cluster;
use crate::authority::rotation::{Step, Wish};
use crate::authority::testing::{PLAIN, recorded_at};
use crate::authority::{
    self, Authority, By, Credential, IssueRequest, LegacyCertificates, Options, Refusal,
};
use crate::cloudcore::cloud::{Cloud, Standing, Stop, Stopper};
use crate::cloudcore::hub::settle;
use crate::cloudcore::outbox::{Ending, Outbox};
use crate::cloudcore::registry::{Registered, SessionFacts};
use crate::cloudcore::settings::{Overrides, Settings};
use crate::config::cloud::CloudConfig;
use crate::kubernetes::resource::{CONFIG_MAPS, SECRETS};
use crate::kubernetes::testing::{Act, FakeCluster, lost};
use crate::pki::certificate::{Certificate, Subject};
use crate::pki::csr;
use crate::pki::issue::new_ca;
use crate::pki::key::PrivateKey;
use crate::protocol::transport::Transport;
use crate::store::kubernetes::{KubernetesStore, LABEL, NAMESPACE};
use crate::store::testing::{name, record};
use crate::store::{Claim, NodeRecord, Store};
use crate::system::clock::{Clock, ManualClock, Timestamp};
use crate::system::files::Files;
use crate::system::root::Root;
use crate::system::scratch::Scratch;

type Runner = Arc<Executor<'static>>;

/// Runs a test, with what goes on beside it; it fails rather than hang.
fn play<F: Future<Output = ()>>(test: impl FnOnce(Runner) -> F) {
    let runner = Runner::default();
    let done = runner.run(test(runner.clone()));
    block_on(or(done, async {
        Timer::after(LIMIT).await;
        panic!("nothing more happens");
    }));
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        yield_now().await;
    }
}

/// One cloudcore of several.
struct Replica {
    cloud: Arc<Cloud>,
    cluster: Arc<Cluster>,
    hand: ManualClock,
    _stopper: Stopper,
    _folder: Scratch,
}

impl Replica {
    /// One that follows what others do.
    async fn new(runner: &Runner, fake: &FakeCluster) -> Replica {
        let replica = Replica::resting(runner, fake).await;
        replica.cluster.start(&replica.cloud);
        // What is told of the first list has been acted on.
        replica
            .has_heard_of(&replica, replica.sentinel().await)
            .await;
        replica
    }

    async fn resting(runner: &Runner, fake: &FakeCluster) -> Replica {
        let folder = Scratch::new();
        let (clock, hand) = Clock::manual(recorded_at());
        let cluster = Cluster::at(fake.api());
        let root = Root::new(Some(folder.path().to_owned()));
        let options = Options {
            legacy: LegacyCertificates::Full,
            ..Options::default()
        };
        let (files, store) = (Files::real(), cluster.store.clone());
        let authority = Authority::open(store, &files, &root, &clock, options).await;
        let settings = Settings::new(CloudConfig::default(), &Overrides::default());
        let nodes = cluster.nodes(&settings, "192.0.2.2".to_owned());
        let (stop, stopper) = Stop::new();
        let standing = Standing {
            open_files: 1 << 16,
            confinement: Vec::new(),
        };
        let parts = (authority.unwrap(), nodes, Some(cluster.clone()));
        Replica {
            cloud: Cloud::new(runner, &clock, parts, settings, standing, stop),
            cluster,
            hand,
            _stopper: stopper,
            _folder: folder,
        }
    }

    async fn issue(&self, node: &str, by: By<'_>) -> Certificate {
        let (node, key) = (name(node), PrivateKey::generate().unwrap());
        let csr = csr::create(&key, &Subject::node(&node)).unwrap();
        let request = IssueRequest {
            csr: &csr,
            node: &node,
            usages: None,
            by,
        };
        let issued = self.cloud.authority.issue(&request).await;
        issued.unwrap().certificate
    }

    async fn join(&self, node: &str) -> Certificate {
        self.issue(node, By::Token(&PLAIN)).await
    }

    /// As edges before KubeEdge 1.16 have it.
    fn legacy(&self) -> Certificate {
        let (key, now) = (PrivateKey::generate().unwrap(), self.cloud.clock.now());
        let subject = Subject {
            organization: Some("kubeEdge".to_owned()),
            common_name: Some("kubeedge.io".to_owned()),
            ..Subject::default()
        };
        let standing = self.cloud.authority.standing();
        let (from, end) = (now.minus(MINUTE), now.plus(24 * 60 * MINUTE));
        let made = standing.issuer.client(key.spki(), &subject, from, end);
        made.unwrap()
    }

    async fn rotate(&self, step: Step) {
        let wish = Wish {
            step: Some(step),
            force: true,
            dry_run: false,
        };
        self.cloud.authority.rotate(wish).await.unwrap();
    }

    fn credential(&self, certificate: &Certificate) -> Result<Credential, Refusal> {
        let authority = &self.cloud.authority;
        authority.check_chain(certificate, self.cloud.clock.now())?;
        authority.credential(certificate, Instant::now())
    }

    fn begin(&self, node: &str, credential: Credential) -> Session {
        let facts = SessionFacts {
            since: self.cloud.clock.now(),
            peer: ([127, 0, 0, 1], 1).into(),
            serial: "01".to_owned(),
            follows: false,
            terms: None,
            transport: Transport::WebSocket,
            roaming: None,
        };
        let (node, outbox) = (name(node), Outbox::default());
        let promise = self.cloud.registry.promise(&node).unwrap();
        Session {
            _registered: promise.begin(facts, credential, outbox.clone()),
            outbox,
        }
    }

    /// A device connects, and its key has been written down.
    async fn connect(&self, node: &str, certificate: &Certificate) -> Session {
        let session = self.begin(node, self.credential(certificate).unwrap());
        self.settle(node, certificate, &session).await;
        session
    }

    async fn settle(&self, node: &str, certificate: &Certificate, session: &Session) {
        let credential = self.cloud.registry.credential(&name(node)).unwrap().1;
        let shown = (certificate.clone(), credential, None);
        let outbox = session.outbox.clone();
        settle(self.cloud.clone(), shown, name(node), outbox).await;
    }

    /// Returns when all that was done until now has been heard and acted on here: the session of
    /// another node ends by the last of it.
    async fn has_heard_of(&self, other: &Replica, (node, session): (String, Session)) {
        let (node, store) = ([name(&node)], &other.cluster.store);
        let revoked = authority::revoke(&**store, &node, self.cloud.clock.now()).await;
        revoked.unwrap();
        session.ends(Ending::Revoked).await;
    }

    /// A node that nobody has heard of, and its session here.
    async fn sentinel(&self) -> (String, Session) {
        let node = format!("sentinel-{}", fastrand::u64(..));
        let certificate = self.join(&node).await;
        let session = self.connect(&node, &certificate).await;
        (node, session)
    }
}

struct Session {
    outbox: Outbox,
    _registered: Registered,
}

impl Session {
    async fn ends(&self, ending: Ending) {
        assert_eq!(self.outbox.next().await.unwrap_err(), ending);
    }

    async fn goes_on(&self) {
        let next = smol::future::poll_once(self.outbox.next()).await;
        assert!(next.is_none(), "{next:?}");
    }
}

/// Two replicas that know each other's nodes.
async fn two(runner: &Runner, fake: &FakeCluster) -> (Replica, Replica) {
    let one = Replica::new(runner, fake).await;
    let two = Replica::new(runner, fake).await;
    (one, two)
}

#[test]
fn a_token_at_one_ends_the_session_of_the_first_key_at_the_other() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let (one, two) = two(&runner, &fake).await;
        let stolen = one.join("edge-1").await;
        let thief = two.connect("edge-1", &stolen).await;
        let others = one.join("edge-2").await;
        let other = two.connect("edge-2", &others).await;
        one.hand.advance(MINUTE);
        let device = one.join("edge-1").await;
        thief.ends(Ending::KeyReplaced).await;
        drop(thief);
        let device = two.connect("edge-1", &device).await;
        two.has_heard_of(&one, two.sentinel().await).await;
        device.goes_on().await;
        other.goes_on().await;
    });
}

#[test]
fn a_renewal_ends_nothing_and_the_new_key_takes_the_place_of_the_old_one() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let (one, two) = two(&runner, &fake).await;
        let first = one.join("edge-1").await;
        let old = two.connect("edge-1", &first).await;
        one.hand.advance(MINUTE);
        let second = one.issue("edge-1", By::Certificate(&first)).await;
        two.has_heard_of(&one, two.sentinel().await).await;
        old.goes_on().await;
        // As everywhere, the newer connection ends the one before.
        let new = one.connect("edge-1", &second).await;
        old.ends(Ending::Replaced).await;
        new.goes_on().await;
    });
}

#[test]
fn what_a_broken_watch_did_not_tell_ends_sessions_when_it_is_read() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let (one, two) = two(&runner, &fake).await;
        let (first, second) = (one.join("edge-1").await, one.join("edge-2").await);
        let thief = two.connect("edge-1", &first).await;
        let honest = two.connect("edge-2", &second).await;
        one.hand.advance(MINUTE);
        fake.set_down(true);
        fake.set_down(false);
        one.join("edge-1").await;
        fake.compact();
        thief.ends(Ending::KeyReplaced).await;
        honest.goes_on().await;
    });
}

#[test]
fn a_session_from_before_the_first_list_is_judged_by_it() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let one = Replica::new(&runner, &fake).await;
        let first = one.join("edge-1").await;
        let two = Replica::resting(&runner, &fake).await;
        let thief = two.connect("edge-1", &first).await;
        one.hand.advance(MINUTE);
        one.join("edge-1").await;
        thief.goes_on().await;
        two.cluster.start(&two.cloud);
        thief.ends(Ending::KeyReplaced).await;
    });
}

#[test]
fn news_that_come_before_the_session_begins_are_not_lost() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let (one, two) = two(&runner, &fake).await;
        let sentinel = two.sentinel().await;
        let first = one.join("edge-1").await;
        let admitted = two.credential(&first).unwrap();
        one.hand.advance(MINUTE);
        one.join("edge-1").await;
        two.has_heard_of(&one, sentinel).await;
        let thief = two.begin("edge-1", admitted);
        two.settle("edge-1", &first, &thief).await;
        thief.ends(Ending::KeyReplaced).await;
        drop(thief);

        // So with a CA.
        let first = one.join("edge-1").await;
        let admitted = two.credential(&first).unwrap();
        for step in STEPS {
            one.rotate(step).await;
        }
        until("the CA is followed", || follows(&one, &two)).await;
        let late = two.begin("edge-1", admitted);
        two.settle("edge-1", &first, &late).await;
        late.ends(Ending::CaRetired).await;
        two.credential(&first).unwrap_err();
    });
}

fn follows(one: &Replica, other: &Replica) -> bool {
    let [one, other] = [one, other].map(|it| it.cloud.authority.standing());
    (one.phase, &one.trusted) == (other.phase, &other.trusted)
}

#[test]
fn a_retired_ca_ends_those_who_have_not_followed() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let (one, two) = two(&runner, &fake).await;
        let (left, moved) = (one.join("left").await, one.join("moved").await);
        let left = two.connect("left", &left).await;
        let before = two.connect("moved", &moved).await;
        let legacy = two.connect("legacy", &two.legacy()).await;
        for step in [Step::Prepare, Step::Switch] {
            one.rotate(step).await;
            until("the step is followed", || follows(&one, &two)).await;
        }
        one.hand.advance(MINUTE);
        let renewed = one.issue("moved", By::Certificate(&moved)).await;
        let after = two.connect("moved", &renewed).await;
        before.ends(Ending::Replaced).await;
        let new = one.join("new").await;
        let new = two.connect("new", &new).await;
        one.rotate(Step::Announce).await;
        until("the step is followed", || follows(&one, &two)).await;
        for session in [&left, &legacy, &after, &new] {
            session.goes_on().await;
        }
        one.rotate(Step::Finish).await;
        left.ends(Ending::CaRetired).await;
        legacy.ends(Ending::CaRetired).await;
        until("it is followed", || follows(&one, &two)).await;
        for session in [&after, &new] {
            session.goes_on().await;
        }
    });
}

#[test]
fn another_ca_that_somebody_puts_there_ends_all_sessions() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let replica = Replica::new(&runner, &fake).await;
        let first = replica.join("edge-1").await;
        let session = replica.connect("edge-1", &first).await;
        let (certificate, key) = new_ca(recorded_at()).unwrap();
        let data = json!({
            "cadata": STANDARD.encode(certificate.der()),
            "cakeydata": STANDARD.encode(key.sec1_der()),
        });
        let object = json!({"metadata": {"name": "casecret"}, "type": "Opaque", "data": data});
        fake.put(&SECRETS, Some(NAMESPACE), object);
        session.ends(Ending::CaRetired).await;
    });
}

#[test]
fn a_ca_that_can_not_be_read_at_first_is_followed_later() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let one = Replica::resting(&runner, &fake).await;
        let two = Replica::resting(&runner, &fake).await;
        let left = one.join("left").await;
        let left = two.connect("left", &left).await;
        for step in STEPS {
            one.rotate(step).await;
        }
        // Its first look at what has changed comes to nothing.
        fake.order(None, "casecret-next", 1, Act::Refuse(lost()));
        two.cluster.start(&two.cloud);
        left.ends(Ending::CaRetired).await;
        assert!(follows(&one, &two));
    });
}

#[test]
fn a_record_that_is_gone_or_damaged_ends_nothing() {
    play(|runner| async move {
        let fake = FakeCluster::new();
        let (one, two) = two(&runner, &fake).await;
        let first = one.join("edge-1").await;
        let session = two.connect("edge-1", &first).await;
        one.cluster
            .store
            .remove_node(&name("edge-1"))
            .await
            .unwrap();
        two.has_heard_of(&one, two.sentinel().await).await;
        session.goes_on().await;
        let map = json!({"metadata": {"name": "node-keys-359", "labels": {LABEL: "node-keys"}},
            "data": {"edge-1": "no record"}});
        fake.put(&CONFIG_MAPS, Some(NAMESPACE), map);
        two.has_heard_of(&one, two.sentinel().await).await;
        session.goes_on().await;
    });
}

#[test]
fn a_node_that_came_back_elsewhere_is_revoked_again() {
    let fake = FakeCluster::new();
    let (one, other) = (
        KubernetesStore::new(fake.api()),
        KubernetesStore::new(fake.api()),
    );
    let put = |record| block_on(other.record_node(&name("a"), record, Claim::Any)).unwrap();
    put(record("1"));
    block_on(one.snapshot()).unwrap();
    let revoke = || {
        let (nodes, now) = ([name("a")], record("1").since);
        block_on(authority::revoke(&one, &nodes, now))
            .unwrap()
            .remove(0)
    };
    let first = revoke();
    assert!(first.known && !first.already);
    assert!(revoke().already);

    // A token at the other one lets it in, by a clock that is ahead; nobody has told this one.
    let since = Timestamp::from_unix(first.at.unix() + 300);
    put(NodeRecord {
        since,
        ..record("2")
    });
    let again = revoke();
    assert!(!again.already && again.at > since);
}

const STEPS: [Step; 4] = [Step::Prepare, Step::Switch, Step::Announce, Step::Finish];
const MINUTE: Duration = Duration::from_secs(60);
/// For a whole test, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);

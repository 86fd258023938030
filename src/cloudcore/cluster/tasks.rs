//! What a replica does for the state that it shares: follows it, and keeps its tokens in order.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{debug, error, info, warn};
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::{or, yield_now};

use super::Cluster;
use crate::authority::{AuthorityError, Credential, Followed, Refusal};
use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::outbox::Ending;
use crate::cloudcore::rotation;
use crate::store::Store;
use crate::store::kubernetes::{Change, News, Refreshed, Touched};
use crate::system::names::NodeName;

pub fn start(cloud: &Arc<Cloud>, cluster: &Arc<Cluster>) {
    let ((bell, rung), (ca_bell, ca_rung)) = (bounded(1), bounded(1));
    let (changed, ca_changed) = bounded(1);
    let heard = Arc::new(Heard {
        touched: Mutex::default(),
        bell,
    });
    beside(cloud, listen(cluster.clone(), heard.clone(), ca_bell));
    beside(cloud, judge_again(cloud.clone(), heard, rung));
    beside(cloud, follow_ca(cloud.clone(), ca_rung, changed));
    beside(
        cloud,
        keep_token(cloud.clone(), cluster.clone(), ca_changed),
    );
    beside(cloud, sweep(cloud.clone(), cluster.clone()));
}

/// Until cloudcore stops.
fn beside(cloud: &Arc<Cloud>, work: impl Future<Output = ()> + Send + 'static) {
    let shared = cloud.clone();
    cloud.spawn(async move { or(work, shared.stop.wait()).await });
}

/// What was told of nodes and not acted on, however much it is.
struct Heard {
    touched: Mutex<Touched>,
    bell: Sender<()>,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(cluster: Arc<Cluster>, heard: Arc<Heard>, ca_bell: Sender<()>) {
    let ear = move |news| {
        // One that has rung already is enough.
        let _ = match news {
            News::Ca => ca_bell.try_send(()),
            News::Nodes(touched) => {
                heard.lock().add(touched);
                heard.bell.try_send(())
            }
        };
    };
    cluster.store.follow(&ear).await;
}

/// Judges the sessions of nodes whose keys have changed, whoever has changed them. One that begins
/// meanwhile is judged by what is known then, when it is settled.
async fn judge_again(cloud: Arc<Cloud>, heard: Arc<Heard>, rung: Receiver<()>) {
    while rung.recv().await.is_ok() {
        let Touched { all, nodes } = std::mem::take(&mut *heard.lock());
        let others = if all {
            cloud.registry.names()
        } else {
            Vec::new()
        };
        let others = others.into_iter().map(|node| (node, Change::Other));
        for (node, change) in nodes.into_iter().chain(others) {
            if let Some((generation, credential)) = cloud.registry.credential(&node) {
                judge(&cloud, &node, (generation, &credential), change).await;
                // There may be thousands, and all is known here.
                yield_now().await;
            }
        }
    }
}

/// Ends this session if the key that it was opened with counts no more.
async fn judge(
    cloud: &Cloud,
    node: &NodeName,
    (generation, credential): (u64, &Credential),
    change: Change,
) {
    let Err(refusal) = cloud.authority.stands(credential, node).await else {
        return;
    };
    let ending = match (&refusal, change) {
        (Refusal::Revoked(_), _) => {
            warn!("the keys of node {node} are revoked, its session ends");
            Ending::Revoked
        }
        // It has renewed, and is connected with its new key to another replica.
        (Refusal::Superseded, Change::Shown) => Ending::Replaced,
        (Refusal::Superseded, Change::Other) => {
            warn!("another key holds the name of node {node} now, the session of the old one ends");
            Ending::KeyReplaced
        }
        _ => return warn!("whether node {node} may stay connected can't be judged: {refusal}"),
    };
    cloud.registry.end_session(node, generation, ending);
}

/// Goes by the CA of the cluster whenever it may be another one, or have another one beside it.
async fn follow_ca(cloud: Arc<Cloud>, rung: Receiver<()>, changed: Sender<()>) {
    let mut known = true;
    loop {
        let rung = async { rung.recv().await.is_ok() };
        let again = async {
            match known {
                true => std::future::pending().await,
                false => wait(AGAIN).await,
            }
            true
        };
        if !or(rung, again).await {
            return;
        }
        let followed = cloud.authority.follow().await;
        // By how things stand, not by what was said: they may do so already when something fails.
        let ended = rotation::retire(&cloud);
        if ended > 0 {
            warn!("a CA counts no more: {ended} sessions with certificates of it end");
        }
        if known || followed.is_ok() {
            tell(&cloud, &followed);
        }
        known = !followed.as_ref().is_err_and(AuthorityError::is_retryable);
        if matches!(followed, Ok(Followed::Rotated | Followed::Replaced { .. })) {
            // One that was told already is enough.
            let _ = changed.try_send(());
        }
    }
}

fn tell(cloud: &Arc<Cloud>, followed: &Result<Followed, AuthorityError>) {
    match followed {
        Ok(Followed::Same) => {}
        Ok(Followed::Rotated) => {
            info!("the rotation of the CA went on, by another replica");
            cloud.spawn(rotation::tell(cloud.clone()));
        }
        Ok(Followed::Replaced { was, is }) => error!(
            "the CA in the cluster is {is} and not {was} any more: this replica goes by it. Devices \
             that joined under {was} have to join again; see who has replaced the Secret casecret"
        ),
        Ok(Followed::Gone) => error!(
            "the Secret casecret is gone from the cluster: this replica goes on with the CA that it \
             has, the next one that starts makes another; restore it"
        ),
        Err(error) => {
            error!("the CA in the cluster can't be used, the one before goes on: {error}")
        }
    }
}

/// Sees to it that whoever reads `tokensecret` finds a token with at least half of its life left.
async fn keep_token(cloud: Arc<Cloud>, cluster: Arc<Cluster>, ca_changed: Receiver<()>) {
    let least = cloud.settings.token_refresh;
    let look = (least / 8).clamp(SHORTEST_LOOK, LONGEST_LOOK);
    loop {
        let (now, standing) = (cloud.clock.now(), cloud.authority.standing());
        let (announced, end) = (standing.announced.hash(), standing.announced.not_after());
        let enough = now.plus(least).min(end);
        let is_good = |token: &str| {
            let Some((ca, jwt)) = token.split_once('.') else {
                return false;
            };
            let claims = standing.tokens.check(jwt, now);
            ca == announced.to_string() && claims.is_ok_and(|claims| claims.expires >= enough)
        };
        let until = now.plus(least * 2).min(end);
        let mint = || standing.tokens.mint(until);
        let pause = match cluster.store.refresh_shared_token(&is_good, &mint).await {
            Ok(Refreshed::Kept) => look,
            Ok(Refreshed::Made) => {
                info!("the join token in the cluster is made anew, valid until {until}");
                cloud.metrics.token_made(until);
                look
            }
            Err(error) => {
                warn!("the join token in the cluster stays as it is: {error}");
                RETRY
            }
        };
        or(wait(pause), async {
            let _ = ca_changed.recv().await;
        })
        .await;
    }
}

/// Removes what has expired, which any replica may do.
async fn sweep(cloud: Arc<Cloud>, cluster: Arc<Cluster>) {
    loop {
        wait(BETWEEN_SWEEPS).await;
        let now = cloud.clock.now();
        match cluster.store.remove_expired_tokens(now).await {
            Ok(0) => {}
            Ok(count) => info!("{count} join tokens have expired and are removed"),
            Err(error) => debug!("expired tokens stay for now: {error}"),
        }
    }
}

/// Spread, so that replicas which started together do not ask together.
async fn wait(pause: Duration) {
    Timer::after(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
}

const SHORTEST_LOOK: Duration = Duration::from_secs(60);
const LONGEST_LOOK: Duration = Duration::from_secs(30 * 60);
const RETRY: Duration = Duration::from_secs(30);
/// Before a CA that could not be read is asked for again: it may be that the old one is to be trusted no more.
const AGAIN: Duration = Duration::from_secs(3);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60 * 60);

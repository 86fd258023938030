//! What a replica does for the state that it shares: follows it, and keeps its tokens in order.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::{debug, error, info, warn};
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;

use super::Cluster;
use crate::authority::Followed;
use crate::cloudcore::cloud::Cloud;
use crate::cloudcore::outbox::Ending;
use crate::cloudcore::rotation;
use crate::store::Store;
use crate::store::kubernetes::{News, Refreshed};
use crate::system::names::NodeName;

pub fn start(cloud: &Arc<Cloud>, cluster: &Arc<Cluster>) {
    let (bell, rung) = bounded(1);
    let (changed, ca_changed) = bounded(1);
    let heard = Arc::new(Heard {
        news: Mutex::default(),
        bell,
    });
    beside(cloud, listen(cluster.clone(), heard.clone()));
    beside(cloud, act(cloud.clone(), heard, rung, changed));
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

/// What was told and not acted on, however much it is.
struct Heard {
    news: Mutex<(bool, BTreeSet<NodeName>)>,
    bell: Sender<()>,
}

async fn listen(cluster: Arc<Cluster>, heard: Arc<Heard>) {
    let ear = move |news| {
        {
            let mut known = heard.news.lock().unwrap_or_else(PoisonError::into_inner);
            match news {
                News::Ca => known.0 = true,
                News::Revoked(nodes) => known.1.extend(nodes),
            }
        }
        // One that has rung already is enough.
        let _ = heard.bell.try_send(());
    };
    cluster.store.follow(&ear).await;
}

async fn act(cloud: Arc<Cloud>, heard: Arc<Heard>, rung: Receiver<()>, changed: Sender<()>) {
    while rung.recv().await.is_ok() {
        let (ca, revoked) = {
            let mut news = heard.news.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *news)
        };
        for node in revoked {
            // One that has joined again since comes back at once.
            if cloud.registry.end(&node, Ending::Revoked) {
                warn!("the keys of node {node} are revoked, its session ends");
            }
        }
        if ca && follow_ca(&cloud).await {
            // One that was told already is enough.
            let _ = changed.try_send(());
        }
    }
}

/// Whether it is another one now, or another stands beside it.
async fn follow_ca(cloud: &Arc<Cloud>) -> bool {
    let followed = cloud.authority.follow().await;
    match &followed {
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
    matches!(followed, Ok(Followed::Rotated | Followed::Replaced { .. }))
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
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60 * 60);

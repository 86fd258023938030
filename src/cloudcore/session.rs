//! One edge: reads what it says, writes what waits for it, and notices when it is dead.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use smol::Timer;
use smol::future::{or, pending, yield_now};

use super::cloud::Cloud;
use super::dispatch::{Answer, dispatch};
use super::outbox::{Ending, Next, Outbox, weight};
use super::registry::Registered;
use super::sending::Place;
use crate::protocol::message::Message;
use crate::protocol::terms::Terms;
use crate::system::names::NodeName;
use crate::tunnel::{Event, Line, Receiver, Sender, Tunnel, TunnelError};

/// Serves a tunnel until either side ends it; the connection is closed on every way out.
pub async fn run(
    cloud: Arc<Cloud>,
    tunnel: Tunnel,
    registered: Registered,
    outbox: Outbox,
    terms: Option<Terms>,
    roaming: Option<Arc<dyn Line>>,
) {
    let Tunnel {
        mut sender,
        mut receiver,
    } = tunnel;
    let patience = terms.map_or(cloud.settings.keepalive, |terms| terms.patience());
    let end = or(
        write(&cloud, &mut sender, &outbox, &registered.node),
        read(
            &cloud,
            &mut receiver,
            &outbox,
            (&registered.node, Whereabouts::new(roaming)),
            patience,
        ),
    )
    .await;
    let (node, generation) = (registered.node.clone(), registered.generation);
    cloud.metrics.ended_session(end.label());
    // From here on the node has no session, or already a newer one.
    drop(registered);
    info!(
        "session {generation} of node {node} has ended: {}",
        end.reason()
    );
    let farewell = async {
        // The edge may be gone already, and then nobody misses a farewell.
        if let End::Tunnel(TunnelError::Closed { .. }) = end {
            // The answer to its farewell is ready; reading on is what sends it.
            let _ = receiver.next().await;
        } else if let Some((code, reason)) = end.farewell() {
            let _ = sender.close(code, reason).await;
        }
    };
    let late = async {
        Timer::after(FAREWELL).await;
    };
    or(farewell, late).await;
}

/// Why a session ended.
enum End {
    Asked(Ending),
    /// Nothing came for so long.
    Silent(Duration),
    Tunnel(TunnelError),
    /// A message that was begun did not come to its end.
    Unfinished(Duration),
    /// So many frames in a row were no messages.
    Unreadable,
}

impl End {
    /// A short label for counters.
    fn label(&self) -> &'static str {
        match self {
            End::Asked(Ending::CaRetired) => "ca-retired",
            End::Asked(Ending::Crowded) => "crowded",
            End::Asked(Ending::KeyReplaced) => "key-replaced",
            End::Asked(Ending::NodeDeleted) => "node-deleted",
            End::Asked(Ending::Replaced) => "replaced",
            End::Asked(Ending::Revoked) => "revoked",
            End::Asked(Ending::Stopping) => "stopping",
            End::Asked(Ending::TooSlow) => "reads-slowly",
            End::Silent(_) => "silent",
            End::Tunnel(error) => error.reason(),
            End::Unfinished(_) => "unfinished",
            End::Unreadable => "unreadable",
        }
    }

    fn reason(&self) -> String {
        match self {
            End::Asked(Ending::CaRetired) => "the CA of its certificate was retired".to_owned(),
            End::Asked(Ending::Crowded) => {
                "what waits for all nodes is too much, and most of it waits for this one".to_owned()
            }
            End::Asked(Ending::KeyReplaced) => "a token gave its name to another key".to_owned(),
            End::Asked(Ending::NodeDeleted) => "the node was deleted".to_owned(),
            End::Asked(Ending::Replaced) => "a newer connection took its place".to_owned(),
            End::Asked(Ending::Revoked) => "its keys were revoked".to_owned(),
            End::Asked(Ending::Stopping) => "cloudcore stops".to_owned(),
            End::Asked(Ending::TooSlow) => "it reads too slowly".to_owned(),
            End::Silent(time) => format!("nothing came from it for {} s", time.as_secs()),
            End::Tunnel(error) => error.to_string(),
            End::Unfinished(time) => {
                format!("a message is not complete after {} s", time.as_secs())
            }
            End::Unreadable => format!("{MAX_MALFORMED} frames in a row were no messages"),
        }
    }

    /// The code and reason to close with; none when nobody is there to read them.
    fn farewell(&self) -> Option<(u16, &'static str)> {
        Some(match self {
            End::Asked(Ending::CaRetired) => (1008, "the CA of this certificate was retired"),
            End::Asked(Ending::KeyReplaced) => (1008, "another key holds this node name now"),
            End::Asked(Ending::NodeDeleted) => (1000, "the node was deleted"),
            End::Asked(Ending::Replaced) => (1000, "a newer connection took over"),
            End::Asked(Ending::Revoked) => (1008, "the keys of this node were revoked"),
            End::Asked(Ending::Stopping) => (1001, "the cloud stops"),
            End::Asked(Ending::Crowded | Ending::TooSlow) => (1013, "too much waits to be read"),
            End::Silent(_) => (1001, "nothing was heard"),
            End::Unfinished(_) => (1008, "a message that does not end"),
            End::Unreadable => (1008, "too many frames that are no messages"),
            End::Tunnel(error) => match error {
                TunnelError::TooBig { .. } => (1009, "the message is too big"),
                TunnelError::OverBudget => (1013, "too much is received in part"),
                TunnelError::NotText => (1007, "text that is not UTF-8"),
                TunnelError::Protocol(_) => (1002, "not the WebSocket protocol"),
                _ => return None,
            },
        })
    }
}

async fn write(cloud: &Cloud, sender: &mut Sender, outbox: &Outbox, node: &NodeName) -> End {
    loop {
        let next = match outbox.next().await {
            Ok(next) => next,
            Err(ending) => return End::Asked(ending),
        };
        // An edge that reads slowly must not keep its session by that.
        let asked = async { Err(End::Asked(outbox.ended().await)) };
        let sent = async {
            let made = match make(cloud, outbox, node, next, None) {
                Ok(made) => made,
                // In a box: rarely one waits, and sessions are to be small.
                Err(later) => Box::pin(meanwhile(cloud, sender, outbox, node, later)).await?,
            };
            if let Some((message, _place)) = made {
                send(sender, &message).await?;
                written(cloud, outbox, &message);
            }
            Ok(())
        };
        if let Err(end) = or(sent, asked).await {
            return end;
        }
    }
}

/// Something waits for its turn, which may take minutes: answers and orders are sent all the same, but for those that
/// must not overtake it.
async fn meanwhile(
    cloud: &Cloud,
    sender: &mut Sender,
    outbox: &Outbox,
    node: &NodeName,
    later: Later,
) -> Result<Option<Made>, End> {
    let held = match &later.next {
        Next::Message(message) => Some(message.clone()),
        Next::Push(..) | Next::Again(..) => None,
    };
    let mut made = pin!(in_turn(cloud, outbox, node, later));
    loop {
        // In this order: what is asked after an object was made may be newer than that.
        let next = or(async { Ok(made.as_mut().await) }, async {
            Err(outbox.passing(held.as_deref()).await)
        });
        let message = match next.await {
            Ok(made) => return Ok(made),
            Err(message) => message,
        };
        let mut came = None;
        let turn = async {
            came = Some(made.as_mut().await);
            pending().await
        };
        or(send(sender, &message), turn).await?;
        written(cloud, outbox, &message);
        if let Some(made) = came {
            return Ok(made);
        }
    }
}

async fn send(sender: &mut Sender, message: &Message) -> Result<(), End> {
    let sent = async { sender.send(message).await.map_err(End::Tunnel) };
    let late = async {
        Timer::after(WRITE_DEADLINE).await;
        Err(End::Tunnel(TunnelError::TimedOut("sending a message")))
    };
    or(sent, late).await
}

fn written(cloud: &Cloud, outbox: &Outbox, message: &Message) {
    outbox.written(&message.header.id);
    cloud.metrics.messages_down.add();
}

/// What is sent, with its place among what is sent to others.
type Made = (Arc<Message>, Place);

/// What has no place yet. An object is a name while it waits.
pub(super) struct Later {
    next: Next,
    bytes: usize,
}

/// Returns when its turn has come; none: there is nothing to send any more.
pub(super) async fn in_turn(
    cloud: &Cloud,
    outbox: &Outbox,
    node: &NodeName,
    mut later: Later,
) -> Option<Made> {
    loop {
        let place = cloud.sending.take(later.bytes).await;
        match make(cloud, outbox, node, later.next, Some(place)) {
            Ok(made) => return made,
            // It has grown.
            Err(still) => later = still,
        }
    }
}

/// The message, if it is still to be sent and has a place. A function of its own, lest every session has room for a
/// message.
pub(super) fn make(
    cloud: &Cloud,
    outbox: &Outbox,
    node: &NodeName,
    next: Next,
    place: Option<Place>,
) -> Result<Option<Made>, Later> {
    let find = |bytes| {
        let place = place.filter(|it| it.holds(bytes));
        place.or_else(|| cloud.sending.try_take(bytes))
    };
    let (item, new, again) = match &next {
        Next::Message(message) => {
            let bytes = weight(message);
            return match find(bytes) {
                Some(place) => Ok(Some((message.clone(), place))),
                None => Err(Later { next, bytes }),
            };
        }
        Next::Push(item, new) => (item, *new, false),
        Next::Again(item, new) => (item, *new, true),
    };
    let now = cloud.clock.stamp();
    // Before it is made: what changes from here on is in line again.
    let goes = outbox.goes(item, again);
    let message = goes.then(|| cloud.nodes.message(node, item, new, now));
    let Some(mut message) = message.flatten() else {
        outbox.dropped(item);
        return Ok(None);
    };
    let bytes = weight(&message);
    let Some(place) = find(bytes) else {
        return Err(Later { next, bytes });
    };
    outbox.sent(item.clone(), new, &mut message);
    match again {
        true => cloud.metrics.pushes_repeated.add(),
        false => cloud.metrics.pushes.add(),
    }
    Ok(Some((Arc::new(message), place)))
}

/// Where an edge was last seen, if it may change its address.
struct Whereabouts {
    line: Option<Arc<dyn Line>>,
    at: Option<SocketAddr>,
    told: Option<Instant>,
}

impl Whereabouts {
    fn new(line: Option<Arc<dyn Line>>) -> Whereabouts {
        let at = line.as_ref().and_then(|line| line.peer());
        Whereabouts {
            line,
            at,
            told: None,
        }
    }

    /// Logs a new address; of an edge that moves about all the time, one a minute.
    fn tell(&mut self, node: &NodeName) {
        let Some(now) = self.line.as_ref().and_then(|line| line.peer()) else {
            return;
        };
        let quiet = self.told.is_some_and(|at| at.elapsed() < SILENCE);
        if self.at != Some(now) && !quiet {
            info!("node {node} is at {now} now, and keeps its session");
            (self.at, self.told) = (Some(now), Some(Instant::now()));
        }
    }
}

/// Ends when nothing was heard for as long as `patience`.
async fn read(
    cloud: &Arc<Cloud>,
    receiver: &mut Receiver,
    outbox: &Outbox,
    (node, mut whereabouts): (&NodeName, Whereabouts),
    patience: Duration,
) -> End {
    let share = receiver.share();
    let (mut received, mut heard) = (share.received(), Instant::now());
    let (mut malformed, mut told) = (0, false);
    // Since when a part of a message waits for the rest.
    let mut partial: Option<Instant> = None;
    loop {
        let event = or(async { Some(receiver.next().await) }, async {
            Timer::after(patience / 3).await;
            None
        });
        let event = event.await;
        whereabouts.tell(node);
        // A part of a long message on a slow line is a sign of life, too.
        if share.received() != received {
            (received, heard) = (share.received(), Instant::now());
        }
        let whole = matches!(event, Some(Ok(Event::Message(_) | Event::Malformed(_))));
        partial = match share.held() {
            0 => None,
            _ if whole => Some(heard),
            _ => partial.or(Some(heard)),
        };
        if partial.is_some_and(|since| since.elapsed() >= patience * MESSAGE_PATIENCE) {
            return End::Unfinished(patience * MESSAGE_PATIENCE);
        }
        match event {
            None if heard.elapsed() >= patience => return End::Silent(patience),
            None => {}
            Some(Err(error)) => return End::Tunnel(error),
            Some(Ok(Event::Alive)) => {}
            Some(Ok(Event::Malformed(fault))) => {
                cloud.metrics.malformed.add();
                malformed += 1;
                if malformed >= MAX_MALFORMED {
                    return End::Unreadable;
                }
                if !std::mem::replace(&mut told, true) {
                    warn!("node {node} sends what can't be read, which is skipped: {fault}");
                }
            }
            Some(Ok(Event::Message(message))) => {
                malformed = 0;
                cloud.metrics.messages_up.add();
                let answer = match dispatch(cloud, node, outbox, *message) {
                    Answer::Now(answer) => answer.map(|answer| *answer),
                    Answer::Later(answer) => answer.await,
                };
                if let Some(answer) = answer {
                    // When it does not fit the session ends, which the writer sees.
                    outbox.push(answer);
                    // The writer comes first: answers keep up with questions, and a pong that
                    // the library sends while reading does not overtake them.
                    yield_now().await;
                }
            }
        }
    }
}

/// How many times the keepalive interval a message may take from its first byte to its last.
const MESSAGE_PATIENCE: u32 = 4;

/// Frames in a row that are no messages.
const MAX_MALFORMED: usize = 100;

/// For one message; upstream's edge has the same.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);

/// Between two lines on where an edge is.
const SILENCE: Duration = Duration::from_secs(60);
const FAREWELL: Duration = Duration::from_secs(1);

//! One tunnel while it is up: traffic in both directions, keepalive, and noticing a dead hub.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;

use super::edge::{Edge, pause};
use super::rhythm::{Rhythm, Sign};
use super::roaming::{Ends, Footing};
use crate::protocol::control::Counts;
use crate::protocol::message::Message;
use crate::protocol::transport::Transport;
use crate::protocol::trust::CHANGE;
use crate::tunnel::{Event, Line, Receiver as Incoming, Sender as Outgoing, Tunnel, TunnelError};

/// A session that runs in a task of its own.
pub struct Session {
    /// A second session of this node may be opened beside this one.
    pub replace_safe: bool,
    pub since: Instant,
    pub transport: Transport,
    stop: Sender<()>,
    ended: Receiver<TunnelError>,
}

impl Session {
    /// `ends` are the connection's, where the system tells.
    pub fn start(
        edge: &Rc<Edge>,
        (tunnel, line): (Tunnel, Box<dyn Line>),
        ends: Option<Ends>,
        replace_safe: bool,
        rhythm: Rhythm,
    ) -> Self {
        let transport = line.transport();
        let (stop, stopped) = bounded(1);
        let (report, ended) = bounded(1);
        let shared = edge.clone();
        edge.sessions.update(|count| count + 1);
        edge.spawn(async move {
            let end = serve(&shared, (tunnel, line), ends, stopped, rhythm).await;
            shared.sessions.update(|count| count - 1);
            shared.session_ended.raise();
            // Nobody waits for a session that was replaced.
            let _ = report.try_send(end);
        });
        Session {
            replace_safe,
            since: Instant::now(),
            transport,
            stop,
            ended,
        }
    }

    /// Waits for the end of the session. Safe to drop and to call again.
    pub async fn ended(&self) -> TunnelError {
        let lost = || TunnelError::Lost(std::io::ErrorKind::BrokenPipe.into());
        self.ended.recv().await.unwrap_or_else(|_| lost())
    }

    /// Leaves the farewell to the hub, which ends this session when the newer one has its place:
    /// if this side were faster, there could be a moment in which the hub knows of neither.
    pub async fn replaced(self) {
        let ended = async {
            self.ended().await;
            true
        };
        let late = async {
            pause(HANDOVER).await;
            false
        };
        if !or(ended, late).await {
            self.stop().await;
        }
    }

    /// Says goodbye, closes, and waits until the connection is gone.
    pub async fn stop(self) {
        let _ = self.stop.try_send(());
        let gone = async {
            self.ended().await;
        };
        or(gone, pause(GOODBYE)).await;
    }
}

/// Drives the tunnel until it ends or is told to.
async fn serve(
    edge: &Edge,
    (tunnel, line): (Tunnel, Box<dyn Line>),
    ends: Option<Ends>,
    stopped: Receiver<()>,
    rhythm: Rhythm,
) -> TunnelError {
    let Tunnel {
        mut sender,
        mut receiver,
    } = tunnel;
    let (answers, queue) = bounded(OUTGOING);
    let _attached = edge.requests.attach(answers.clone());
    edge.session_began.raise();
    edge.jobs.session.raise();
    let heard = Cell::new(Instant::now());
    let share = receiver.share();
    let (counted, brought) = (Cell::new(0), Cell::new(0));
    let count = || {
        let now = share.received();
        // The session's own number wraps.
        let received = now.wrapping_sub(counted.replace(now)) as u64;
        brought.update(|bytes| bytes + received);
        edge.state.count(Counts {
            received,
            ..Counts::default()
        });
        now
    };
    let signs = || (count(), line.acknowledged());
    let ground = Ground {
        ends,
        follows: line.transport() == Transport::Quic,
        changed: edge.roaming.listen(),
    };
    let stop = async {
        let _ = stopped.recv().await;
        TunnelError::Closed {
            code: 1000,
            reason: String::new(),
        }
    };
    let read = read(edge, &mut receiver, &answers, &heard);
    let write = write(edge, &mut sender, &queue, &heard, (&signs, &ground), rhythm);
    let end = or(stop, or(read, write)).await;
    let farewell = async {
        let _ = sender.close(1000, "").await;
        drop((sender, receiver));
        line.gone().await;
    };
    or(farewell, pause(GOODBYE)).await;
    count();
    let kilobytes = brought.get() / 1000;
    log::info!("a session with the hub is over: it brought {kilobytes} kB");
    end
}

/// Takes what the hub sends. Any frame is a sign of life.
async fn read(
    edge: &Edge,
    receiver: &mut Incoming,
    answers: &Sender<Message>,
    heard: &Cell<Instant>,
) -> TunnelError {
    loop {
        let event = match receiver.next().await {
            Ok(event) => event,
            Err(end) => return end,
        };
        heard.set(Instant::now());
        match event {
            Event::Message(message) => handle(edge, *message, answers).await,
            Event::Malformed(error) => {
                edge.state.skipped();
                log::warn!("skipped a frame from the hub: {error}");
            }
            Event::Alive => {}
        }
    }
}

/// Hands a message to who wants it. When objects come faster than they can be stored, the hub waits
/// rather than anything being dropped.
async fn handle(edge: &Edge, message: Message, answers: &Sender<Message>) {
    match message.route.operation.as_str() {
        // The tunnel's own questions are answered by the tunnel, as upstream does.
        "ping" | "config" => {
            let answer = message.answer(edge.host.clock.stamp(), "edgehub", "response", "ack");
            if answers.try_send(answer).is_err() {
                log::debug!("the hub asks faster than answers can leave: one was dropped");
            }
        }
        CHANGE => match message.text().map(|word| word.parse()) {
            Some(Ok(cas)) => edge.heard(cas),
            _ => log::debug!("the hub says something of its CAs that is not understood"),
        },
        _ if message.header.parent_id.is_empty() => {
            if let Some(message) = edge.jobs.take(message) {
                edge.pushed(message, answers).await;
            }
        }
        _ => {
            let late = edge.requests.answered(message);
            if let Some(late) = late.and_then(|late| edge.jobs.heard(late)) {
                // An object that comes too late is still one, and KubeEdge's cloud sends nothing
                // else until it is acknowledged.
                edge.pushed(late, answers).await;
            }
        }
    }
}

/// Sends what waits, a sign of life at every beat, and a ping when the hub has gone silent.
async fn write(
    edge: &Edge,
    sender: &mut Outgoing,
    queue: &Receiver<Message>,
    heard: &Cell<Instant>,
    (signs, ground): (&dyn Fn() -> (usize, Option<u64>), &Ground),
    rhythm: Rhythm,
) -> TunnelError {
    let Rhythm {
        beat, quiet, dead, ..
    } = rhythm;
    let mut received = signs();
    let mut beat_at = Instant::now();
    let mut listen_at = None;
    let mut pinged_at: Option<Instant> = None;
    // Until when the hub has to answer, because this device may have moved.
    let mut probed: Option<(Instant, Instant)> = None;
    loop {
        let now = Instant::now();
        // A part of a long message on a slow line is a sign of life, and so is an acknowledgement.
        let signs = signs();
        if signs != received {
            received = signs;
            heard.set(now);
        }
        listen_at = listen_at.filter(|at| *at > now);
        let last = heard.get();
        let pinged = pinged_at.is_some_and(|at| at > last);
        probed = probed.filter(|(asked, _)| *asked > last);
        let given_up = match probed {
            Some((_, until)) => until.min(last + dead),
            None => last + dead,
        };
        let sent = if now >= given_up {
            return TunnelError::TimedOut("any sign of life from the hub");
        } else if now >= beat_at {
            beat_at = now + beat;
            listen_at = rhythm.listen.map(|after| now + after);
            let sign = async {
                match rhythm.sign {
                    Sign::Message => {
                        let message = Message::keepalive(edge.host.clock.stamp());
                        sender.send(&message).await
                    }
                    Sign::Frame => sender.live().await,
                    Sign::Ping => sender.ping().await,
                }
            };
            within(edge.settings.write_deadline, sign).await
        } else if now >= last + quiet && !pinged {
            pinged_at = Some(now);
            within(edge.settings.write_deadline, sender.ping()).await
        } else {
            let silence_ends = if pinged { given_up } else { last + quiet };
            let wake = beat_at.min(silence_ends).min(given_up);
            let wake = Timer::at(listen_at.map_or(wake, |at| wake.min(at)));
            let timed = async {
                wake.await;
                Woken::Time
            };
            let message = async {
                queue
                    .recv()
                    .await
                    .map_or(Woken::Closed, |it| Woken::Message(Box::new(it)))
            };
            let moved = async { Woken::Moved(ground.shifts(edge).await) };
            match or(message, or(timed, moved)).await {
                Woken::Message(message) => {
                    if rhythm.sign != Sign::Message {
                        beat_at = now + beat;
                        listen_at = rhythm.listen.map(|after| now + after);
                    }
                    within(edge.settings.write_deadline, sender.send(&message)).await
                }
                Woken::Closed => return TunnelError::TimedOut("any answer of the cloud"),
                Woken::Moved(Footing::Gone(address)) => return TunnelError::Moved(address),
                Woken::Moved(Footing::Doubtful) => {
                    let asked = Instant::now();
                    pinged_at = Some(asked);
                    probed = Some((asked, asked + PROBE));
                    within(edge.settings.write_deadline, sender.ping()).await
                }
                Woken::Moved(Footing::Firm) | Woken::Time => Ok(()),
            }
        };
        if let Err(end) = sent {
            return end;
        }
    }
}

/// What the sending side gets to know next.
enum Woken {
    /// Who asked the cloud has given it up.
    Closed,
    Message(Box<Message>),
    Moved(Footing),
    Time,
}

/// What a session stands on.
struct Ground {
    ends: Option<Ends>,
    /// The connection follows this device, as soon as the hub hears of it.
    follows: bool,
    changed: Receiver<()>,
}

impl Ground {
    /// The footing after the next change of this device's networks.
    async fn shifts(&self, edge: &Edge) -> Footing {
        let _ = self.changed.recv().await;
        let free = edge.settings.way.uplink.is_any();
        match self.ends {
            Some(ends) => ends.footing(free),
            None if self.follows => Footing::Doubtful,
            None => Footing::Firm,
        }
    }
}

async fn within(
    deadline: Duration,
    sending: impl Future<Output = Result<(), TunnelError>>,
) -> Result<(), TunnelError> {
    let late = async {
        Timer::after(deadline).await;
        Err(TunnelError::TimedOut("sending to the hub"))
    };
    or(sending, late).await
}

/// For an answer to a ping after this device's networks have changed.
const PROBE: Duration = Duration::from_secs(5);
const GOODBYE: Duration = Duration::from_secs(2);
/// For the hub to end a session that was replaced.
const HANDOVER: Duration = Duration::from_secs(2);
/// Messages that wait to be sent. What does not fit is dropped by who offers it.
const OUTGOING: usize = 64;

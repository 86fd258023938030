//! Jobs from the cloud: which step is next, what was said of each, also after the restart that one of them makes.
//!
//! The hub decides what is to be done and tells the cloud; its supervisor does it. See docs/jobs.md.

mod course;
mod delivery;
pub mod errand;
mod record;
mod step;
mod telling;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;
use std::time::{Duration, Instant};

use super::edge::{Edge, Signal};
use super::parent;
use super::supervisor::OFF;
use crate::protocol::jobs::{Action, Address, Order, Report, Work};
use crate::protocol::message::Message;
use crate::system::blocking::{self, Kind};
use crate::system::build;
use course::Course;
use delivery::Delivery;
use record::{Came, Job, Place, Record, Said};
use step::{Done, Look, Step};

/// Asks the supervisor, as `parent::ask_to` does.
pub type Hands = Arc<dyn Fn(&str) -> Option<Result<(), String>> + Send + Sync>;

/// The node's jobs, as the rest of edgecore sees them.
pub struct Jobs {
    came: (Sender<Message>, Receiver<Message>),
    waiting: Cell<bool>,
    confirmed: Signal,
    /// A session has begun, over which can be reported, or a report has arrived.
    pub session: Signal,
    /// The ids of reports that the cloud says to have written down.
    acknowledged: RefCell<Vec<String>>,
    pub hands: RefCell<Hands>,
    /// Between two looks at what runs.
    pub pace: Cell<Duration>,
    /// How long nothing may be known of it.
    pub silence: Cell<Duration>,
}

impl Default for Jobs {
    fn default() -> Jobs {
        Jobs {
            came: bounded(MAX_WAITING),
            waiting: Cell::new(false),
            confirmed: Signal::new(),
            session: Signal::new(),
            acknowledged: RefCell::default(),
            hands: RefCell::new(Arc::new(|order: &str| parent::ask_to(order))),
            pace: Cell::new(PACE),
            silence: Cell::new(SILENCE),
        }
    }
}

impl Jobs {
    /// Takes a message that gives this node a job; gives any other back.
    pub fn take(&self, message: Message) -> Option<Message> {
        if Address::of(&message).is_none() || !message.header.parent_id.is_empty() {
            return Some(message);
        }
        if self.came.0.try_send(message).is_err() {
            log::warn!("the cloud sends more jobs than can wait: one was dropped");
        }
        None
    }

    /// Takes an answer to a report; gives any other back.
    pub fn heard(&self, answer: Message) -> Option<Message> {
        if Address::of(&answer).is_none() {
            return Some(answer);
        }
        let mut acknowledged = self.acknowledged.borrow_mut();
        if acknowledged.len() < MAX_UNSENT {
            acknowledged.push(answer.header.parent_id);
        }
        self.session.raise();
        None
    }

    /// A person agrees to the job that waits for that; false when none does.
    pub fn confirm(&self) -> bool {
        if self.waiting.replace(false) {
            self.confirmed.raise();
            return true;
        }
        false
    }
}

/// Never ends.
pub async fn run(edge: &Rc<Edge>) {
    let place = Place {
        files: edge.host.files.clone(),
        folder: edge.settings.state.folder.clone(),
    };
    let load = {
        let place = place.clone();
        move || place.load()
    };
    let record = edge.off_thread(load).await.unwrap_or_default();
    let mut desk = Desk {
        edge: edge.clone(),
        place,
        record,
        delivery: Delivery::default(),
    };
    loop {
        desk.tell().await;
        match desk.record.job.clone() {
            Some(job) => desk.go_on(job).await,
            None => desk.rest().await,
        }
    }
}

/// Where jobs are done.
struct Desk {
    edge: Rc<Edge>,
    place: Place,
    record: Record,
    /// Of the record's reports.
    delivery: Delivery,
}

impl Desk {
    /// Waits for a job, or for a session that reports can go over.
    async fn rest(&mut self) {
        let came = async { self.edge.jobs.came.1.recv().await.ok() };
        let session = async {
            self.edge.jobs.session.wait().await;
            None
        };
        let again = async {
            match self.has_to_look() {
                false => smol::future::pending::<()>().await,
                true => drop(Timer::after(AGAIN).await),
            }
            None
        };
        if let Some(message) = or(came, or(session, again)).await {
            self.begin(&message).await;
        }
    }

    async fn begin(&mut self, message: &Message) {
        let (Some(address), came) = (Address::of(message), Came::of(message)) else {
            return;
        };
        if address.node != self.edge.settings.node.as_str() {
            return log::warn!(
                "a job for node {:?} came here: it is not done",
                address.node
            );
        }
        let resource = address.resource();
        let again = self.record.last.clone().filter(|_| !address.is_stepwise());
        if let Some(said) = again.filter(|it| it.resource == resource) {
            // The cloud has not heard, or has forgotten.
            self.record.unsent.push(said);
            return self.save().await;
        }
        let order = came.order();
        let action = order.as_ref().map_or(Action::Check, |order| order.action);
        let history = order.as_ref().ok().and_then(|it| it.history.clone());
        let enabled = match self.edge.settings.jobs {
            true => Ok(()),
            false => Err(OFF.to_owned()),
        };
        let done = enabled.and_then(|()| order.map(drop).map_err(|why| why.to_string()));
        if let Err(why) = done {
            log::warn!("the job {} of the cloud is refused: {why}", address.job);
            let report = Report::new(action, Err(why), self.edge.host.clock.now());
            self.say(resource, report, history);
            return self.save().await;
        }
        log::info!("the cloud gives this node the job {}", address.job);
        self.record.job = Some(Job {
            came,
            step: action.word().to_owned(),
            begun: false,
            from: format!("v{}", build::VERSION),
            failed: None,
            alone: false,
            lost: 0,
        });
        self.save().await;
    }

    /// Does what is next, and notes down what comes after it.
    async fn go_on(&mut self, mut job: Job) {
        let (Some(action), Ok(order)) = (job.step(), job.came.order()) else {
            // Another version has written it.
            log::warn!("a job of before can't be understood any more: it is forgotten");
            self.record.job = None;
            return self.save().await;
        };
        let course = Course {
            order: &order,
            alone: job.alone,
        };
        if action == Action::WaitingConfirmation && course.confirm() {
            if !self.edge.jobs.waiting.get() {
                let job = &order.address.job;
                log::info!("the job {job} of the cloud waits for `kubeedge ctl confirm`");
            }
            let (done, other) = match self.agreement(&job.came).await {
                Heard::Yes => (Ok(()), None),
                Heard::Session => return,
                Heard::Other(message) => (Err(OTHER.to_owned()), Some(message)),
            };
            self.end_of(job, &order, action, (done, String::new()))
                .await;
            if let Some(message) = other {
                self.begin(&message).await;
            }
            return;
        }
        let step = Step {
            edge: &self.edge,
            order: &order,
            from: &job.from,
        };
        let done = match step.errand(action) {
            None => step.here(action).await,
            Some(errand) => {
                let mut begun = Ok(());
                if !job.begun {
                    job.begun = true;
                    self.record.job = Some(job.clone());
                    self.save().await;
                    begun = step.begin(errand).await;
                }
                match begun {
                    Ok(()) => match self.end_awaited(&job, &order, action).await {
                        Some(done) => done,
                        None => return self.once_more(job, action).await,
                    },
                    Err(why) => (Err(why), String::new()),
                }
            }
        };
        self.end_of(job, &order, action, done).await;
    }

    /// A step that a power cut has ended is begun again: each can be done twice.
    async fn once_more(&mut self, mut job: Job, action: Action) {
        log::warn!("{} of a job was interrupted: once more", action.word());
        job.begun = false;
        job.lost += 1;
        self.record.job = Some(job);
        self.save().await;
    }

    /// Looks until what runs is over, or has not been heard of for too long; nothing when it was lost. Reports go
    /// out meanwhile.
    async fn end_awaited(&mut self, job: &Job, order: &Order, action: Action) -> Option<Done> {
        let (mut heard, mut lost) = (Instant::now(), 0);
        loop {
            let step = Step {
                edge: &self.edge,
                order,
                from: &job.from,
            };
            match step.look(action).await {
                Look::Over(done) => return Some(done),
                Look::Runs => (heard, lost) = (Instant::now(), 0),
                Look::Unknown if heard.elapsed() >= self.edge.jobs.silence.get() => {
                    return Some((Err(LOST.to_owned()), String::new()));
                }
                Look::Unknown => lost = 0,
                // It may just have ended when it was looked for.
                Look::Lost if lost < SURE => lost += 1,
                Look::Lost if job.lost < MOST_LOST => return None,
                Look::Lost => return Some((Err(LOST.to_owned()), String::new())),
            }
            Timer::after(self.edge.jobs.pace.get()).await;
            self.tell().await;
        }
    }

    /// A step is over: says so, and sees what comes next.
    async fn end_of(&mut self, mut job: Job, order: &Order, action: Action, done: Done) {
        let (done, mut extend) = done;
        let course = Course {
            order,
            alone: job.alone,
        };
        let resource = order.address.resource();
        let failed = done.is_err();
        if let Err(why) = &done {
            log::warn!("{} of {resource} failed: {why}", action.word());
            job.failed.get_or_insert_with(|| why.clone());
        }
        let next = course.next(action, failed);
        if let Some(told) = course.told(action, failed) {
            if let (Some(_), Work::Upgrade(upgrade)) = (&order.history, &order.work) {
                extend = format!("{},{}", job.from, upgrade.version.as_str());
            }
            let mut report = Report::new(told, done, self.edge.host.clock.now());
            report.extend = extend;
            // To such a cloud it may be the only word of what went wrong.
            if let (Some(why), true) = (&job.failed, order.address.is_stepwise()) {
                report.reason = match report.reason.as_str() {
                    reason if reason.is_empty() || reason == why => why.clone(),
                    reason => format!("{why}; {reason}"),
                };
            }
            self.say(resource, report, order.history.clone());
        }
        self.record.job = next.map(|next| {
            job.step = next.word().to_owned();
            job.begun = false;
            job.lost = 0;
            job.alone |= course.asks_for_each();
            job
        });
        if next.is_none() {
            self.record.last = self.record.unsent.last().cloned();
        }
        self.save().await;
    }

    fn say(&mut self, resource: String, report: Report, history: Option<String>) {
        if self.record.unsent.len() >= MAX_UNSENT {
            self.record.unsent.remove(0);
            self.delivery.forget_first();
        }
        self.record.unsent.push(Said {
            resource,
            report,
            history,
        });
    }

    /// Waits for a person's agreement to this job. It may come again, since the cloud has not heard of it yet.
    async fn agreement(&self, job: &Came) -> Heard {
        let jobs = &self.edge.jobs;
        jobs.waiting.set(true);
        let yes = async {
            jobs.confirmed.wait().await;
            Heard::Yes
        };
        let node = self.edge.settings.node.as_str();
        let other = async {
            while let Ok(message) = jobs.came.1.recv().await {
                let is_ours = Address::of(&message).is_some_and(|it| it.node == node);
                if is_ours && !job.is_of(&message) {
                    return Heard::Other(Box::new(message));
                }
            }
            Heard::Session
        };
        let session = async {
            jobs.session.wait().await;
            Heard::Session
        };
        let heard = or(yes, or(session, other)).await;
        if !matches!(heard, Heard::Session) {
            jobs.waiting.set(false);
        }
        heard
    }

    /// A disk that does not take it costs only what a restart would have needed.
    async fn save(&self) {
        let (place, record) = (self.place.clone(), self.record.clone());
        match self.edge.off_thread(move || place.save(&record)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.edge.state.problem(&error, true),
            Err(failure) => self.edge.state.problem(&failure, true),
        }
    }
}

enum Heard {
    Yes,
    Session,
    Other(Box<Message>),
}

/// Asks the supervisor on a helper thread; the answer, or why there is none, is a line.
async fn asked(edge: &Edge, line: String) -> Result<(), String> {
    let hands = edge.jobs.hands.borrow().clone();
    let answer = blocking::run(Kind::Disk, PATIENCE, move || hands(&line)).await;
    match answer {
        Ok(Some(answer)) => answer,
        Ok(None) => Err(
            "jobs need edgecore's supervisor: start edgecore without --no-supervisor".to_owned(),
        ),
        Err(blocked) => Err(blocked.to_string()),
    }
}

/// Jobs that wait for the one that is done.
const MAX_WAITING: usize = 8;
const MAX_UNSENT: usize = 64;
const PACE: Duration = Duration::from_millis(500);
/// Longer than the trial of a new executable, which is three starts of 300 s at most.
const SILENCE: Duration = Duration::from_secs(30 * 60);
const LOST: &str =
    "the device was restarted meanwhile, and nobody knows what came of it: see its log";
/// Looks, one after the other, that have to show the same.
const SURE: u32 = 3;
/// So often a step may be lost, and then it is the step that takes the power away.
const MOST_LOST: u32 = 3;
const OTHER: &str = "another job came before this one was confirmed";
const AGAIN: Duration = Duration::from_secs(5);
/// For the supervisor's answer, and a little more.
const PATIENCE: Duration = Duration::from_secs(35);

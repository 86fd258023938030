//! What changed in the store, for who watches: the last changes, and a wake-up.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use smol::channel::{Receiver, Sender, bounded};

use super::index::compare;
use crate::protocol::resource::ObjectPath;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub what: What,
    pub path: ObjectPath,
    pub uid: Box<str>,
    pub version: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Added,
    Deleted,
    Modified,
}

/// The last changes, numbered.
#[derive(Default)]
pub struct News {
    last: RefCell<VecDeque<Stamped>>,
    /// The number of the change that comes next.
    next: Cell<u64>,
    /// The largest version before the first of `last`.
    base: RefCell<Box<str>>,
    watchers: RefCell<Vec<Sender<()>>>,
}

struct Stamped {
    item: Rc<Item>,
    /// The largest version up to and with it.
    newest: Box<str>,
}

/// Changes that nobody has kept: whoever watches has to look at everything anew.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOld;

impl News {
    /// Nothing has changed since this was the largest version.
    pub fn begin(&self, newest: &str) {
        self.last.borrow_mut().clear();
        self.base.replace(newest.into());
    }

    /// What has changed is not known: whoever watches has to look at everything.
    pub fn begin_anew(&self, newest: &str) {
        self.begin(newest);
        self.next.update(|next| next + 1);
        self.wake();
    }

    pub fn add(&self, item: Item) {
        let before = self.newest();
        let newest = match compare(&item.version, &before) {
            Ordering::Greater => item.version.clone(),
            _ => before,
        };
        let mut last = self.last.borrow_mut();
        if last.len() >= MAX_KEPT
            && let Some(oldest) = last.pop_front()
        {
            self.base.replace(oldest.newest);
        }
        let item = Rc::new(item);
        last.push_back(Stamped { item, newest });
        self.next.update(|next| next + 1);
        drop(last);
        self.wake();
    }

    fn wake(&self) {
        let mut watchers = self.watchers.borrow_mut();
        watchers.retain(|watcher| !watcher.is_closed());
        for watcher in watchers.iter() {
            // Full means that a wake-up is pending already.
            let _ = watcher.try_send(());
        }
    }

    /// The largest version that anything had, which stands for all that happened.
    pub fn newest(&self) -> Box<str> {
        let last = self.last.borrow();
        match last.back() {
            Some(last) => last.newest.clone(),
            None => self.base.borrow().clone(),
        }
    }

    /// The number of the change that comes next.
    pub fn now(&self) -> u64 {
        self.next.get()
    }

    /// The number of the first change that is news to who knows this version. What came late, with a
    /// version that is not the largest, may come to them again.
    pub fn since(&self, version: &str) -> Result<u64, TooOld> {
        let last = self.last.borrow();
        let first = self.next.get() - last.len() as u64;
        if compare(version, &self.base.borrow()) == Ordering::Less
            || compare(version, &self.newest()) == Ordering::Greater
        {
            return Err(TooOld);
        }
        let known = |it: &&Stamped| {
            let is_raise = *it.item.version == *it.newest;
            match compare(&it.newest, version) {
                Ordering::Less => true,
                Ordering::Equal => is_raise,
                Ordering::Greater => false,
            }
        };
        Ok(first + last.iter().take_while(known).count() as u64)
    }

    /// The change of this number; none when it has not happened yet.
    pub fn get(&self, number: u64) -> Result<Option<Rc<Item>>, TooOld> {
        let last = self.last.borrow();
        let first = self.next.get() - last.len() as u64;
        let at = number.checked_sub(first).ok_or(TooOld)?;
        let at = usize::try_from(at).map_err(|_| TooOld)?;
        Ok(last.get(at).map(|stamped| stamped.item.clone()))
    }

    /// Holds an item whenever something changed since it was last read.
    pub fn watch(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        self.watchers.borrow_mut().push(sender);
        receiver
    }
}

const MAX_KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::resource::Kind;

    fn news(base: &str, versions: &[&str]) -> News {
        let news = News::default();
        news.begin(base);
        for version in versions {
            news.add(Item {
                what: What::Modified,
                path: ObjectPath::new("default", Kind::Pod, "a").unwrap(),
                uid: "u".into(),
                version: (*version).into(),
            });
        }
        news
    }

    #[test]
    fn nobody_misses_a_change() {
        let news = news("10", &["11", "9", "12"]);
        assert_eq!(*news.newest(), *"12");
        let since = ["9", "10", "11", "12", "13"].map(|version| news.since(version));
        // Who knows 11 may not know of the one that came late.
        assert_eq!(since, [Err(TooOld), Ok(0), Ok(1), Ok(3), Err(TooOld)]);
        assert_eq!(*news.get(1).unwrap().unwrap().version, *"9");
        assert_eq!(news.get(3), Ok(None));
    }

    #[test]
    fn who_watches_is_told_that_everything_may_be_different() {
        let news = news("10", &["11"]);
        let watcher = news.watch();
        news.begin_anew("12");
        assert!(watcher.try_recv().is_ok());
        assert_eq!(news.get(1), Err(TooOld));
        assert_eq!(news.get(news.now()), Ok(None));
        assert_eq!(news.since("12"), Ok(news.now()));
    }

    #[test]
    fn what_is_kept_is_bounded_and_who_is_slow_is_told() {
        let versions: Vec<String> = (1..=MAX_KEPT + 2).map(|it| it.to_string()).collect();
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let news = news("0", &versions);
        assert_eq!(news.get(1), Err(TooOld));
        assert_eq!(*news.get(2).unwrap().unwrap().version, *"3");
        assert_eq!((news.since("1"), news.since("2")), (Err(TooOld), Ok(2)));
    }

    #[test]
    fn watchers_wake_up_once_for_many_changes() {
        let news = News::default();
        news.begin("0");
        let watcher = news.watch();
        let item = |version: &str| Item {
            what: What::Added,
            path: ObjectPath::new("default", Kind::Pod, "a").unwrap(),
            uid: "u".into(),
            version: version.into(),
        };
        news.add(item("1"));
        news.add(item("2"));
        assert!(watcher.try_recv().is_ok() && watcher.try_recv().is_err());
        drop(watcher);
        news.add(item("3"));
        assert!(news.watchers.borrow().is_empty());
    }
}

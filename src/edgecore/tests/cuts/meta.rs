//! What the cloud sends, cut and disturbed everywhere: an object is the old one or the new one, and what was
//! acknowledged is not lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::errno::Errno;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::{or, zip};

use super::*;
use crate::edgecore::meta::{self, keep, load};
use crate::edgecore::pushes::Push;
use crate::protocol::message::{Message, Route};
use crate::protocol::resource::ObjectPath;
use crate::system::figures::tried;
use crate::system::files::crash::{Recording, each_fault, is_clear};

/// A name, and what the cloud says of it: a version, or that it goes.
type Said = (&'static str, Option<u32>);

const BEFORE: &[Said] = &[("a", Some(1)), ("b", Some(1)), ("c", Some(1))];
/// One by one, and all together.
const FLOWS: &[&[Said]] = &[
    &[("a", Some(2))],
    &[("b", None)],
    &[
        ("a", Some(2)),
        ("b", None),
        ("c", Some(1)),
        ("d", Some(1)),
        ("a", Some(3)),
        ("e", Some(1)),
    ],
];

fn message((name, version): Said) -> Message {
    let operation = if version.is_some() {
        "update"
    } else {
        "delete"
    };
    let route = Route {
        source: "edgecontroller".to_owned(),
        group: "resource".to_owned(),
        operation: operation.to_owned(),
        resource: format!("default/configmap/{name}"),
        ..Route::default()
    };
    let content = serde_json::json!({
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "resourceVersion": version.unwrap_or(9).to_string()},
        "data": {"filler": "x".repeat(200)},
    });
    Message::new(Timestamp::from_unix(1), route, &content)
}

fn edge(files: Files, root: &Path) -> Rc<Edge> {
    let clock = Clock::manual(Timestamp::from_unix(1_800_000_000)).0;
    let edge = edge_below(files, root, "edge-1", 1, &clock);
    // If it can't be known yet what is there, it is looked up before the first is stored.
    run(&edge, meta::load(&edge));
    edge
}

fn top(root: &Path) -> PathBuf {
    root.join("state/meta")
}

async fn send(edge: &Edge, said: &[Said], acks: &Sender<Message>) {
    for one in said {
        let push = Push {
            message: message(*one),
            acks: acks.clone(),
        };
        edge.pushes.add(push).await;
    }
}

/// Sends and has it stored; how many acknowledgements came, and what a person was told.
fn store(edge: &Rc<Edge>, said: &[Said]) -> (usize, Option<String>) {
    let (acks, acknowledged): (_, Receiver<Message>) = bounded(said.len());
    let work = async {
        send(edge, said, &acks).await;
        // Whatever the disk does, it comes to its end.
        keep::once(edge).await;
        edge.state.snapshot().last_error.map(|it| it.message)
    };
    let problem = run(edge, work);
    (acknowledged.len(), problem)
}

/// What the disk says now: name and version.
fn stored(root: &Path) -> BTreeMap<String, u32> {
    let found = load::all(&Files::real(), &top(root)).unwrap();
    assert_eq!(found.damaged, 0);
    let version = |(path, entry): (ObjectPath, crate::edgecore::meta::index::Entry)| {
        (path.name, entry.version.parse().unwrap())
    };
    found.index.entries.into_iter().map(version).collect()
}

fn after(flow: &[Said]) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for (name, version) in BEFORE.iter().chain(flow) {
        match version {
            Some(version) => all.insert((*name).to_owned(), *version),
            None => all.remove(*name),
        };
    }
    all
}

/// Every object is as it was or as it shall be, and never in between.
fn each_is_old_or_new(found: &BTreeMap<String, u32>, flow: &[Said]) {
    let (old, new) = (after(&[]), after(flow));
    for name in ["a", "b", "c", "d", "e"] {
        let is = found.get(name);
        assert!(
            is == old.get(name) || is == new.get(name),
            "{name} is {is:?}"
        );
    }
}

fn no_remains(root: &Path) {
    for folder in ["", "configmap", "configmap/default"] {
        for entry in std::fs::read_dir(top(root).join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name} is left");
        }
    }
}

fn prepared() -> Scratch {
    let folder = Scratch::new();
    let said = store(&edge(Files::real(), folder.path()), BEFORE);
    assert_eq!(said, (BEFORE.len(), None));
    folder
}

#[test]
fn objects_may_lose_their_power_at_any_moment() {
    let mut states = 0;
    for flow in FLOWS {
        let folder = prepared();
        let recording = Recording::of(folder.path(), |recorder| {
            let edge = edge(recorder.files(), folder.path());
            assert_eq!(store(&edge, flow), (flow.len(), None));
            recorder.promise("acknowledged");
        });
        states += recording.each_state(|state| {
            let found = stored(state.root());
            each_is_old_or_new(&found, flow);
            assert!(found == after(flow) || !state.promised("acknowledged"));
            // The cloud sends again what was not acknowledged.
            let edge = edge(Files::real(), state.root());
            assert_eq!(store(&edge, flow), (flow.len(), None));
            assert_eq!(stored(state.root()), after(flow));
            no_remains(state.root());
        });
    }
    // The first object of a device makes folders.
    let folder = Scratch::new();
    let recording = Recording::of(folder.path(), |recorder| {
        let edge = edge(recorder.files(), folder.path());
        assert_eq!(store(&edge, &BEFORE[..1]), (1, None));
        recorder.promise("acknowledged");
    });
    states += recording.each_state(|state| {
        let found = stored(state.root());
        assert!(found.len() == 1 || !state.promised("acknowledged"));
        let edge = edge(Files::real(), state.root());
        assert_eq!(store(&edge, BEFORE), (BEFORE.len(), None));
        assert_eq!(stored(state.root()), after(&[]));
    });
    tried(
        "cuts-meta",
        "states a power cut leaves of objects that the cloud sends",
        states,
    );
}

#[test]
fn objects_survive_every_fault_of_the_disk() {
    let mut faults = 0;
    for flow in FLOWS {
        faults += each_fault(
            prepared,
            |folder, files| store(&edge(files, folder.path()), flow),
            |folder, (acknowledged, problem), fault| {
                let found = stored(folder.path());
                each_is_old_or_new(&found, flow);
                if acknowledged == flow.len() {
                    assert_eq!(found, after(flow));
                } else {
                    let sentence = problem.expect("a person is told");
                    assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
                }
                let edge = edge(Files::real(), folder.path());
                assert_eq!(store(&edge, flow), (flow.len(), None));
                assert_eq!(stored(folder.path()), after(flow));
                no_remains(folder.path());
            },
        );
    }
    tried(
        "faults-meta",
        "faults of the disk while objects are stored",
        faults,
    );
}

/// A batch that got its names but no last sync is not forgotten: what comes again is not taken for durable.
#[test]
fn what_may_not_be_durable_is_made_so_before_it_is_acknowledged() {
    struct LastSync(AtomicUsize);
    impl Layer for LastSync {
        fn before(&self, operation: Operation) -> io::Result<()> {
            let is_sync = matches!(operation, Operation::SyncDir { .. });
            match is_sync && self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }
    }
    let folder = prepared();
    let layer = Arc::new(LastSync(AtomicUsize::new(0)));
    let edge = edge(Files::with(layer.clone()), folder.path());
    let deletion = [("b", None)];
    let (acknowledged, problem) = store(&edge, &deletion);
    assert_eq!(acknowledged, 0);
    assert!(problem.unwrap().contains("acknowledged"));
    assert!(!stored(folder.path()).contains_key("b"));
    let before = layer.0.load(Ordering::SeqCst);
    let again = Recording::of(folder.path(), |recorder| {
        let edge = self::edge(recorder.files(), folder.path());
        edge.meta.owe();
        assert_eq!(store(&edge, &deletion).0, 1);
    });
    assert_eq!(before, 1);
    assert!(
        matches!(again.steps[..], [Operation::SyncAll { .. }]),
        "{:?}",
        again.steps
    );
}

#[test]
fn a_resend_writes_nothing() {
    let folder = prepared();
    let recording = Recording::of(folder.path(), |recorder| {
        let edge = edge(recorder.files(), folder.path());
        let late = [("a", Some(0)), ("nothing", None)];
        let said: Vec<Said> = BEFORE.iter().copied().chain(late).collect();
        assert_eq!(store(&edge, &said), (said.len(), None));
    });
    assert_eq!(recording.steps, []);
}

#[test]
fn a_thousand_objects_take_a_few_syncs() {
    #[derive(Default)]
    struct Syncs(AtomicUsize);
    impl Layer for Syncs {
        fn before(&self, operation: Operation) -> io::Result<()> {
            use Operation::{Sync, SyncAll, SyncDir};
            if matches!(operation, Sync { .. } | SyncAll { .. } | SyncDir { .. }) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }
    }
    let (folder, syncs) = (Scratch::new(), Arc::new(Syncs::default()));
    let edge = edge(Files::with(syncs.clone()), folder.path());
    let objects = 1000;
    let (acks, acknowledged) = bounded(objects);
    let sending = async {
        for number in 0..objects {
            let mut message = message(("a", Some(1)));
            let object = serde_json::json!({
                "metadata": {"name": format!("n{number}"), "uid": number.to_string()},
                "data": {"filler": "x".repeat(10_000)},
            });
            message.route.resource = format!("default/configmap/n{number}");
            message.content = serde_json::value::to_raw_value(&object).ok();
            let acks = acks.clone();
            edge.pushes.add(Push { message, acks }).await;
        }
    };
    let receiving = async {
        for _ in 0..objects {
            acknowledged.recv().await.unwrap();
        }
    };
    let storing = async {
        keep::run(&edge).await;
        unreachable!("it never ends")
    };
    run(&edge, or(zip(sending, receiving), storing));
    assert_eq!(edge.meta.paths(|_| true).len(), objects);
    let found = load::all(&Files::real(), &top(folder.path())).unwrap();
    assert_eq!(found.index.entries.len(), objects);
    let syncs = syncs.0.load(Ordering::SeqCst);
    assert!(syncs <= 40, "{syncs}");
    tried(
        "wear-objects",
        "syncs of the disk for 1,000 objects of 10 kB",
        syncs,
    );
}

#[test]
fn a_damaged_object_is_set_aside_and_comes_again() {
    let folder = prepared();
    let file = top(folder.path()).join("configmap/default/a.json");
    std::fs::write(&file, b"{\"metadata\":{\"na").unwrap();
    let found = load::all(&Files::real(), &top(folder.path())).unwrap();
    assert_eq!((found.damaged, found.index.entries.len()), (1, 2));
    let aside = top(folder.path()).join("damaged/configmap.default.a.json");
    assert_eq!(std::fs::read(aside).unwrap(), b"{\"metadata\":{\"na");
    let edge = edge(Files::real(), folder.path());
    assert_eq!(store(&edge, BEFORE), (BEFORE.len(), None));
    assert_eq!(stored(folder.path()), after(&[]));
}

/// A disk of which a part is broken.
struct Broken<F>(F);

impl<F: Fn(&Operation) -> Option<Errno> + Send + Sync> Layer for Broken<F> {
    fn before(&self, operation: Operation) -> io::Result<()> {
        match (self.0)(&operation) {
            Some(errno) => Err(errno.into()),
            None => Ok(()),
        }
    }
}

fn broken(fault: impl Fn(&Operation) -> Option<Errno> + Send + Sync + 'static) -> Files {
    Files::with(Arc::new(Broken(fault)))
}

fn names(edge: &Edge) -> String {
    let names: Vec<String> = edge
        .meta
        .paths(|_| true)
        .into_iter()
        .map(|it| it.name)
        .collect();
    names.join(" ")
}

#[test]
fn one_file_that_cannot_be_read_costs_no_other_and_comes_again() {
    let is_a = |path: &Path| path.ends_with("configmap/default/a.json");
    for errno in [Errno::EIO, Errno::EUCLEAN, Errno::EACCES] {
        let folder = prepared();
        let files = broken(move |operation| match operation {
            Operation::Open { path } if is_a(path) => Some(errno),
            _ => None,
        });
        let edge = edge(files, folder.path());
        assert_eq!(names(&edge), "b c", "{errno}");
        // It is still there, and what comes takes its place.
        assert_eq!(stored(folder.path()), after(&[]));
        assert_eq!(store(&edge, &[("a", Some(2))]), (1, None));
        assert_eq!(
            (names(&edge), stored(folder.path())),
            ("a b c".to_owned(), after(&[("a", Some(2))]))
        );
    }
    // Whoever takes it away means the file, read or not: else it would be there again some day.
    let folder = prepared();
    let files = broken(move |operation| match operation {
        Operation::Open { path } if is_a(path) => Some(Errno::EIO),
        _ => None,
    });
    let edge = edge(files, folder.path());
    assert_eq!(store(&edge, &[("a", None)]), (1, None));
    assert_eq!(stored(folder.path()), after(&[("a", None)]));
}

#[test]
fn what_was_begun_and_cannot_be_removed_costs_nothing() {
    let folder = prepared();
    let left = top(folder.path()).join("configmap/default/.a.json.tmp-0123456789abcdef");
    std::fs::write(&left, b"{").unwrap();
    let files = broken(|operation| operation.is_change().then_some(Errno::EROFS));
    let edge = edge(files, folder.path());
    assert_eq!(names(&edge), "a b c");
    // Nothing is acknowledged that can't be stored, and nothing waits for it.
    for _ in 0..3 {
        let (acknowledged, problem) = store(&edge, FLOWS[0]);
        assert_eq!(acknowledged, 0);
        assert!(problem.unwrap().contains("read-only file system"));
        assert_eq!(names(&edge), "a b c");
    }
    assert!(left.exists());
}

#[test]
fn a_damaged_object_stays_where_there_is_no_room_to_set_it_aside() {
    let folder = prepared();
    let file = top(folder.path()).join("configmap/default/a.json");
    std::fs::write(&file, b"{\"metadata\":{\"na").unwrap();
    let files = broken(|operation| match operation {
        Operation::CreateNew { .. } => Some(Errno::ENOSPC),
        _ => None,
    });
    let edge = edge(files, folder.path());
    assert_eq!(names(&edge), "b c");
    assert!(file.exists());
    assert_eq!(store(&edge, FLOWS[0]).0, 0);
    assert_eq!(store(&edge, FLOWS[1]).0, 1);
    assert_eq!(names(&edge), "c");
}

#[test]
fn a_folder_that_cannot_be_listed_costs_no_other() {
    let folder = prepared();
    let node =
        serde_json::json!({"metadata": {"name": "edge-1", "uid": "n", "resourceVersion": "1"}});
    let at = top(folder.path()).join("node/null");
    std::fs::create_dir_all(&at).unwrap();
    std::fs::write(at.join("edge-1.json"), node.to_string()).unwrap();
    let files = broken(|operation| match operation {
        Operation::List { path } if path.ends_with("configmap") => Some(Errno::EIO),
        _ => None,
    });
    let edge = edge(files, folder.path());
    assert_eq!(names(&edge), "edge-1");
    let said = [("a", Some(2)), ("b", None), ("nothing", None)];
    assert_eq!(store(&edge, &said), (3, None));
    assert_eq!(names(&edge), "a edge-1");
    std::fs::remove_dir_all(at).unwrap();
    assert_eq!(stored(folder.path()), after(&said[..2]));
}

/// Neither a name that the file system does not give anew, as with a broken inode, nor one that it does not take away.
#[test]
fn a_name_that_cannot_be_changed_costs_no_other() {
    let folder = prepared();
    let files = broken(|operation| match operation {
        Operation::Rename { to: path, .. } | Operation::Unlink { path }
            if path.ends_with("a.json") || path.ends_with("b.json") =>
        {
            Some(Errno::EUCLEAN)
        }
        _ => None,
    });
    let edge = edge(files, folder.path());
    let said = [("a", Some(2)), ("b", None), ("c", Some(2)), ("d", Some(1))];
    let (acknowledged, problem) = store(&edge, &said);
    assert_eq!(acknowledged, 2);
    assert!(problem.unwrap().contains("is not acknowledged"));
    assert_eq!(names(&edge), "a b c d");
    assert_eq!(stored(folder.path()), after(&said[2..]));
    no_remains(folder.path());
}

/// A process without a descriptor left knows nothing of the disk: it forgets no object for that.
#[test]
fn a_shortage_is_waited_for_and_nobody_waits_for_it() {
    let folder = prepared();
    let short = Arc::new(AtomicBool::new(true));
    let told = short.clone();
    let files = broken(move |operation| {
        let is_hit = matches!(operation, Operation::Open { .. } | Operation::List { .. });
        (is_hit && told.load(Ordering::SeqCst)).then_some(Errno::EMFILE)
    });
    let edge = edge(files, folder.path());
    assert!(!edge.meta.is_ready());
    let (acknowledged, problem) = store(&edge, FLOWS[0]);
    assert_eq!(acknowledged, 0);
    assert!(problem.unwrap().contains("ulimit -n"));
    short.store(false, Ordering::SeqCst);
    assert_eq!(store(&edge, FLOWS[0]).0, 1);
    assert_eq!(stored(folder.path()), after(FLOWS[0]));
    assert_eq!(names(&edge), "a b c");
}

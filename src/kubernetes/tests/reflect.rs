//! What is followed for ever, through everything that can happen to a watch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use smol::future::or;

use super::pooled::{pooled, run};
use super::server::{Reply, Server, json};
use crate::kubernetes::object::{self, Object};
use crate::kubernetes::reflect::{Change, Followed, Standing, follow};
use crate::kubernetes::resource::CONFIG_MAPS;

fn event(kind: &str, name: &str, version: u32) -> String {
    format!(
        "{{\"type\":\"{kind}\",\"object\":{{\"metadata\":{{\"name\":\"{name}\",\
         \"resourceVersion\":\"{version}\"}}}}}}\n"
    )
}

fn stream(lines: &str, end: &str) -> Vec<u8> {
    let length = lines.len();
    let chunk = match length {
        0 => String::new(),
        _ => format!("{length:x}\r\n{lines}\r\n"),
    };
    format!("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{end}").into_bytes()
}

fn list(version: u32, names: &[&str]) -> Reply {
    let items: Vec<String> = names
        .iter()
        .map(|name| format!("{{\"metadata\":{{\"name\":\"{name}\"}}}}"))
        .collect();
    let items = items.join(",");
    Reply::Keep(json(
        200,
        &format!("{{\"metadata\":{{\"resourceVersion\":\"{version}\"}},\"items\":[{items}]}}"),
    ))
}

fn shown(change: &Change) -> String {
    let names = |objects: &[Object]| {
        let names: Vec<_> = objects.iter().map(object::name).collect();
        names.join(",")
    };
    match change {
        Change::Reset(all) => format!("reset {}", names(all)),
        Change::Set(object) => format!("set {}", object::name(object)),
        Change::Gone(object) => format!("gone {}", object::name(object)),
    }
}

#[test]
fn whatever_ends_it_goes_on() {
    const END: &str = "0\r\n\r\n";
    let old =
        "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"reason\":\"Expired\",\"message\":\"m\"}}\n";
    let failed = "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"m\"}}\n";
    let number = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let at = |text: &str| {
            let number = asked.target.contains(text);
            assert!(number, "{text}: {}", asked.target);
        };
        assert!(
            asked.target.contains("labelSelector=a%3Db"),
            "{}",
            asked.target
        );
        match number.fetch_add(1, Ordering::SeqCst) {
            // The cluster is away at first.
            0 => Reply::End(json(403, "{\"message\":\"no\",\"reason\":\"Forbidden\"}")),
            1 => list(10, &["a", "b"]),
            // Ends as usual, behind a bookmark.
            2 => {
                at("resourceVersion=10&");
                let lines = event("ADDED", "c", 11) + &event("BOOKMARK", "", 15);
                Reply::Keep(stream(&lines, END))
            }
            // Cut within an event.
            3 => {
                at("resourceVersion=15&");
                let lines = event("DELETED", "a", 16) + "{\"type\":";
                Reply::End(stream(&lines, ""))
            }
            // Not opened.
            4 => {
                at("resourceVersion=16&");
                Reply::End(Vec::new())
            }
            // Too old: a list.
            5 => {
                at("resourceVersion=16&");
                Reply::Keep(stream(old, END))
            }
            6 => list(20, &["c"]),
            // Refused with an event, which a list heals too.
            7 => {
                at("resourceVersion=20&");
                Reply::Keep(stream(failed, END))
            }
            8 => list(30, &["c", "d"]),
            9 => {
                at("resourceVersion=30&");
                Reply::Hang(stream(&event("MODIFIED", "d", 31), ""))
            }
            _ => Reply::Hang(Vec::new()),
        }
    });
    run(|spawn| async move {
        let pooled = pooled(&server, &spawn);
        let what = Followed::new(CONFIG_MAPS, 100)
            .within("n")
            .with("labelSelector", "a=b");
        let standing = Arc::new(Standing::default());
        let told = Arc::new(Mutex::new(Vec::new()));
        let (sender, news) = smol::channel::unbounded();
        let (heard, seen) = (told.clone(), standing.clone());
        let mut tell = move |change: Change| {
            heard.lock().unwrap().push(shown(&change));
            let _ = sender.try_send(seen.is_in_sync());
        };
        assert!(!standing.is_in_sync());
        let done = async {
            loop {
                news.recv().await.unwrap();
                if told.lock().unwrap().last().unwrap() == "set d" {
                    return;
                }
            }
        };
        or(done, async {
            follow(&pooled, &what, &standing, &mut tell).await;
        })
        .await;
        let wanted = [
            "reset a,b",
            "set c",
            "gone a",
            "reset c",
            "reset c,d",
            "set d",
        ];
        assert_eq!(*told.lock().unwrap(), wanted);
        assert!(standing.is_in_sync() && standing.error().is_none());
    });
}

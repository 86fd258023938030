//! Our two ways to a Kubernetes API, against an emulator that others wrote, with kubectl beside.

mod common;

use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::cluster::{Cluster, kubectl};
use common::{LIMIT, put};
use kubeedge::kubernetes::kubeconfig::{Choice, find};
use kubeedge::kubernetes::plain::Plain;
use kubeedge::kubernetes::pooled::{Pooled, Spawn};
use kubeedge::kubernetes::reflect::{Change, Followed, Standing, follow};
use kubeedge::kubernetes::resource::{CONFIG_MAPS, NAMESPACES, NODES};
use kubeedge::kubernetes::{Api, CallError, Patch, Request, list, object};
use kubeedge::system::clock::Clock;
use kubeedge::system::host::Host;
use kubeedge::system::root::Root;
use serde_json::{Value, json};
use smol::channel::{Receiver, Sender};
use smol::future::or;

fn access(path: std::path::PathBuf) -> kubeedge::kubernetes::access::Access {
    let choice = Choice {
        kube_config: Some(path),
        context: None,
    };
    find(&choice, &Host::real(Root::default()), &|_| None).expect("a kubeconfig")
}

fn plain(cluster: &Cluster) -> Plain {
    Plain::new(access(cluster.kubeconfig()), &Clock::system())
}

/// With an executor for the connections.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Spawn) -> F) {
    let executor = Arc::new(smol::Executor::new());
    let spawner = executor.clone();
    let spawn: Spawn = Arc::new(move |task| spawner.spawn(task).detach());
    smol::block_on(executor.run(test(spawn)));
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[test]
fn objects_live_through_all_that_is_done_to_them() {
    let mut cluster = Cluster::start();
    let plain = plain(&cluster);
    let ask = |request: &Request| plain.ask(request);
    let ns = Some("here");
    let missing = ask(&Request::create(&CONFIG_MAPS, ns, &map("one"))).expect_err("no namespace");
    assert!(missing.is_not_found(), "{missing}");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "here"}});
    let made = ask(&Request::apply(&NAMESPACES, None, "here", &namespace)).expect("applied");
    assert_eq!(made.status, 201);
    let again = ask(&Request::apply(&NAMESPACES, None, "here", &namespace)).expect("applied");
    assert_eq!(again.status, 200);

    let made = ask(&Request::create(&CONFIG_MAPS, ns, &map("one"))).expect("created");
    let made = made.object().expect("an object");
    let taken = ask(&Request::create(&CONFIG_MAPS, ns, &map("one"))).expect_err("it is there");
    assert!(taken.is_taken() && !taken.is_conflict(), "{taken}");
    let change = json!({"data": {"b": "2"}, "metadata": {"labels": {"l": "x"}}});
    let patch = Request::patch(&CONFIG_MAPS, ns, "one", Patch::Merge, &change);
    let patched = ask(&patch).expect("patched").object().expect("an object");
    assert_ne!(object::version(&patched), object::version(&made));
    let stale = Request::replace(&CONFIG_MAPS, ns, "one", &Value::Object(made.clone()));
    let stale = ask(&stale).expect_err("it has changed");
    assert!(stale.is_conflict() && !stale.is_taken(), "{stale}");
    let remove = json!([{"op": "remove", "path": "/data/b"}]);
    ask(&Request::patch(
        &CONFIG_MAPS,
        ns,
        "one",
        Patch::Json,
        &remove,
    ))
    .expect("patched");

    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge-1"}});
    ask(&Request::create(&NODES, None, &node)).expect("created");
    for kind in ["Ready", "MemoryPressure", "Ready"] {
        let status = json!({"status": {"conditions": [{"type": kind, "status": "True"}]}});
        let patch = Request::patch(&NODES, None, "edge-1", Patch::Strategic, &status);
        ask(&patch.part("status").as_node("edge-1")).expect("patched");
    }
    let node = cluster.object("Node", "edge-1").expect("a node");
    let conditions = node["status"]["conditions"].as_array().expect("conditions");
    assert_eq!(conditions.len(), 2);
    let requests = cluster.requests();
    let last = requests.last().expect("requests");
    assert_eq!(last["as"], "system:node:edge-1");

    let other = Request::delete(&CONFIG_MAPS, ns, "one").only_uid("other");
    assert!(ask(&other).expect_err("another one").is_conflict());
    let own = Request::delete(&CONFIG_MAPS, ns, "one").only_uid(object::uid(&made));
    ask(&own).expect("deleted");
    let gone = ask(&Request::get(&CONFIG_MAPS, ns, "one")).expect_err("gone");
    assert!(gone.is_not_found(), "{gone}");
}

#[test]
fn kubectl_sees_what_we_make_and_we_see_what_it_makes() {
    let cluster = Cluster::start();
    let Some(kubectl) = kubectl() else {
        return;
    };
    let plain = plain(&cluster);
    let said = |words: &[&str]| {
        let done = cluster.kubectl(&kubectl, words);
        let err = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{words:?}: {err}");
        String::from_utf8(done.stdout).expect("UTF-8")
    };
    plain
        .ask(&Request::apply(
            &CONFIG_MAPS,
            Some("default"),
            "ours",
            &map("ours"),
        ))
        .expect("applied");
    let seen: Value = serde_json::from_str(&said(&["get", "configmap", "ours", "-o", "json"]))
        .expect("an object");
    let own = Request::get(&CONFIG_MAPS, Some("default"), "ours");
    let own = plain
        .ask(&own)
        .expect("it is there")
        .object()
        .expect("an object");
    assert_eq!(seen, Value::Object(own));

    let file = cluster.file("theirs.yaml");
    put(
        &file,
        serde_json::to_vec(&map("theirs")).expect("JSON"),
        0o600,
    );
    let file = file.to_str().expect("UTF-8");
    said(&["create", "--validate=false", "-f", file]);
    said(&["label", "configmap", "theirs", "from=kubectl"]);
    let list = Request::list(&CONFIG_MAPS, None).with("labelSelector", "from=kubectl");
    let listed = smol::block_on(list::all(&plain, &list, 10)).expect("a list");
    let names: Vec<_> = listed.items.iter().map(object::name).collect();
    assert_eq!(names, ["theirs"]);
}

#[test]
fn lists_come_in_pages_and_survive_being_forgotten() {
    let mut cluster = Cluster::start();
    let plain = plain(&cluster);
    for number in 0..25 {
        let name = format!("m{number}");
        let create = Request::create(&CONFIG_MAPS, Some("default"), &map(&name));
        plain.ask(&create).expect("created");
    }
    let mut paged = Request::list(&CONFIG_MAPS, Some("default"));
    paged.query = vec![("limit", "7".to_owned())];
    cluster.requests();
    let listed = smol::block_on(list::all(&plain, &paged, 100)).expect("a list");
    assert_eq!((listed.items.len(), cluster.requests().len()), (25, 4));
    let first = plain
        .ask(&paged)
        .expect("a page")
        .object()
        .expect("an object");
    let behind = first["metadata"]["continue"].as_str().expect("more");
    cluster.order(&json!({"do": "forget"}));
    let old = plain
        .ask(&paged.clone().with("continue", behind))
        .expect_err("forgotten");
    assert!(old.is_too_old(), "{old}");
}

#[test]
fn who_is_refused_and_what_is_asked_again() {
    let mut cluster = Cluster::start();
    let token = Plain::new(access(cluster.token_kubeconfig()), &Clock::system());
    let get = Request::get(&NAMESPACES, None, "default");
    token.ask(&get).expect("the token is good");
    assert_eq!(cluster.requests().last().expect("one")["who"], "token");

    // Expired: read again from the file, where the new one is by then.
    cluster.order(&json!({"do": "token", "value": "fresh"}));
    let until = Instant::now() + LIMIT;
    assert_eq!(
        token
            .ask(&get)
            .expect_err("refused")
            .status()
            .expect("a status")
            .code,
        401
    );
    fs::write(cluster.file("token"), "fresh\n").expect("a token");
    while token.ask(&get).is_err() {
        assert!(Instant::now() < until, "the new token is not shown");
    }

    // Every write conflicts.
    let plain = plain(&cluster);
    cluster.order(&json!({"do": "fail", "status": 409, "reason": "Conflict"}));
    let create = Request::create(&CONFIG_MAPS, Some("default"), &map("one"));
    cluster.requests();
    assert!(plain.ask(&create).expect_err("refused").is_conflict());
    assert_eq!(cluster.requests().len(), 1);
    cluster.order(&json!({"do": "heal"}));

    // Too busy twice, with a wait that is asked for.
    let busy = json!({"do": "fail", "status": 429, "reason": "TooManyRequests", "times": 2, "retry_after": 1});
    cluster.order(&busy);
    let begun = Instant::now();
    plain.ask(&create).expect("the third time");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(cluster.requests().len(), 3);

    cluster.stop();
    let quick = get.clone().within(Duration::from_millis(500));
    let away = plain.ask(&quick).expect_err("nobody listens");
    assert!(matches!(away, CallError::Unreachable { .. }), "{away}");
    cluster.start_again();
    plain.ask(&get).expect("it is back");
}

/// Hears changes as words.
fn teller(sender: Sender<String>) -> impl FnMut(Change) + Send {
    move |change| {
        let word = match change {
            Change::Reset(all) => {
                let names: Vec<_> = all.iter().map(object::name).collect();
                format!("reset {}", names.join(","))
            }
            Change::Set(one) => format!("set {}", object::name(&one)),
            Change::Gone(one) => format!("gone {}", object::name(&one)),
        };
        let _ = sender.try_send(word);
    }
}

async fn heard(news: &Receiver<String>, wanted: &str) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let word = or(async { news.recv().await.ok() }, async {
            smol::Timer::after(LIMIT).await;
            None
        });
        let word = word
            .await
            .unwrap_or_else(|| panic!("{wanted:?} behind {before:?}"));
        before.push(word.clone());
        if word == wanted {
            return before;
        }
    }
}

#[test]
fn what_is_followed_survives_cuts_restarts_and_forgetting() {
    let mut cluster = Cluster::start();
    let access = access(cluster.kubeconfig());
    run(|spawn| async move {
        let pooled = Pooled::new(access, &Clock::system(), spawn).expect("a way");
        let create = |name: &str| Request::create(&CONFIG_MAPS, Some("default"), &map(name));
        pooled.call(&create("a")).await.expect("created");
        let what = Followed::new(CONFIG_MAPS, 100).within("default");
        let one = Followed::new(CONFIG_MAPS, 100).within("default").only("c");
        let (standing, of_one) = (Standing::default(), Standing::default());
        let (sender, news) = smol::channel::unbounded();
        let (sender_of_one, news_of_one) = smol::channel::unbounded();
        let (mut tell, mut tell_of_one) = (teller(sender), teller(sender_of_one));
        let steps = async {
            heard(&news, "reset a").await;
            heard(&news_of_one, "reset ").await;
            pooled.call(&create("b")).await.expect("created");
            heard(&news, "set b").await;
            // The line is cut behind every event.
            cluster.order(&json!({"do": "cut", "on": true}));
            for name in ["c", "d"] {
                pooled.call(&create(name)).await.expect("created");
                heard(&news, &format!("set {name}")).await;
            }
            assert_eq!(heard(&news_of_one, "set c").await, ["set c"]);
            cluster.order(&json!({"do": "cut", "on": false}));
            // Away, and back; then from a version that it has forgotten.
            cluster.stop();
            while standing.is_in_sync() {
                smol::Timer::after(Duration::from_millis(10)).await;
            }
            assert!(standing.error().is_some());
            cluster.start_again();
            cluster.order(&json!({"do": "forget"}));
            heard(&news, "reset a,b,c,d").await;
            let delete = Request::delete(&CONFIG_MAPS, Some("default"), "a");
            pooled.call(&delete).await.expect("deleted");
            heard(&news, "gone a").await;
            assert!(standing.is_in_sync());
        };
        let followed = or(
            async {
                follow(&pooled, &what, &standing, &mut tell).await;
            },
            async {
                follow(&pooled, &one, &of_one, &mut tell_of_one).await;
            },
        );
        or(steps, followed).await;
    });
}

//! What the cluster in memory does as a real one does.

use smol::block_on;

use super::super::request::Patch;
use super::super::resource::{CONFIG_MAPS, LEASES, NAMESPACES, NODES, PODS, SECRETS};
use super::super::{Answer, object};
use super::*;

fn call(fake: &FakeCluster, request: &Request) -> Result<Answer, CallError> {
    block_on(fake.call(request))
}

fn done(fake: &FakeCluster, request: &Request) -> Value {
    Value::Object(call(fake, request).unwrap().object().unwrap())
}

fn map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"of": value}}, "data": {"a": value}})
}

#[test]
fn names_are_taken_once_and_versions_are_compared() {
    let fake = FakeCluster::new();
    let space = Some("default");
    let made = done(&fake, &Request::create(&CONFIG_MAPS, space, &map("a", "1")));
    let again = call(&fake, &Request::create(&CONFIG_MAPS, space, &map("a", "2")));
    assert!(again.unwrap_err().is_taken());
    let mut next = made.clone();
    next["data"]["a"] = json!("2");
    let replace = Request::replace(&CONFIG_MAPS, space, "a", &next);
    let replaced = done(&fake, &replace);
    assert_eq!(replaced["metadata"]["uid"], made["metadata"]["uid"]);
    assert!(call(&fake, &replace).unwrap_err().is_conflict());
    assert_eq!(
        done(
            &fake,
            &Request::replace(&CONFIG_MAPS, space, "a", &replaced)
        ),
        replaced
    );
    assert_eq!(
        fake.version().to_string(),
        object::version(replaced.as_object().unwrap())
    );
    let nowhere = Request::create(
        &SECRETS,
        Some("kubeedge"),
        &json!({"metadata": {"name": "a"}}),
    );
    assert!(call(&fake, &nowhere).unwrap_err().is_not_found());
    let space = json!({"metadata": {"name": "kubeedge"}});
    done(&fake, &Request::create(&NAMESPACES, None, &space));
    done(&fake, &nowhere);
    let lease = json!({"metadata": {"name": "n"}, "spec": {}});
    done(
        &fake,
        &Request::create(&LEASES, Some("kube-node-lease"), &lease),
    );
    let blind = Request::replace(&LEASES, Some("kube-node-lease"), "n", &lease);
    assert_eq!(call(&fake, &blind).unwrap_err().status().unwrap().code, 422);
}

#[test]
fn deletions_ask_for_the_uid_and_pods_get_time() {
    let fake = FakeCluster::new();
    fake.put(&CONFIG_MAPS, Some("default"), map("a", "1"));
    let delete = Request::delete(&CONFIG_MAPS, Some("default"), "a");
    assert!(
        call(&fake, &delete.clone().only_uid("other"))
            .unwrap_err()
            .is_conflict()
    );
    let held = fake.get(&CONFIG_MAPS, Some("default"), "a").unwrap();
    done(
        &fake,
        &delete
            .clone()
            .only_uid(held["metadata"]["uid"].as_str().unwrap()),
    );
    assert!(call(&fake, &delete).unwrap_err().is_not_found());
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}});
    fake.put(&PODS, Some("default"), pod);
    done(&fake, &Request::delete(&PODS, Some("default"), "p"));
    let dying = fake.get(&PODS, Some("default"), "p").unwrap();
    assert!(dying["metadata"]["deletionTimestamp"].is_string());
    fake.remove(&PODS, Some("default"), "p");
    assert_eq!(fake.get(&PODS, Some("default"), "p"), None);
}

#[test]
fn patches_change_what_they_name() {
    let fake = FakeCluster::new();
    let node = json!({"metadata": {"name": "n", "labels": {"a": "1", "b": "2"}}, "spec": {"x": 1},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Disk", "status": "F"}]}});
    fake.put(&NODES, None, node);
    let change = json!({"metadata": {"labels": {"a": null, "c": "3"}}, "status": {"lost": true}});
    let merged = done(
        &fake,
        &Request::patch(&NODES, None, "n", Patch::Merge, &change),
    );
    assert_eq!(merged["metadata"]["labels"], json!({"b": "2", "c": "3"}));
    assert_eq!(
        merged["status"].get("lost"),
        None,
        "the status is a part of its own"
    );
    let change =
        json!({"status": {"conditions": [{"type": "Ready", "status": "F"}]}, "spec": {"x": 2}});
    let patch = Request::patch(&NODES, None, "n", Patch::Strategic, &change).part("status");
    let merged = done(&fake, &patch);
    assert_eq!(merged["status"]["conditions"][0]["status"], "F");
    assert_eq!(merged["status"]["conditions"][1]["type"], "Disk");
    assert_eq!(merged["spec"]["x"], 1);
    let old = json!({"metadata": {"resourceVersion": "1"}, "spec": {"x": 3}});
    let patch = Request::patch(&NODES, None, "n", Patch::Merge, &old);
    assert!(call(&fake, &patch).unwrap_err().is_conflict());
}

#[test]
fn lists_select_and_come_in_pages() {
    let fake = FakeCluster::new();
    for n in 0..5 {
        fake.put(
            &CONFIG_MAPS,
            Some("default"),
            map(&format!("m{n}"), &(n % 2).to_string()),
        );
    }
    let odd = Request::list(&CONFIG_MAPS, None).with("labelSelector", "of=1,of!=2");
    assert_eq!(done(&fake, &odd)["items"].as_array().unwrap().len(), 2);
    let one = Request::list(&CONFIG_MAPS, None).with("fieldSelector", "metadata.name=m3");
    assert_eq!(done(&fake, &one)["items"][0]["data"]["a"], "1");
    let page = |token: &str| {
        let request = Request::new(Method::Get, CONFIG_MAPS.collection(Some("default")));
        done(&fake, &request.with("limit", "2").with("continue", token))
    };
    let first = page("");
    let second = page(first["metadata"]["continue"].as_str().unwrap());
    assert_eq!(second["items"][0]["metadata"]["name"], "m2");
    assert_eq!(
        first["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
}

#[test]
fn a_watch_tells_what_has_changed_since() {
    let fake = FakeCluster::new();
    fake.put(&CONFIG_MAPS, Some("default"), map("a", "1"));
    let from = fake.version().to_string();
    let watch = Request::watch(&CONFIG_MAPS, None, &from).with("labelSelector", "of=1");
    let mut events = block_on(fake.watch(&watch)).unwrap();
    let mut next = || block_on(events.next()).unwrap().map(|event| event.kind);
    fake.put(&CONFIG_MAPS, Some("default"), map("b", "2"));
    fake.put(&CONFIG_MAPS, Some("default"), map("b", "1"));
    fake.put(&CONFIG_MAPS, Some("default"), map("a", "2"));
    assert_eq!(next(), Some(EventKind::Added));
    assert_eq!(
        next(),
        Some(EventKind::Deleted),
        "it has left what was asked for"
    );
    fake.bookmark();
    assert_eq!(next(), Some(EventKind::Bookmark));
    fake.end_watches();
    assert_eq!(next(), None);
    fake.compact();
    assert!(block_on(fake.watch(&watch)).err().unwrap().is_too_old());
    let all = Request::watch(&CONFIG_MAPS, None, "0");
    let mut events = block_on(fake.watch(&all)).unwrap();
    assert_eq!(
        block_on(events.next()).unwrap().unwrap().kind,
        EventKind::Added
    );
    fake.set_down(true);
    assert!(block_on(events.next()).is_err());
}

#[test]
fn failures_come_as_ordered() {
    let fake = FakeCluster::new();
    let create = |name| Request::create(&CONFIG_MAPS, Some("default"), &map(name, "1"));
    let refused = refusal(500, "InternalError", "etcd");
    fake.order(
        Some(Method::Post),
        "configmaps",
        1,
        Act::Refuse(refused.clone()),
    );
    fake.order(None, "configmaps", 1, Act::Lose(lost()));
    let other = |fake: &FakeCluster| fake.put(&CONFIG_MAPS, Some("default"), map("c", "9"));
    fake.order(
        Some(Method::Post),
        "configmaps",
        1,
        Act::After(Arc::new(other)),
    );
    assert_eq!(call(&fake, &create("a")).unwrap_err(), refused);
    assert_eq!(fake.all(&CONFIG_MAPS).len(), 0);
    assert_eq!(call(&fake, &create("b")).unwrap_err(), lost());
    assert!(fake.get(&CONFIG_MAPS, Some("default"), "b").is_some());
    assert!(call(&fake, &create("c")).unwrap_err().is_taken());
    let pause = fake.pause("configmaps");
    let request = create("d");
    let waiting = smol::spawn({
        let fake = fake.clone();
        async move { fake.call(&request).await.map(drop) }
    });
    call(&fake, &Request::list(&NAMESPACES, None)).unwrap();
    assert_eq!(fake.get(&CONFIG_MAPS, Some("default"), "d"), None);
    drop(pause);
    block_on(waiting).unwrap();
    assert_eq!(fake.calls().len(), 5);
}

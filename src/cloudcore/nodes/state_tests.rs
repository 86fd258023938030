//! Tests of who sees what, and of what a change means for whom.

use serde_json::json;

use super::*;
use crate::cloudcore::nodes::kept::Given;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn kept(kind: Kind, named: &str, uid: &str, spec: serde_json::Value, given: Given) -> Kept {
    let path = match kind.is_of_cluster() {
        true => ObjectPath::of_cluster(kind, named),
        false => ObjectPath::new("default", kind, named).unwrap(),
    };
    let object = json!({"kind": "K", "apiVersion": "v1", "metadata": {"name": named, "uid": uid,
        "resourceVersion": "1", "labels": spec.get("labels")}, "spec": spec});
    Kept::new(path, object.as_object().unwrap(), given).unwrap()
}

fn given(nodes: &[&str], selector: Option<&str>) -> Given {
    Given {
        nodes: nodes.iter().map(|it| name(it)).collect(),
        selector: selector.map(|it| it.parse().unwrap()),
    }
}

fn config(named: &str, uid: &str, given: Given) -> Kept {
    kept(Kind::ConfigMap, named, uid, json!({}), given)
}

fn node(named: &str, role: &str) -> Kept {
    let labels = json!({"labels": {"role": role}});
    kept(Kind::Node, named, named, labels, Given::default())
}

/// Node, name, whether it is gone, whether it is new.
fn pushes(effects: &Effects) -> Vec<(&str, &str, bool, bool)> {
    let each = effects.pushes.iter();
    each.map(|(node, item, new)| {
        (
            node.as_str(),
            item.path.name.as_str(),
            item.gone.is_some(),
            *new,
        )
    })
    .collect()
}

#[test]
fn what_is_given_to_nodes_goes_to_them_and_comes_back() {
    let mut state = State::default();
    let effects = state.put(config("c", "u", given(&["a", "b"], None)));
    assert_eq!(
        pushes(&effects),
        [("a", "c", false, true), ("b", "c", false, true)]
    );
    let effects = state.put(config("c", "u", given(&["b"], None)));
    assert_eq!(
        pushes(&effects),
        [("a", "c", true, false), ("b", "c", false, false)]
    );
    assert_eq!(state.everything_for(&name("a")).len(), 1);
    assert!(state.everything_for(&name("x")).is_empty());
    // Given back before the node has heard of it: nothing is to be forgotten any more.
    let effects = state.put(config("c", "u", given(&["a", "b"], None)));
    assert_eq!(
        pushes(&effects),
        [("a", "c", false, true), ("b", "c", false, false)]
    );
    assert!(effects.changes.iter().any(|change| change.text.is_none()));
    assert_eq!(state.counts(), (1, 0));
}

#[test]
fn a_selector_finds_nodes_that_come_and_change() {
    let mut state = State::default();
    assert!(pushes(&state.put(config("c", "u", given(&[], Some("role=router"))))).is_empty());
    let effects = state.put(node("a", "router"));
    assert_eq!(
        pushes(&effects),
        [("a", "c", false, true), ("a", "a", false, true)]
    );
    let effects = state.put(node("a", "router"));
    assert_eq!(pushes(&effects), [("a", "a", false, false)]);
    let effects = state.put(node("a", "camera"));
    assert_eq!(
        pushes(&effects),
        [("a", "c", true, false), ("a", "a", false, false)]
    );
    let change = state.forgotten(&name("a"), "u").unwrap();
    assert!(change.text.is_none());
    assert!(state.forgotten(&name("a"), "u").is_none());
    assert_eq!(state.counts(), (2, 0));
}

#[test]
fn a_pod_shows_its_node_what_it_needs_and_nobody_else() {
    let mut state = State::default();
    let secret = |uid| kept(Kind::Secret, "s", uid, json!({}), Given::default());
    assert!(pushes(&state.put(secret("u"))).is_empty());
    let spec = json!({"nodeName": "a", "volumes": [{"secret": {"secretName": "s"}}]});
    let pod = kept(Kind::Pod, "p", "pod", spec, Given::default());
    let effects = state.put(pod);
    assert_eq!(
        pushes(&effects),
        [("a", "s", false, true), ("a", "p", false, true)]
    );
    let seen = |state: &State, node: &str| {
        let secret = ObjectPath::new("default", Kind::Secret, "s").unwrap();
        state.sees(&name(node), &state.get(&secret).unwrap().clone())
    };
    assert!(seen(&state, "a") && !seen(&state, "b"));
    // Of the same name in another namespace, or in the cloud's own, it sees nothing.
    for namespace in ["other", OWN_NAMESPACE] {
        let path = ObjectPath::new(namespace, Kind::Secret, "s").unwrap();
        let object = state.get(&ObjectPath::new("default", Kind::Secret, "s").unwrap());
        let object = object.unwrap().object();
        let other = Kept::new(path, &object, given(&[], None)).unwrap();
        assert!(!state.sees(&name("a"), &other), "{namespace}");
    }
    // One of the same name takes its place: the node forgets the old one first.
    let effects = state.put(secret("u2"));
    assert_eq!(
        pushes(&effects),
        [("a", "s", true, false), ("a", "s", false, true)]
    );
    let everything = state.everything_for(&name("a"));
    let order: Vec<(bool, &str)> = everything
        .iter()
        .map(|(item, _)| (item.gone.is_some(), item.path.name.as_str()))
        .collect();
    assert_eq!(order, [(true, "s"), (false, "s"), (false, "p")]);
    let path = ObjectPath::new("default", Kind::Pod, "p").unwrap();
    let effects = state.remove(&path);
    let mut gone = pushes(&effects);
    gone.sort_unstable();
    assert_eq!(gone, [("a", "p", true, false), ("a", "s", true, false)]);
    assert!(!seen(&state, "a"));
}

#[test]
fn what_a_node_was_given_comes_again_after_a_pod_that_needed_it() {
    let mut state = State::default();
    let spec = json!({"nodeName": "a", "volumes": [{"configMap": {"name": "c"}}]});
    state.put(config("c", "u", given(&["a"], None)));
    for pod in ["p", "q"] {
        state.put(kept(Kind::Pod, pod, pod, spec.clone(), Given::default()));
    }
    let path = |pod: &str| ObjectPath::new("default", Kind::Pod, pod).unwrap();
    // The other one keeps it there.
    let effects = state.remove(&path("p"));
    assert_eq!(pushes(&effects), [("a", "p", true, false)]);
    let effects = state.remove(&path("q"));
    assert_eq!(
        pushes(&effects),
        [("a", "q", true, false), ("a", "c", false, false)]
    );
    // So it does for a node that was away.
    let everything = state.everything_for(&name("a"));
    let order = everything.iter().map(|(item, _)| item.path.name.as_str());
    assert_eq!(order.collect::<Vec<_>>(), ["p", "q", "c"]);
}

#[test]
fn what_is_written_restores_the_same_state() {
    let mut state = State::default();
    let mut stored: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    let mut apply = |effects: Effects| {
        for change in effects.changes {
            match change.text {
                Some(text) => _ = stored.insert(change.key, text),
                None => _ = stored.remove(&change.key),
            }
        }
    };
    apply(state.put(node("a", "router")));
    apply(state.put(config("c", "u", given(&["a"], Some("role=router")))));
    apply(state.put(config("d", "v", given(&["a"], None))));
    apply(state.remove(&ObjectPath::new("default", Kind::ConfigMap, "d").unwrap()));
    let stored: Vec<StoredObject> = stored
        .into_iter()
        .map(|(key, text)| StoredObject { key, text })
        .collect();
    let again = State::restore(&stored);
    assert_eq!(again.counts(), state.counts());
    assert_eq!(
        again.everything_for(&name("a")),
        state.everything_for(&name("a"))
    );
}

/// All that there is, in words.
fn all_of(state: &State) -> String {
    let objects = state.objects.values();
    let objects: Vec<_> = objects.map(|it| (&it.path, &it.text, &it.given)).collect();
    let owed: BTreeMap<_, _> = state.owed.iter().collect();
    let told = ["a", "b"].map(|it| state.everything_for(&name(it)));
    format!("{objects:?} {:?} {owed:?} {told:?}", state.gone)
}

#[test]
fn what_is_refused_leaves_all_as_it_was() {
    let changes: [fn(&mut State) -> Effects; 8] = [
        |state| state.put(node("a", "router")),
        |state| state.put(config("c", "u", given(&["b"], Some("role=router")))),
        |state| {
            let spec = json!({"nodeName": "b", "volumes": [{"secret": {"secretName": "s"}}]});
            state.put(kept(Kind::Pod, "p", "v", spec, Given::default()))
        },
        |state| state.put(kept(Kind::Secret, "s", "w", json!({}), Given::default())),
        |state| state.put(node("a", "camera")),
        |state| {
            let path = ObjectPath::new("default", Kind::Pod, "x").unwrap();
            state.owe(&name("b"), "y", Gone::unknown(path, 1)).unwrap()
        },
        |state| state.remove(&ObjectPath::new("default", Kind::Pod, "p").unwrap()),
        |state| state.forget_node(&name("b")),
    ];
    let mut state = State::default();
    for (number, change) in changes.into_iter().enumerate() {
        let before = all_of(&state);
        let effects = change(&mut state);
        assert_ne!(all_of(&state), before, "change {number}");
        state.undo(effects.before);
        assert_eq!(all_of(&state), before, "change {number}");
        change(&mut state);
    }
}

#[test]
fn what_a_node_says_it_has_to_forget_has_an_end_on_a_cluster_too() {
    for mut state in [State::default(), State::of_others()] {
        let gone = || Gone::unknown(ObjectPath::new("default", Kind::Pod, "x").unwrap(), 1);
        for n in 0..MAX_OWED {
            assert!(state.owe(&name("a"), &format!("u{n}"), gone()).is_some());
        }
        assert!(state.owe(&name("a"), "more", gone()).is_none());
        assert_eq!(state.counts(), (0, MAX_OWED));
        let again = state.owe(&name("a"), "u0", gone()).unwrap();
        assert_eq!((again.changes.len(), again.pushes.len()), (0, 1));
    }
}

#[test]
fn what_many_have_to_forget_is_written_once() {
    let mut state = State::default();
    let many: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    state.put(config("c", "u", given(&many, None)));
    let effects = state.remove(&ObjectPath::new("default", Kind::ConfigMap, "c").unwrap());
    assert_eq!((effects.changes.len(), effects.pushes.len()), (2, 100));
}

#[test]
fn a_node_that_is_deleted_is_owed_nothing() {
    let mut state = State::default();
    state.put(config("c", "u", given(&["a", "b"], None)));
    state.remove(&ObjectPath::new("default", Kind::ConfigMap, "c").unwrap());
    assert_eq!(state.forget_node(&name("a")).changes.len(), 1);
    assert_eq!(state.counts(), (0, 1));
    assert_eq!(state.forget_node(&name("b")).changes.len(), 1);
    assert_eq!(state.counts(), (0, 0));
}

#[test]
fn what_a_node_is_told_costs_what_it_has_and_not_what_there_is() {
    let of_many = |nodes: usize| {
        let mut state = State::default();
        for number in 0..nodes {
            let named = format!("n{number}");
            state.put(node(&named, "camera"));
            let spec = json!({"nodeName": named, "volumes": [{"configMap": {"name": named}}]});
            state.put(config(&named, &format!("c{number}"), given(&[], None)));
            state.put(kept(
                Kind::Pod,
                &named,
                &format!("p{number}"),
                spec,
                Given::default(),
            ));
        }
        let begun = std::time::Instant::now();
        let mut told = 0;
        for number in (0..nodes).step_by(nodes / 100) {
            told += state.everything_for(&name(&format!("n{number}"))).len();
        }
        assert_eq!(told, 300, "itself, a pod and a ConfigMap for each");
        begun.elapsed()
    };
    // A walk over all of them takes a hundred times as long.
    let (few, many) = (of_many(100), of_many(10_000));
    assert!(
        many < few * 25 + std::time::Duration::from_millis(5),
        "{few:?}, {many:?}"
    );
}

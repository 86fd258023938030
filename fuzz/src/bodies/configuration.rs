//! Configuration files and `--set`.

use kubeedge::config::cloud::CloudConfig;
use kubeedge::config::edge::EdgeConfig;
use kubeedge::config::first_boot::{filled, options, pairs};
use kubeedge::config::set::{Kind, apply, parse_items};
use kubeedge::config::{edit, path};
use kubeedge::system::uci;
use kubeedge::system::yaml::Document;

use super::assert_sentence;

/// Both daemons' files: an edit changes what it names and nothing else, and can be undone.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let errors = [
        CloudConfig::load(text, "f").err(),
        EdgeConfig::load(text, "f").err(),
    ];
    for error in errors.into_iter().flatten() {
        assert_sentence(&error.to_string());
    }
    let Ok(before) = Document::parse(text, "f") else {
        return;
    };
    let key = path("modules.edgeHub.token");
    let Ok(edited) = edit::set(text, &key, &"x".into()) else {
        return;
    };
    assert_eq!(edit::get(&edited, &key), Ok(Some("x".into())));
    // What a device does to its own file once it has an identity.
    let erased = edit::set(&edited, &key, &"".into()).expect("a second edit");
    assert_eq!(edit::get(&erased, &key), Ok(Some("".into())));
    let after = Document::parse(&erased, "f").expect("what was written can be read");
    let rest = |mut value: serde_json::Value| {
        let hub = value
            .get_mut("modules")
            .and_then(|modules| modules.get_mut("edgeHub"));
        if let Some(hub) = hub.and_then(|hub| hub.as_object_mut()) {
            hub.remove("token");
        }
        value
    };
    let held = before
        .value
        .pointer("/modules/edgeHub")
        .is_some_and(|hub| hub.is_object());
    if held {
        assert_eq!(
            rest(before.value),
            rest(after.value),
            "another key was changed"
        );
    }
}

/// The grammar of `--set`: what is accepted twice gives the same file twice, which can be loaded or refused in words.
pub fn set(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let items = match parse_items(text) {
        Ok(items) => items,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    for kind in [Kind::Edge, Kind::Cloud] {
        match apply("modules: {}\n", &items, kind) {
            Ok(once) => {
                Document::parse(&once, "f").expect("what was written can be read");
                assert_eq!(
                    apply("modules: {}\n", &items, kind).as_deref(),
                    Ok(once.as_str())
                );
                let loaded = match kind {
                    Kind::Edge => EdgeConfig::load(&once, "f").err(),
                    Kind::Cloud => CloudConfig::load(&once, "f").err(),
                };
                if let Some(error) = loaded {
                    assert_sentence(&error.to_string());
                }
            }
            Err(error) => assert_sentence(&error.to_string()),
        }
    }
}

/// What a device is asked at its first boot: the join file, the kernel's command line, a name's template.
pub fn first_boot(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let line = pairs::of_command_line(text).map(Option::unwrap_or_default);
    for read in [pairs::of_file(text), line] {
        let found = match read {
            Ok(found) => found,
            Err(error) => {
                assert_sentence(&error.to_string());
                continue;
            }
        };
        assert!(found.0.len() <= 64);
        for (key, value) in &found.0 {
            assert!(
                !value.is_empty() && !key.contains('_') && key.len() <= 40,
                "{key}"
            );
        }
    }
    if let Ok(found) = pairs::of_file(text) {
        let lines = found.0.iter();
        let lines = lines.map(|(key, value)| format!("{key}: \"{}\"\n", value.as_str()));
        let again = pairs::of_file(&lines.collect::<String>());
        assert_eq!(again.ok(), Some(found), "what was read can be written");
    }
    match filled(text, |_| Some("a_B:1".to_owned())) {
        Ok(name) => assert!(name.len() <= text.len(), "{name}"),
        Err(error) => assert_sentence(&error.to_string()),
    }
}

/// UCI: a switch is what it was set to, and an edit takes out edgecore's token, and nothing else.
pub fn uci(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for on in [true, false] {
        let switched = uci::with_switch(text, "edgecore", "enabled", on);
        assert_eq!(uci::is_on(&switched, "edgecore", "enabled"), on);
        assert_eq!(
            uci::with_switch(&switched, "edgecore", "enabled", on),
            switched
        );
    }
    let entries = match uci::entries(text) {
        Ok(entries) => entries,
        Err(error) => return assert_sentence(&error.to_string()),
    };
    let ends = entries.iter().map(|entry| entry.line.end);
    assert!(
        ends.is_sorted()
            && entries
                .iter()
                .all(|entry| text.get(entry.line.clone()).is_some())
    );
    let _ = options::pairs(text).map_err(|error| assert_sentence(&error.to_string()));
    let Some(left) = options::without_token(text).expect("it was read before") else {
        return;
    };
    let others = |entries: Vec<uci::Entry>| -> Vec<_> {
        let others = entries.into_iter().filter(|entry| entry.key != "token");
        others
            .map(|entry| (entry.section, entry.key, entry.value))
            .collect()
    };
    let after = uci::entries(&left).expect("what was written can be read");
    assert_eq!(others(after), others(entries));
    assert_eq!(options::without_token(&left).expect("again"), None);
}

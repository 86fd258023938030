//! Configuration files and `--set`.

use kubeedge::config::cloud::CloudConfig;
use kubeedge::config::edge::EdgeConfig;
use kubeedge::config::set::{Kind, apply, parse_items};
use kubeedge::config::{edit, path};
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

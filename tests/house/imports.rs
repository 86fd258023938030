//! Which room of the house a file takes what from, and whether that points down.

use super::text;

/// The rooms a room may take from, besides itself and the ground floor.
const MAY_TAKE: &[(&str, &[&str])] = &[
    ("lib", &[]),
    ("main", &["applet"]),
    ("applet", &["keadm", "cloudcore", "edgecore"]),
    ("keadm", MIDDLE),
    ("cloudcore", MIDDLE),
    ("edgecore", MIDDLE),
    ("authority", &["store"]),
    ("store", &["kubernetes"]),
    ("trial", &[]),
    ("tunnel", &["protocol"]),
    ("config", &[]),
    ("protocol", &[]),
    ("kubernetes", &[]),
    ("registry", &[]),
    ("pki", &[]),
    ("system", &[]),
];

const MIDDLE: &[&str] = &[
    "authority",
    "store",
    "trial",
    "tunnel",
    "config",
    "protocol",
    "kubernetes",
    "registry",
];

/// The ground floor: pki stands on system.
const GROUND: &[(&str, &[&str])] = &[("pki", &["system"]), ("system", &[])];

/// One sentence for every import of a file that points up or sideways.
pub fn faults(path: &str, content: &str) -> Vec<String> {
    let modules = modules_of(path);
    let room = modules.first().map_or("lib", String::as_str);
    let Some((_, allowed)) = MAY_TAKE.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "{path}: there is no room called {room} in the house"
        )];
    };
    let ground = GROUND.iter().find(|(name, _)| *name == room);
    let ground = ground.map_or(&["pki", "system"][..], |(_, below)| below);
    let mut faults: Vec<String> = taken(&modules, &text::code_only(content))
        .into_iter()
        .filter(|from| from != room)
        .filter(|from| !allowed.contains(&from.as_str()) && !ground.contains(&from.as_str()))
        .map(|from| format!("{path}: {room} may not take from {from}"))
        .collect();
    faults.sort();
    faults.dedup();
    faults
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are both the module a::b.
fn modules_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let inner = inner.trim_end_matches("/mod");
    match inner {
        "lib" => Vec::new(),
        _ => inner.split('/').map(str::to_owned).collect(),
    }
}

/// The top-level modules that paths in the code lead to.
fn taken(modules: &[String], code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let mut inner: Vec<usize> = Vec::new();
    let mut depth = 0;
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => {
                depth += 1;
                if i >= 2 && tokens[i - 2] == "mod" {
                    inner.push(depth);
                }
            }
            "}" => {
                if inner.last() == Some(&depth) {
                    inner.pop();
                }
                depth -= 1;
            }
            "crate" | "kubeedge" if starts_path(&tokens, i) => {
                found.extend(heads(&tokens[i + 1..]));
            }
            "super" if starts_path(&tokens, i) => {
                let ups = supers(&tokens[i..]);
                // Only paths that leave the room matter: those that climb up to the crate.
                if ups == modules.len() + inner.len() {
                    found.extend(heads(&tokens[i + 2 * ups - 1..]));
                }
            }
            _ => {}
        }
    }
    found
}

fn starts_path(tokens: &[String], i: usize) -> bool {
    let begins = i == 0 || tokens[i - 1] != "::";
    begins && tokens.get(i + 1).is_some_and(|next| next == "::")
}

fn supers(tokens: &[String]) -> usize {
    let mut count = 0;
    while tokens.get(2 * count).is_some_and(|token| token == "super") {
        count += 1;
    }
    count
}

/// The first names of what follows `::`: one, or those of every branch in braces.
fn heads(tokens: &[String]) -> Vec<String> {
    if tokens.first().is_none_or(|token| token != "::") {
        return Vec::new();
    }
    match tokens.get(1).map(String::as_str) {
        Some("{") => {
            let mut found = Vec::new();
            let mut depth = 0;
            let mut fresh = true;
            for token in &tokens[1..] {
                match token.as_str() {
                    "{" => depth += 1,
                    "}" if depth == 1 => break,
                    "}" => depth -= 1,
                    "," if depth == 1 => fresh = true,
                    name if depth == 1 && fresh => {
                        found.push(name.to_owned());
                        fresh = false;
                    }
                    _ => {}
                }
            }
            found
        }
        Some(name) => vec![name.to_owned()],
        None => Vec::new(),
    }
}

/// Names, `::`, and single characters.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            let mut name = String::from(c);
            while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                name.push(c);
            }
            tokens.push(name);
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            tokens.push("::".to_owned());
        } else if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    tokens
}

#[test]
fn a_sideways_import_is_noticed() {
    for (path, code, expected) in [
        (
            "src/edgecore/hub.rs",
            "use crate::cloudcore::hub;",
            "cloudcore",
        ),
        (
            "src/keadm/join.rs",
            "fn f() { crate::edgecore::run(&[]) }",
            "edgecore",
        ),
        ("src/keadm/mod.rs", "use super::applet::run;", "applet"),
        (
            "src/keadm/join.rs",
            "use super::super::{system::exit, cloudcore};",
            "cloudcore",
        ),
        (
            "src/keadm/a.rs",
            "mod tests { use super::super::super::edgecore; }",
            "edgecore",
        ),
        (
            "src/config/edge.rs",
            "use crate::{pki::key, protocol::token};",
            "protocol",
        ),
        (
            "src/store/file.rs",
            "use crate::{\n    authority,\n    system::{a, b},\n};",
            "authority",
        ),
        ("src/tunnel/mod.rs", "use crate::config::edge;", "config"),
        (
            "src/pki/key.rs",
            "pub use crate::protocol::token;",
            "protocol",
        ),
        (
            "src/system/files/mod.rs",
            "use crate::pki;use crate::pki::key;",
            "pki",
        ),
        (
            "src/main.rs",
            "fn main() { kubeedge::keadm::run() }",
            "keadm",
        ),
        ("src/protocol/mod.rs", "use crate::tunnel::*;", "tunnel"),
    ] {
        let room = &modules_of(path)[0];
        let sentence = format!("{path}: {room} may not take from {expected}");
        assert_eq!(faults(path, code), [sentence], "{code}");
    }
    assert!(faults("src/attic/mod.rs", "")[0].contains("no room called attic"));
}

#[test]
fn imports_that_point_down_are_fine() {
    for (path, code) in [
        (
            "src/applet.rs",
            "use crate::keadm; use crate::edgecore; use crate::system::exit;",
        ),
        (
            "src/keadm/join.rs",
            "use super::out; use crate::keadm::help; use crate::pki::key;",
        ),
        (
            "src/keadm/mod.rs",
            "mod tests { use super::*; use super::super::config; }",
        ),
        (
            "src/keadm/a/b.rs",
            "use super::super::x; // crate::edgecore::run",
        ),
        (
            "src/authority/mod.rs",
            "use crate::store::{Store, file::FileStore};",
        ),
        ("src/store/kubernetes.rs", "use crate::kubernetes::api;"),
        ("src/tunnel/websocket.rs", "use crate::protocol::message;"),
        (
            "src/pki/tls.rs",
            "use crate::system::clock; const A: &str = \"crate::keadm::x\";",
        ),
        ("src/main.rs", "fn main() { kubeedge::applet::run() }"),
        ("src/lib.rs", "pub mod keadm;"),
    ] {
        assert_eq!(faults(path, code), Vec::<String>::new(), "{code}");
    }
}

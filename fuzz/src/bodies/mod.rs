//! What each fuzz target does with its input. tests/fuzz_inputs.rs includes this as well, and replays every seed and
//! every input that once was found; so it needs nothing that the executable's own tests do not have.

mod certificates;
mod cluster;
mod configuration;
mod http;
mod kubernetes;
mod memory;
mod registry;
mod tokens;
mod tunnel;
mod upgrades;
mod words;

/// A body takes any bytes and panics when a promise of the parser is broken.
pub type Body = fn(&[u8]);

/// Every target. The name is the one of the file in fuzz_targets/ and of the folder below seeds/.
pub const ALL: &[(&str, Body)] = &[
    ("answer", http::answer),
    ("certificate", certificates::certificate),
    ("config", configuration::config),
    ("control", words::control),
    ("csr", certificates::csr),
    ("first_boot", configuration::first_boot),
    ("frames", tunnel::frames),
    ("head", http::head),
    ("hub_frames", tunnel::hub_frames),
    ("jobs", words::jobs),
    ("journal", words::journal),
    ("jwt", tokens::jwt),
    ("key", certificates::key),
    ("kube_answer", kubernetes::kube_answer),
    ("kube_events", kubernetes::kube_events),
    ("kubeconfig", kubernetes::kubeconfig),
    ("layer", registry::layer),
    ("local", words::local),
    ("manifest", upgrades::manifest),
    ("message", words::message),
    ("minisign", certificates::minisign),
    ("names", words::names),
    ("patch", words::patch),
    ("pattern", words::pattern),
    ("pem", certificates::pem),
    ("plugin_output", kubernetes::plugin_output),
    ("portal", http::portal),
    ("proxy", http::proxy),
    ("records", words::records),
    ("registry", registry::registry),
    ("release", cluster::release),
    ("reply", words::reply),
    ("resource", words::resource),
    ("set", configuration::set),
    ("sums", upgrades::sums),
    ("token", tokens::token),
    ("trial", upgrades::trial),
    ("uci", configuration::uci),
    ("upgrade", tunnel::upgrade_head),
    ("welcome", tunnel::welcome),
];

/// One target's body.
pub fn named(target: &str) -> Body {
    let found = ALL.iter().find(|(name, _)| *name == target);
    found
        .unwrap_or_else(|| panic!("there is no fuzz target {target:?}"))
        .1
}

/// A sentence that a log or a terminal may get: one line, and not for ever.
fn assert_sentence(sentence: &str) {
    assert!(
        !sentence.is_empty() && sentence.len() < 4096,
        "{sentence:?}"
    );
}

//! The client of registries, before a real registry and before one that does what none should.

mod command;
#[path = "../common/mod.rs"]
mod common;
mod debian;
mod hostile;
mod image;
mod proxied;
mod real;
#[path = "../network/tinyproxy.rs"]
mod tinyproxy;

use std::path::Path;
use std::time::Duration;

use kubeedge::registry::credentials::Credentials;
use kubeedge::registry::reference::Reference;
use kubeedge::registry::{Options, Puller};
use kubeedge::system::files::Files;
use kubeedge::system::host::Host;
use kubeedge::system::root::Root;

/// Options of a test: short pauses, and a patience that a fast machine never needs.
fn options() -> Options {
    let host = Host::real(Root::default());
    Options {
        pause: Duration::from_millis(1),
        ..Options::new(&host)
    }
}

fn puller(options: Options) -> Puller {
    Puller::new(options).expect("options that are right")
}

fn reference(port: u16, name: &str) -> Reference {
    let text = format!("127.0.0.1:{port}/{name}");
    text.parse().expect("a reference")
}

/// With the password of the registries' user, in docker's own form or in ours.
fn credentials(folder: &Path, text: &str) -> Credentials {
    let path = folder.join("auth");
    common::put(&path, text, 0o600);
    Credentials::read(&Files::real(), &path).expect("credentials")
}

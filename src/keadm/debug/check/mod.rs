//! `debug check`: all that a device needs, item by item, with a remedy for each that is amiss.

mod cloud;
pub mod look;
mod machine;
mod network;
mod ping;

use std::net::IpAddr;

use argh::{ArgsInfo, FromArgs};

use crate::keadm::out::{self, Format};
use crate::keadm::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::names::{Endpoint, Host as Name, NameError};
use crate::system::{console, exit};
pub use look::{Checked, Look};

pub static COMMAND: Command = Command {
    name: "debug check",
    group: Group::Edge,
    summary: "check all that this device needs, and how to mend it",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to check
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// all, or some of: cpu, mem, disk, folders, pid, kernel, init, config, edgecore, proxy, dns,
    /// network, mtu, clock, identity, runtime; default: all
    #[argh(positional, arg_name = "item")]
    items: Vec<String>,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
    /// edgecore's configuration; default: /etc/kubeedge/config/edgecore.yaml
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<String>,
    /// one more name that must be found
    #[argh(option, short = 'd', arg_name = "name")]
    domain: Option<Name>,
    /// the DNS server to ask for it; default: as the system asks
    #[argh(option, short = 'D', arg_name = "address")]
    dns_ip: Option<IpAddr>,
    /// one more address that must answer a ping
    #[argh(option, short = 'i', arg_name = "address")]
    ip: Option<IpAddr>,
    /// a hub to reach instead of those in the configuration
    #[argh(option, short = 's', arg_name = "host:port")]
    cloud_hub_server: Option<String>,
}

/// What else is to be looked at than the device says itself.
#[derive(Default)]
pub struct Wish {
    pub config: Option<String>,
    pub domain: Option<Name>,
    pub dns: Option<IpAddr>,
    pub ping: Option<IpAddr>,
    pub hub: Option<Endpoint>,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given.flags,
        Err(code) => return code,
    };
    let items = match chosen(&given.items) {
        Ok(items) => items,
        Err(unknown) => {
            let all: Vec<&str> = ITEMS.iter().map(|(name, _)| *name).collect();
            let all = all.join(", ");
            let sentence = format!("nothing to check is called {unknown:?}: there are all, {all}");
            console::complain(SPEC.name, &sentence);
            return exit::USAGE;
        }
    };
    let hub = given.cloud_hub_server.as_deref().map(endpoint).transpose();
    let hub = match hub {
        Ok(hub) => hub,
        Err(error) => {
            console::complain(SPEC.name, &format!("--cloud-hub-server: {error}"));
            return exit::USAGE;
        }
    };
    let wish = Wish {
        config: given.config,
        domain: given.domain,
        dns: given.dns_ip,
        ping: given.ip,
        hub,
    };
    let checked = check(host, &wish, &items);
    out::show(&checked, given.output);
    checked.code()
}

pub fn endpoint(text: &str) -> Result<Endpoint, NameError> {
    Endpoint::parse_with_default_port(text, HUB_PORT)
}

/// Looks at these items, in the order of the table.
pub fn check(host: &Host, wish: &Wish, items: &[&str]) -> Checked {
    let mut look = Look::begin(host, wish);
    for (name, item) in ITEMS.iter().filter(|(name, _)| items.contains(name)) {
        look.item = name;
        item(&mut look);
    }
    look.end()
}

/// What these words mean; the error is the one that means nothing.
fn chosen(words: &[String]) -> Result<Vec<&'static str>, &str> {
    let mut items = Vec::new();
    for word in words {
        match ITEMS.iter().find(|(name, _)| name == word) {
            Some((name, _)) => items.push(*name),
            None if word == "all" => items.extend(ITEMS.iter().map(|(name, _)| *name)),
            None => return Err(word),
        }
    }
    if words.is_empty() {
        items.extend(ITEMS.iter().map(|(name, _)| *name));
    }
    Ok(items)
}

type Item = (&'static str, fn(&mut Look<'_>));

/// What the network says comes before the clock and what is judged by it: a cloud says what time it is.
static ITEMS: &[Item] = &[
    ("cpu", machine::cpu),
    ("mem", machine::memory),
    ("disk", machine::disk),
    ("folders", machine::folders),
    ("pid", machine::pids),
    ("kernel", machine::kernel),
    ("init", cloud::init),
    ("config", cloud::config),
    ("edgecore", cloud::edgecore),
    ("proxy", network::proxy),
    ("dns", network::dns),
    ("network", network::network),
    ("mtu", network::mtu),
    ("clock", cloud::clock),
    ("identity", cloud::identity),
    ("runtime", machine::runtime),
];

const HUB_PORT: u16 = 10_000;

static SPEC: Spec = Spec {
    name: "kubeedge debug check",
    about: "Checks all that this device needs, and changes nothing: the machine, its folders, its \
            init system, the configuration, the way to each cloud by each protocol, the clock, \
            the certificates. Each fault is told with its remedy. Exit code: 0 nothing has failed \
            (there may be warnings); 1 something has.",
    examples: &[
        "kubeedge debug check",
        "kubeedge debug check network clock -o json",
        "kubeedge debug check dns --domain cloud.example.org --dns-ip 192.0.2.53",
    ],
    spellings: &[],
    ignored: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_choose_items_and_the_help_has_all() {
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(chosen(&words("mtu cpu")), Ok(vec!["mtu", "cpu"]));
        assert_eq!(chosen(&words("")).map(|it| it.len()), Ok(ITEMS.len()));
        assert_eq!(chosen(&words("all")).map(|it| it.len()), Ok(ITEMS.len()));
        assert_eq!(chosen(&words("cpu gpu")), Err("gpu"));
        let info = Flags::get_args_info();
        let about = info.positionals[0].description;
        for (name, _) in ITEMS {
            assert!(about.contains(name), "{name}");
        }
    }
}

//! `ctl logs`, `exec`, `restart` and `edit`: what needs containers or a device twin, of which there are none here; a
//! sentence says what to do instead.

use argh::{ArgsInfo, FromArgs};

use crate::keadm::{Command, Group};
use crate::system::args::{self, Ignored, Spec};

pub static LOGS: Command = Command {
    name: "ctl logs",
    group: Group::Edge,
    summary: "says where logs are: no containers run here",
    spec: &OF_LOGS,
    info: Words::get_args_info,
    run: |args, _| run(&OF_LOGS, args),
};

pub static EXEC: Command = Command {
    name: "ctl exec",
    group: Group::Edge,
    summary: "says what to do instead: no containers run here",
    spec: &OF_EXEC,
    info: Words::get_args_info,
    run: |args, _| run(&OF_EXEC, args),
};

pub static RESTART: Command = Command {
    name: "ctl restart",
    group: Group::Edge,
    summary: "says what to do instead: no containers run here",
    spec: &OF_RESTART,
    info: Words::get_args_info,
    run: |args, _| run(&OF_RESTART, args),
};

#[cfg(feature = "tools")]
pub static EDIT: Command = Command {
    name: "ctl edit",
    group: Group::Edge,
    summary: "says where a device is changed: on the cloud",
    spec: &OF_EDIT,
    info: Words::get_args_info,
    run: |args, _| run(&OF_EDIT, args),
};

/// as KubeEdge's
#[derive(FromArgs, ArgsInfo)]
struct Words {
    /// as KubeEdge's
    #[argh(positional, arg_name = "word")]
    #[allow(dead_code, reason = "whatever they are, the answer is the same")]
    words: Vec<String>,
}

fn run(spec: &Spec, args: &[String]) -> u8 {
    if let Err(code) = args::enter::<Words>(spec, args) {
        return code;
    }
    args::decline(spec)
}

const fn flag(long: &'static str, short: Option<char>, value: bool) -> Ignored {
    Ignored {
        long,
        short,
        value,
        why: "",
    }
}

const OF_CONTAINERS: &[Ignored] = &[
    flag("namespace", Some('n'), true),
    flag("container", Some('c'), true),
];

static OF_LOGS: Spec = Spec {
    name: "kubeedge ctl logs",
    about: "This device runs no containers, so that pods here have no logs; edgecore's own are \
            where its service writes them: see `kubeedge service` and `kubeedge debug collect`.",
    examples: &["kubeedge ctl logs web -n shop"],
    spellings: &[],
    ignored: &[
        OF_CONTAINERS,
        &[
            flag("follow", Some('f'), false),
            flag("previous", Some('p'), false),
            flag("since-second", None, true),
            flag("since-time", None, true),
            flag("timestamps", None, false),
            flag("tail", None, true),
            flag("limit-bytes", None, true),
            flag("insecure-skip-tls-verify-backend", None, false),
        ],
    ],
};

static OF_EXEC: Spec = Spec {
    name: "kubeedge ctl exec",
    about: "This device runs no containers, so that there is none to run a command in: run it on \
            the device itself.",
    examples: &["kubeedge ctl exec web -n shop -- ls /"],
    spellings: &[],
    ignored: &[
        OF_CONTAINERS,
        &[
            flag("stdin", Some('i'), false),
            flag("tty", Some('t'), false),
        ],
    ],
};

static OF_RESTART: Spec = Spec {
    name: "kubeedge ctl restart",
    about: "This device runs no containers, so that there is no pod to restart; edgecore itself is \
            restarted by `kubeedge service restart`.",
    examples: &["kubeedge ctl restart pod web -n shop"],
    spellings: &[],
    ignored: &[OF_CONTAINERS],
};

#[cfg(feature = "tools")]
static OF_EDIT: Spec = Spec {
    name: "kubeedge ctl edit",
    about: "The cloud alone says what is desired of a device, and this edgecore's API only reads: change it \
            there, with `kubectl edit device NAME -n NAMESPACE` or `cloudcore ctl apply -f FILE`, and see here \
            with `kubeedge ctl get device NAME -n NAMESPACE -o yaml` what has come.",
    examples: &["kubeedge ctl edit device thermometer -n shop"],
    spellings: &[],
    ignored: &[&[flag("namespace", Some('n'), true)]],
};

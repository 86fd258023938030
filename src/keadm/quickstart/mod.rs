//! `quickstart`: a cloud and an edge on this machine, to see everything work in a few seconds.

mod agree;
mod children;
mod folder;
mod node;
mod report;
mod sabotage;
mod step;
mod steps;
mod tour;
mod views;

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use smol::future::or;

use self::folder::Folder;
use self::report::Reporter;
use self::step::Step;
use self::tour::Tour;
use super::out::{self, Format};
use super::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::exit;
use crate::system::host::Host;
use crate::system::signals::{Request, Signals};

pub static COMMAND: Command = Command {
    name: "quickstart",
    group: Group::Anywhere,
    summary: "see a cloud and an edge work, here and without root",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// how to show it
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// an empty or new folder for all files; default: a fresh one below $TMPDIR
    #[argh(option, arg_name = "dir")]
    dir: Option<PathBuf>,
    /// end after the tour instead of running on
    #[argh(switch)]
    once: bool,
    /// text or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
    /// for tests: break this step, to see that it is noticed
    #[argh(option, hidden_help, arg_name = "step")]
    sabotage: Option<Step>,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let fail = |error: &dyn std::error::Error, code| {
        out::fail(SPEC.name, error, given.verbosity, flags.output, code)
    };
    // From here on a signal is a request, so that nothing is left behind.
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(&error, exit::FAILURE),
    };
    let folder = match Folder::prepare(&host.files, flags.dir.as_deref()) {
        Ok(folder) => folder,
        Err(error) => return fail(&error, error.code()),
    };
    let tour = match Tour::new(host, folder, Reporter::new(flags.output), flags.sabotage) {
        Ok(tour) => tour,
        Err(error) => return fail(&error, exit::FAILURE),
    };
    smol::block_on(guide(tour, signals, flags.once))
}

/// Shows everything, runs on if wanted, and leaves no process behind.
async fn guide(mut tour: Tour, mut signals: Signals, once: bool) -> u8 {
    tour.reporter.title(tour.folder.path());
    let shown = or(async { Some(tour.show().await) }, interrupted(&mut signals)).await;
    let good = match shown {
        Some(good) => good,
        None => {
            tour.reporter.note("Interrupted.");
            false
        }
    };
    let mut code = if good { exit::OK } else { exit::FAILURE };
    if good && !once {
        tour.reporter.invite(tour.folder.path(), &tour.executable);
        let lost = or(
            async { Some(tour.watch().await) },
            interrupted(&mut signals),
        )
        .await;
        if let Some(lost) = lost {
            tour.reporter.note(&lost);
            code = exit::FAILURE;
        }
    }
    // A second signal does not hurry this: it is bounded, and left-over processes are worse.
    if good && !tour.stop().await {
        code = exit::FAILURE;
    }
    let verified = code == exit::OK;
    tour.clean_up(verified);
    tour.reporter.finish(verified);
    code
}

async fn interrupted<T>(signals: &mut Signals) -> Option<T> {
    while signals.next().await != Request::Stop {}
    None
}

static SPEC: Spec = Spec {
    name: "kubeedge quickstart",
    about: "Starts a cloudcore on loopback, makes a token, joins an edge, and shows the \
            certificate, the tunnel as both sides see it, and a renewal during which the tunnel \
            stays up; then runs on until Ctrl-C. Needs neither root nor a network, and touches \
            nothing outside of its folder. Exit code: 0 every step was verified on both sides; \
            1 one was not, it is named with its cause.",
    examples: &[
        "kubeedge quickstart",
        "kubeedge quickstart --once --dir /tmp/try",
    ],
    spellings: &[],
    ignored: &[],
};

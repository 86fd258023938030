//! `help`: the overall screen, and the way to the help of one command.

use argh::{ArgsInfo, FromArgs};

use super::{
    COMMANDS, Command, Found, Group, ROLES, find, group, has, left_out, refuse, unknown_command,
};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "help",
    group: Group::Anywhere,
    summary: "this screen, or the one of a command: help version",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to explain
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the words of a command
    #[argh(positional, arg_name = "command")]
    command: Vec<String>,
}

fn run(args: &[String], host: &Host) -> u8 {
    let mut words = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given.flags.command,
        Err(code) => return code,
    };
    words.push("--help".to_owned());
    match find(&words) {
        Found::Command(command, _) => (command.run)(&words[words.len() - 1..], host),
        Found::LeftOut(name) => refuse(SPEC.name, &left_out::sentence(&name)),
        Found::Group => group(SPEC.name, &words),
        Found::Nothing if words.len() == 1 => overall(),
        Found::Nothing => refuse(SPEC.name, &unknown_command(&words[0], &[])),
    }
}

/// Prints what there is; returns the exit code.
pub fn overall() -> u8 {
    console::out(&screen());
    exit::OK
}

fn screen() -> String {
    let mut text = TITLE.to_owned();
    let first_steps = [
        (Group::Cloud, "On the cloud machine:", CLOUD_STEPS),
        (Group::Edge, "On the edge device:", EDGE_STEPS),
    ];
    for (_, title, steps) in first_steps {
        // A step is shown once its command exists.
        let mut steps = steps
            .iter()
            .filter(|(command, _, _)| is_there(command))
            .peekable();
        if steps.peek().is_some() {
            text.push_str(&format!("\n{title}\n"));
        }
        for (_, line, what) in steps {
            text.push_str(&format!("  {line}\n      {what}\n"));
        }
    }
    for (group, title) in [
        (Group::Cloud, "Commands for the cloud machine"),
        (Group::Edge, "Commands for the edge device"),
        (Group::Anywhere, "Commands for either"),
    ] {
        let commands: Vec<_> = COMMANDS.iter().filter(|it| it.group == group).collect();
        if !commands.is_empty() {
            text.push_str(&format!("\n{title}:\n"));
        }
        for command in commands {
            text.push_str(&args::list_row(command.name, command.summary));
        }
    }
    text.push_str("\nNames this file answers to, as a link or as the first word:\n");
    for (name, what) in ROLES {
        text.push_str(&args::list_row(name, what));
    }
    text.push_str(FOOT);
    text
}

fn is_there(command: &str) -> bool {
    has(command) || ROLES.iter().any(|(name, _)| *name == command)
}

static SPEC: Spec = Spec {
    name: "kubeedge help",
    about: "Explains a command, or shows all there are. The same as COMMAND --help.",
    examples: &["kubeedge help version"],
    spellings: &[],
    ignored: &[],
};

const TITLE: &str = "kubeedge: KubeEdge for small devices, in one file.\n";

/// A command that must exist, the line to type, and what it does.
type Step = (&'static str, &'static str, &'static str);

const CLOUD_STEPS: &[Step] = &[
    (
        "cloudcore",
        "kubeedge cloudcore",
        "starts the cloud side: no cluster, no database needed",
    ),
    (
        "gettoken",
        "kubeedge gettoken",
        "prints a token; a device joins with it during 24 hours",
    ),
    (
        "init",
        "kubeedge init --advertise-address ADDRESS",
        "in place of the first: installs the cloud side on a Kubernetes cluster",
    ),
];

const EDGE_STEPS: &[Step] = &[
    (
        "join",
        "kubeedge join -e CLOUD:10000 --token-file FILE",
        "installs this file, gets a certificate, connects; `-` as FILE reads stdin",
    ),
    (
        "status",
        "kubeedge status",
        "tells whether the device is connected, and until when",
    ),
];

const FOOT: &str = "
kubeedge COMMAND --help explains a command with an example.
kubeedge --install DIR  makes its links, such as keadm, in the folder DIR.
kubeedge --list         prints the names, one a line.
--root DIR, or KUBEEDGE_ROOT=DIR, puts DIR before every absolute path.
Exit codes: 0 done, 1 failed, 64 usage, 69 unavailable, 75 try again,
77 denied, 78 configuration.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_has_every_command_and_fits() {
        let screen = screen();
        for command in COMMANDS {
            assert!(
                screen.contains(&format!(
                    "\n{}",
                    args::list_row(command.name, command.summary)
                )),
                "{}",
                command.name
            );
        }
        for (name, _) in ROLES {
            assert!(screen.contains(&format!("\n  {name} ")), "{name}");
        }
        assert!(
            screen.lines().all(|line| line.chars().count() <= 80),
            "{screen}"
        );
    }

    #[test]
    fn steps_name_only_what_exists() {
        let screen = screen();
        for (command, line, _) in CLOUD_STEPS.iter().chain(EDGE_STEPS) {
            assert_eq!(screen.contains(line), is_there(command), "{line}");
        }
    }
}

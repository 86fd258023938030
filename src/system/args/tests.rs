//! Command lines in every spelling that pflag knows, and what is said of wrong ones.

use std::path::PathBuf;

use super::*;

/// a command with a flag of each kind
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Default)]
struct Sample {
    /// where to
    #[argh(option, short = 'e', arg_name = "host:port")]
    endpoint: String,
    /// what is secret
    #[argh(option, short = 't')]
    token: Option<String>,
    /// a number
    #[argh(option)]
    port: Option<u16>,
    /// a label
    #[argh(option, short = 'l')]
    labels: Vec<String>,
    /// a change
    #[argh(option)]
    set: Vec<String>,
    /// version
    #[argh(option)]
    to_version: Option<String>,
    /// by force
    #[argh(switch, short = 'f')]
    force: bool,
    /// yes
    #[argh(switch, short = 'y')]
    yes: bool,
    /// a name
    #[argh(positional)]
    name: Option<String>,
}

const SPEC: Spec = Spec {
    name: "kubeedge sample",
    about: "Shows every kind of flag.",
    examples: &["kubeedge sample -e host:1"],
    spellings: &[("toVersion", "to-version")],
    ignored: &[
        &[Ignored {
            long: "with-mqtt",
            short: None,
            value: false,
            why: "there is no broker to install",
        }],
        KLOG,
    ],
};

fn read(line: &[&str]) -> Result<Given<Sample>, Stop> {
    parse(
        &SPEC,
        &line.iter().map(|arg| arg.to_string()).collect::<Vec<_>>(),
    )
}

fn sample(line: &[&str]) -> Sample {
    read(line).expect("the line is right").flags
}

fn fault(line: &[&str]) -> String {
    match read(line) {
        Err(Stop::Usage(sentence)) => sentence,
        other => panic!("{line:?} gives {other:?}"),
    }
}

#[test]
fn every_spelling_of_a_value() {
    for line in [
        &["--endpoint", "h:1"][..],
        &["--endpoint=h:1"],
        &["-e", "h:1"],
        &["-e=h:1"],
        &["-eh:1"],
        &["-fye", "h:1", "--force=false", "-y=0"],
        &["--endpoint=other", "-e", "h:1"],
    ] {
        let expected = Sample {
            endpoint: "h:1".to_owned(),
            ..Sample::default()
        };
        assert_eq!(sample(line), expected, "{line:?}");
    }
}

#[test]
fn values_are_taken_as_they_are() {
    let given = sample(&[
        "-e",
        "--force",
        "--token=a=b",
        "--set",
        "x=1,y=2",
        "--set=z=",
    ]);
    assert_eq!(given.endpoint, "--force");
    assert_eq!(given.token.as_deref(), Some("a=b"));
    assert_eq!(given.set, ["x=1,y=2", "z="]);
    assert!(!given.force);
    assert_eq!(sample(&["-e=", "-la", "-l=b"]).labels, ["a", "b"]);
}

#[test]
fn switches() {
    assert!(sample(&["-e1", "-fy"]).yes);
    assert!(sample(&["-e1", "--force=T"]).force);
    assert!(!sample(&["-e1", "--force", "--force=false"]).force);
    assert!(sample(&["-e1", "--force=false", "-f"]).force);
    assert_eq!(
        fault(&["-e1", "--force=maybe"]),
        "--force takes true or false"
    );
}

#[test]
fn positionals_may_look_like_flags_or_help() {
    assert_eq!(sample(&["help", "-e1"]).name.as_deref(), Some("help"));
    assert_eq!(
        sample(&["-e1", "--", "--force"]).name.as_deref(),
        Some("--force")
    );
    assert_eq!(sample(&["-e1", "-"]).name.as_deref(), Some("-"));
    assert_eq!(
        fault(&["-e1", "a", "b"]),
        "unexpected argument \"b\": see \"kubeedge sample --help\""
    );
}

#[test]
fn capitals_and_underlines() {
    let given = sample(&["-e1", "--toVersion=v1"]);
    assert_eq!(given, sample(&["-e1", "--to-version", "v1"]));
    assert_eq!(given, sample(&["-e1", "--to_version", "v1"]));
}

#[test]
fn verbosity() {
    for line in [
        &["-v", "4"][..],
        &["-v4"],
        &["-v=4"],
        &["--v=4"],
        &["--v", "4"],
    ] {
        let given = read(&[&["-e1"], line].concat()).expect("right");
        assert_eq!(given.verbosity, Some(4), "{line:?}");
    }
    assert_eq!(fault(&["-v", "much"]), "-v takes a number, not \"much\"");
    assert_eq!(fault(&["-v"]), "-v needs a value");
}

#[test]
fn flags_without_effect_are_said_once() {
    let line = [
        "-e1",
        "--with-mqtt",
        "--with-mqtt=false",
        "--vmodule=a=1",
        "--log_dir",
        "x",
    ];
    assert_eq!(
        read(&line).expect("right").notes,
        ["--with-mqtt has no effect here: there is no broker to install"]
    );
}

#[test]
fn faults_are_one_sentence() {
    assert_eq!(
        fault(&[]),
        "--endpoint HOST:PORT is missing: see \"kubeedge sample --help\""
    );
    assert_eq!(fault(&["--endpoint"]), "--endpoint needs a value");
    assert_eq!(
        fault(&["-e1", "-q"]),
        "unknown flag -q: \"kubeedge sample --help\" lists those there are"
    );
    assert_eq!(
        fault(&["-e1", "--forse"]),
        "unknown flag --forse; did you mean --force?"
    );
    assert_eq!(
        fault(&["-e1", "--toversion=1"]),
        "unknown flag --toversion; did you mean --toVersion?"
    );
    let sentence = fault(&["-e1", "--port", "x"]);
    assert_eq!(sentence, "--port can't be \"x\": a whole number is wanted");
    assert_eq!(
        fault(&["-e1", "--port", "70000"]),
        "--port can't be \"70000\": it is at most 65535"
    );
}

#[test]
fn faults_show_no_secret() {
    let secret = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c.ey.ey.x";
    for line in [
        &["-e1", "--tokn", secret][..],
        &["-e1", &format!("--tokn={secret}")],
        &["-e1", "name", secret],
        &["-e1", "--port", secret],
        &["-e1", "-v", secret],
    ] {
        let sentence = fault(line);
        assert!(
            !sentence.contains("0a9f") && !sentence.contains("ey.ey"),
            "{sentence}"
        );
    }
}

#[test]
fn help_shows_all_of_it() {
    for line in [
        &["--help"][..],
        &["-h"],
        &["--port", "x", "-h"],
        &["--help", "-e", "1"],
    ] {
        let Err(Stop::Help(text)) = read(line) else {
            panic!("no help for {line:?}");
        };
        for part in [
            "Usage: kubeedge sample --endpoint HOST:PORT [flags] [NAME]",
            "-e, --endpoint HOST:PORT",
            "where to (required)",
            "a change (may be repeated)",
            "without effect: --with-mqtt, --vmodule",
            "Example:\n  kubeedge sample -e host:1",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}

#[test]
fn a_file_is_named_from_the_top_on() {
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    for (typed, path) in [
        ("/etc/a.yaml", "/etc/a.yaml".into()),
        ("a.yaml", here.join("a.yaml")),
        ("./src/a.yaml", here.join("src/a.yaml")),
        ("src/../a.yaml", here.join("a.yaml")),
        // For whoever says that it is not there.
        ("/nowhere/../a.yaml", "/nowhere/../a.yaml".into()),
    ] {
        assert_eq!(whole::<PathBuf>(typed), Ok(path), "{typed}");
    }
    assert!(whole::<PathBuf>("").is_err());
}

//! One executable under all its names, started as a user does.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const KUBEEDGE: &str = env!("CARGO_BIN_EXE_kubeedge");

fn run(argv: &[&str]) -> Output {
    let mut command = Command::new(KUBEEDGE);
    command.arg0(argv[0]).args(&argv[1..]);
    command.env_remove("KUBEEDGE_ROOT");
    command.output().expect("the executable starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// A folder of this test alone, empty at its start.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the folder is made");
    path
}

#[test]
fn version_by_every_name() {
    for argv in [
        &["kubeedge", "version", "-o", "short"][..],
        &["kubeedge", "keadm", "version", "--output=short"],
        &["kubeedge", "-v", "2", "version", "-oshort"],
        &["kubeedge", "version", "-o=short", "--v=4"],
        &["keadm", "version", "--output", "short"],
        &["keadm", "--version"],
        &["/usr/local/bin/keadm", "-v=2", "version", "-o", "short"],
        &["kubeedge-0.1.0-armv7", "version", "-o", "short"],
    ] {
        let output = run(argv);
        assert_eq!(
            stdout(&output),
            "v1.23.1\n",
            "{argv:?}: {}",
            stderr(&output)
        );
        assert_eq!(code(&output), 0, "{argv:?}");
        assert_eq!(stderr(&output), "", "{argv:?}");
    }
}

#[test]
fn help_is_a_switch_as_any() {
    let output = run(&["kubeedge", "version", "--help=false", "-o", "short"]);
    assert_eq!(stdout(&output), "v1.23.1\n", "{}", stderr(&output));
    let output = run(&["kubeedge", "version", "--help=maybe"]);
    assert_eq!(
        stderr(&output),
        "kubeedge version: --help takes true or false\n"
    );
}

#[test]
fn version_in_json_has_the_keys_of_keadm() {
    let output = run(&["keadm", "version", "-o", "json"]);
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(facts["gitVersion"], "v1.23.1");
    assert_eq!(facts["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        facts["target"]
            .as_str()
            .is_some_and(|target| target.contains("-linux-"))
    );
    let line = stdout(&run(&["kubeedge", "--version"]));
    assert!(
        line.starts_with(concat!("kubeedge ", env!("CARGO_PKG_VERSION"), " ")),
        "{line}"
    );
}

#[test]
fn help_is_the_same_by_every_way() {
    let whole = stdout(&run(&["kubeedge", "--help"]));
    assert!(whole.contains("\nCommands for either:\n"), "{whole}");
    for argv in [
        &["kubeedge"][..],
        &["kubeedge", "-h"],
        &["kubeedge", "help"],
        &["keadm"],
        &["keadm", "--help"],
        &["keadm", "help"],
        &["/x/y/kubeedge-0.1.0-armv7"],
    ] {
        let output = run(argv);
        assert_eq!(
            (code(&output), stdout(&output)),
            (0, whole.clone()),
            "{argv:?}"
        );
    }
}

#[test]
fn every_command_of_the_list_explains_itself_with_an_example() {
    let list = stdout(&run(&["kubeedge", "--list"]));
    assert!(list.lines().any(|name| name == "version"), "{list}");
    for name in list.lines() {
        let words: Vec<&str> = name.split(' ').collect();
        let by_flag = run(&[&["kubeedge"], &words[..], &["--help"]].concat());
        let by_letter = run(&[&["kubeedge"], &words[..], &["-h"]].concat());
        let by_help = run(&[&["kubeedge", "help"], &words[..]].concat());
        let text = stdout(&by_flag);
        assert_eq!(code(&by_flag), 0, "{name}");
        assert_eq!(text, stdout(&by_letter), "{name} -h");
        assert_eq!(text, stdout(&by_help), "help {name}");
        assert!(
            name == "keadm" || text.contains("Example:\n  "),
            "{name}: {text}"
        );
    }
}

#[test]
fn unknown_names_and_flags_are_usage_errors_in_one_line() {
    for (argv, expected) in [
        (
            &["kubeedge", "verzion"][..],
            "did you mean \"version\"? There are keadm, ",
        ),
        (
            &["kubeedge", "xyzzy"],
            "unknown command \"xyzzy\": there are keadm, ",
        ),
        (&["kubeedge", ""], "unknown command \"\": there are"),
        (
            &["keadm", "xyzzy"],
            "keadm: unknown command \"xyzzy\": there are ",
        ),
        (&["kubeedge", "help", "xyzzy"], "unknown command \"xyzzy\""),
        (
            &["kubeedge", "version", "--outptu=json"],
            "did you mean --output?",
        ),
        (&["kubeedge", "version", "-o"], "-o needs a value"),
        (
            &["kubeedge", "version", "-o", "xml"],
            "--output is short, json or yaml",
        ),
        (
            &["kubeedge", "version", "now"],
            "unexpected argument \"now\"",
        ),
        (
            &["kubeedge", "completion"],
            "SHELL is missing: see \"kubeedge completion --help\"",
        ),
        (
            &["kubeedge", "config", "images"],
            "say which: \"config images list\", \"config images pull\"",
        ),
        (
            &["kubeedge", "config", "pictures", "--help"],
            "there is no \"config pictures\"; there is \"config",
        ),
        (
            &["cloudcore", "ca"],
            "say which: \"ca import\", \"ca rotate\", \"ca status\"",
        ),
        (
            &["cloudcore", "ca", "foo"],
            "there is no \"ca foo\"; there is \"ca import\", ",
        ),
        (
            &["kubeedge", "cloudcore", "cert", "foo"],
            "there is no \"cert foo\"; there is \"cert add-san\"",
        ),
        (
            &["cloudcore", "ctl", "foo"],
            "there is no \"ctl foo\"; there is \"ctl nodes\", ",
        ),
        (
            &[
                "kubeedge",
                "join",
                "--token-file",
                "x",
                "-e",
                "",
                "--dry-run",
            ],
            "--cloudcore-ipport: the address is empty: give a name or an IP address",
        ),
        (
            &["cloudcore", "ctl", "apply", "-f", "x", "-l", "a=b,c=d"],
            "a selector is one label and its value",
        ),
        (
            &["cloudcore", "--hub-port", "99999"],
            "--hub-port can't be \"99999\": it is at most 65535",
        ),
        (
            &["cloudcore", "--listen", "foo"],
            "--listen can't be \"foo\": an IP address is wanted",
        ),
        (
            &["kubeedge", "join", "--bind-address", "foo", "-e", "a"],
            "--bind-address: an IP address is wanted",
        ),
        (
            &[
                "cloudcore",
                "ctl",
                "upgrade",
                "--version",
                "v1",
                "--timeout",
                "soon",
            ],
            "--timeout can't be \"soon\": a duration needs a unit",
        ),
        (
            &["kubeedge", "token", "create", "--uses", "x"],
            "--uses: a whole number is wanted",
        ),
        (&["kubeedge", "completion", "csh"], "bash, zsh and fish"),
        (&["kubeedge", "version", "--root"], "--root needs a folder"),
        (&["kubeedge", "--install"], "--install needs one folder"),
        (
            &["kubeedge", "--frob"],
            "unknown flag --frob before a command",
        ),
    ] {
        let output = run(argv);
        let said = stderr(&output);
        assert_eq!(code(&output), 64, "{argv:?}: {said}");
        assert!(said.contains(expected), "{argv:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{argv:?}: {said}");
        assert_eq!(stdout(&output), "", "{argv:?}");
    }
}

#[test]
fn an_argument_that_is_no_text_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let output = Command::new(KUBEEDGE)
        .args([OsStr::new("version"), OsStr::from_bytes(b"\xff")])
        .output()
        .expect("the executable starts");
    assert_eq!(code(&output), 64);
    assert!(
        stderr(&output).contains("argument 2 is not UTF-8"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_listener_that_goes_away_is_no_crash() {
    let mut child = Command::new(KUBEEDGE)
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the executable starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
    let full = fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let output = Command::new(KUBEEDGE)
        .arg("--help")
        .stdout(full)
        .output()
        .expect("the executable starts");
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

#[test]
fn install_makes_links_that_work_and_keeps_what_is_not_its_own() {
    let dir = folder("install");
    let at = dir.to_str().expect("UTF-8");
    fs::write(dir.join("keadm"), "of another program").expect("a file");
    let output = run(&["kubeedge", "--install", at]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(
        stdout(&output).contains("keadm: kept, as it is no link"),
        "{}",
        stdout(&output)
    );
    let kept = fs::read_to_string(dir.join("keadm")).expect("the file is still there");
    assert_eq!(kept, "of another program");

    let output = run(&["kubeedge", "--install", at, "--force"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let output = Command::new(dir.join("keadm"))
        .args(["version", "-o", "short"])
        .output()
        .expect("the link works");
    assert_eq!(stdout(&output), "v1.23.1\n");

    let output = run(&["kubeedge", "--install", at]);
    assert_eq!(code(&output), 0);
    assert!(
        stdout(&output)
            .lines()
            .all(|line| line.ends_with("was there already"))
    );
}

#[test]
fn root_goes_before_paths() {
    let root = folder("install-root");
    let output = run(&[
        "kubeedge",
        "--install",
        "/bin",
        "--root",
        root.to_str().expect("UTF-8"),
    ]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(root.join("bin/keadm").is_symlink());
    let root = folder("install-root-by-variable");
    let output = Command::new(KUBEEDGE)
        .args(["--install", "/bin"])
        .env("KUBEEDGE_ROOT", &root)
        .output()
        .expect("the executable starts");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(root.join("bin/kubeedge").is_symlink());
}

/// What bash offers for each of these lines, the last word of which is begun.
fn completed(place: &Path, lines: &[String]) -> Vec<String> {
    let script = place.join("kubeedge.bash");
    let output = run(&["kubeedge", "completion", "bash"]);
    fs::write(&script, &output.stdout).expect("the script is written");
    let mut ask = format!("source {}\n", script.display());
    for line in lines {
        let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
        ask.push_str(&format!(
            "COMP_WORDS=({}); COMP_CWORD={}; _kubeedge; echo \"${{COMPREPLY[*]}}\"\n",
            words.join(" "),
            words.len() - 1
        ));
    }
    let asked = place.join("ask.bash");
    fs::write(&asked, ask).expect("the questions are written");
    let output = Command::new("bash").arg("--norc").arg(&asked).output();
    let output = output.expect("bash starts");
    assert_eq!(stderr(&output), "");
    let answers: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), lines.len(), "{answers:?}");
    answers
}

#[test]
fn completion_of_bash_completes() {
    let cases = [
        ("kubeedge ver", "version"),
        ("/usr/bin/keadm ver", "version"),
        ("kubeedge keadm ver", "version"),
        ("kubeedge kead", "keadm"),
        ("kubeedge --inst", "--install"),
        ("kubeedge version --ou", "--output"),
        ("kubeedge help comp", ""),
        ("kubeedge cloudc", "cloudcore"),
        ("keadm cloudc", ""),
        ("cloudcore c", "ca cert ctl"),
        ("kubeedge cloudcore ca ", "import rotate status"),
        (
            "cloudcore ca rotate ",
            "prepare switch announce finish --dry-run --force -o --output --json",
        ),
        ("cloudcore ca rotate finish --f", "--force"),
        ("cloudcore ctl un", ""),
        ("kubeedge reset --f", "--force"),
        ("kubeedge edgecore --bind-i", "--bind-interface"),
        ("edgecore --no-su", "--no-supervisor"),
        ("kubeedge --root /tmp join --edgenode-n", "--edgenode-name"),
        (
            "kubeedge --root = /tmp join --edgenode-n",
            "--edgenode-name",
        ),
        ("kubeedge -v 3 join --edgenode-n", "--edgenode-name"),
        ("kubeedge -v3 join --edgenode-n", "--edgenode-name"),
        ("kubeedge --root ", ""),
        ("kubeedge service start --dae", "--daemon"),
        ("kubeedge service start --daemon ", "edgecore cloudcore"),
        ("kubeedge service start --daemon =", "edgecore cloudcore"),
        ("kubeedge service start --daemon = c", "cloudcore"),
        ("kubeedge version -o ", "short json yaml"),
        ("kubeedge join --token-file ", ""),
    ];
    let lines = cases.map(|(line, _)| line.to_owned());
    let answers = completed(&folder("completion"), &lines);
    for ((line, expected), answer) in cases.iter().zip(answers) {
        assert_eq!(answer, *expected, "{line}");
    }
}

/// Every command with what its help says, by what the lists of commands say.
fn helps() -> Vec<(String, String)> {
    let mut names: Vec<String> = stdout(&run(&["kubeedge", "--list"]))
        .lines()
        .filter(|name| *name != "keadm")
        .map(str::to_owned)
        .collect();
    for group in ["ca", "cert", "ctl"] {
        let list = stdout(&run(&["cloudcore", group, "--help"]));
        let rows = list.lines().filter(|line| !line.starts_with("   "));
        names.extend(rows.map(|row| {
            let name = row.trim().split("  ").next().unwrap_or_default();
            format!("cloudcore {name}")
        }));
    }
    let help = |name: String| {
        let words: Vec<&str> = name.split(' ').collect();
        let text = stdout(&run(&[&["kubeedge"], &words[..], &["--help"]].concat()));
        (name, text)
    };
    names.into_iter().map(help).collect()
}

#[test]
fn completion_has_the_flags_that_help_has() {
    let helps = helps();
    assert!(helps.iter().any(|(name, _)| name == "cloudcore ca rotate"));
    let lines: Vec<String> = helps
        .iter()
        .map(|(name, _)| format!("kubeedge {name} -"))
        .collect();
    let answers = completed(&folder("completion-flags"), &lines);
    for ((name, help), answer) in helps.iter().zip(answers) {
        let flags = help
            .lines()
            .filter(|line| line.starts_with("  -") || line.starts_with("      --"));
        let head = |line| {
            let words = str::split(line, [' ', ',']).filter(|word| !word.is_empty());
            words.take_while(|word| word.starts_with('-'))
        };
        let mut flags: Vec<&str> = flags.flat_map(head).collect();
        // In the row of --v and of --help, for every command.
        flags.retain(|flag| !["-v", "-h"].contains(flag));
        flags.sort_unstable();
        flags.dedup();
        let mut offered: Vec<&str> = answer.split(' ').collect();
        offered.sort_unstable();
        assert_eq!(offered, flags, "{name}: {help}");
    }
}

#[test]
fn help_of_words_that_begin_several_commands_lists_those() {
    let rows = |argv: &[&str]| {
        let output = run(argv);
        assert_eq!(code(&output), 0, "{argv:?}: {}", stderr(&output));
        stdout(&output)
    };
    for (words, there, not) in [
        (&["config", "images"][..], "config images", "config view"),
        (&["ctl", "unhold-upgrade"], "ctl unhold-upgrade", "ctl get"),
        (&["cloudcore", "ctl"], "ctl apply", "ca rotate"),
        (&["cloudcore", "ca"], "ca rotate", "ctl apply"),
    ] {
        let list = rows(&[&["kubeedge"], words, &["--help"]].concat());
        assert!(list.contains(there) && !list.contains(not), "{list}");
        assert_eq!(list, rows(&[&["kubeedge", "help"], words].concat()));
        // A name and its summary do not run together.
        for name in list.lines().filter(|line| line.starts_with("  c")) {
            assert!(
                name.len() <= 21 || name[18..].contains("  ") || !name.trim().contains("  "),
                "{name}"
            );
        }
    }
}

#[test]
fn completion_of_bash_knows_what_this_machine_knows() {
    let place = folder("completion-live");
    let script = place.join("kubeedge.bash");
    let output = run(&["kubeedge", "completion", "bash"]);
    fs::write(&script, &output.stdout).expect("the script is written");
    // In the place of a program that has a cloud.
    let lines = "NAME STATE\nedge-1 connected\nedge-2 -\n$(touch\u{20}x) -\n";
    let ask = |line: &str, prefix: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let ask = format!(
            "kubeedge() {{ [ \"$1 $2\" = \"{prefix}\" ] && printf '%s' '{lines}'; }}; source {}; COMP_WORDS=({line} ''); \
             COMP_CWORD={}; _kubeedge; echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            words.len()
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output();
        stdout(&output.expect("bash starts"))
    };
    for (line, asked) in [
        ("kubeedge token delete", "token list"),
        ("keadm certs revoke", "cloudcore ctl"),
        ("kubeedge cloudcore ctl delete node", "cloudcore ctl"),
        ("kubeedge cloudcore ctl apply --node", "cloudcore ctl"),
    ] {
        let words = ask(line, asked);
        assert!(
            words.contains("edge-1 edge-2") && !words.contains("touch"),
            "{line}: {words}"
        );
        assert!(!ask(line, "nothing").contains("edge-1"), "{line}");
    }
    assert!(!ask("kubeedge token list", "token list").contains("edge-1"));
}

/// Of examples those that change nothing, or only what is in this folder.
const HARMLESS: &[&str] = &[
    "batch gen-config",
    "beta",
    "certs check",
    "completion",
    "config images list",
    "ctl",
    "debug get",
    "debug diagnose pod",
    "deprecated",
    "help",
    "manifest",
    "service status",
    "status",
    "version",
];

#[test]
fn examples_run() {
    let place = folder("examples");
    let list = stdout(&run(&["kubeedge", "--list"]));
    let mut ran = 0;
    for name in list.lines().filter(|name| *name != "keadm") {
        let words: Vec<&str> = name.split(' ').collect();
        let help = stdout(&run(&[&["kubeedge"], &words[..], &["--help"]].concat()));
        let examples = help
            .lines()
            .filter_map(|line| line.trim().strip_prefix("kubeedge "));
        let is_harmless = |line: &&str| {
            HARMLESS.iter().any(|start| line.starts_with(start))
                && !line.contains(['>', '|', '(', '<', '\''])
        };
        for line in examples.filter(is_harmless) {
            let output = Command::new(KUBEEDGE)
                .args(line.split(' '))
                .env("KUBEEDGE_ROOT", &place)
                .env_remove("KUBECONFIG")
                .env("HOME", &place)
                .current_dir(&place)
                .stdin(Stdio::null())
                .output()
                .expect("the executable starts");
            assert_ne!(code(&output), 64, "{line}: {}", stderr(&output));
            ran += 1;
        }
    }
    assert!(ran > 15, "{ran}");
}

#[test]
fn names_of_the_past_say_what_to_use() {
    for (words, instead) in [
        (
            &["deprecated", "init", "--kubeedge-version", "1.12"][..],
            "kubeedge init",
        ),
        (
            &["deprecated", "join", "--cloudcore-ipport=h:1"],
            "kubeedge join",
        ),
        (&["deprecated", "reset", "--force"], "kubeedge reset edge"),
        (&["beta"], "kubeedge help"),
    ] {
        let output = run(&[&["keadm"], words].concat());
        assert_eq!(
            (code(&output), stdout(&output).as_str()),
            (1, ""),
            "{words:?}"
        );
        let said = stderr(&output);
        assert!(
            said.contains(instead) && said.lines().count() == 1,
            "{said}"
        );
        let (_, sentence) = said.split_once(": ").expect("a sentence");
        assert!(sentence.starts_with(char::is_lowercase), "{said}");
    }
}

#[test]
fn completions_of_zsh_and_fish_name_both_programs() {
    let zsh = stdout(&run(&["kubeedge", "completion", "zsh"]));
    assert!(
        zsh.starts_with("#compdef kubeedge keadm cloudcore edgecore\n"),
        "{zsh}"
    );
    let fish = stdout(&run(&["kubeedge", "completion", "fish"]));
    let known = |line: &str| {
        line.is_empty()
            || line.starts_with("complete -c k")
            || line.starts_with("  ")
            || ["#", "function ", "end"]
                .iter()
                .any(|start| line.starts_with(start))
    };
    for line in fish.lines() {
        assert!(known(line), "{line}");
        assert_eq!(
            line.replace("\\'", "").matches('\'').count() % 2,
            0,
            "{line}"
        );
    }
}

#[test]
fn every_command_explains_itself_by_every_way() {
    for (name, text) in helps() {
        let words: Vec<&str> = name.split(' ').collect();
        assert!(text.contains("Example"), "{name}: {text}");
        // Help itself says of each such flag that it may be repeated.
        let once = ["repeatable", "more than once"];
        assert!(once.iter().all(|it| !text.contains(it)), "{name}: {text}");
        let by_help = run(&[&["kubeedge", "help"], &words[..]].concat());
        assert_eq!(stdout(&by_help), text, "help {name}");
    }
}

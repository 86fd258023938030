//! `version`: what this executable is, and which KubeEdge it speaks.

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::{Command, Group, out};
use crate::system::args::{self, Spec};
use crate::system::host::Host;
use crate::system::{build, console, exit};

pub static COMMAND: Command = Command {
    name: "version",
    group: Group::Anywhere,
    summary: "print the version, the KubeEdge it speaks, and the target",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to print
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// short (only the KubeEdge version), json or yaml; default: a line for people
    #[argh(option, short = 'o', arg_name = "format", default = "String::new()")]
    output: String,
}

fn run(args: &[String], _host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let facts = Facts::collect();
    let text = match given.flags.output.as_str() {
        "" | "text" => facts.line(),
        "short" => return short(),
        "json" => out::json(&facts),
        "yaml" => facts.yaml(),
        _ => {
            console::complain(SPEC.name, "--output is short, json or yaml");
            return exit::USAGE;
        }
    };
    console::out(&text);
    exit::OK
}

/// Prints the KubeEdge version alone: scripts compare it with KubeEdge's releases.
pub fn short() -> u8 {
    console::line(KUBEEDGE);
    exit::OK
}

/// The keys of KubeEdge's keadm, then ours; those that mean nothing here are empty.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    major: &'static str,
    minor: &'static str,
    git_version: &'static str,
    git_commit: &'static str,
    git_tree_state: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    compiler: &'static str,
    platform: String,
    version: &'static str,
    target: &'static str,
    profile: &'static str,
    features: &'static str,
}

impl Facts {
    fn collect() -> Facts {
        let mut parts = KUBEEDGE.trim_start_matches('v').split('.');
        Facts {
            major: parts.next().unwrap_or_default(),
            minor: parts.next().unwrap_or_default(),
            git_version: KUBEEDGE,
            git_commit: "",
            git_tree_state: "",
            build_date: "",
            go_version: "",
            compiler: "rustc",
            platform: build::go_platform(),
            version: build::VERSION,
            target: build::TARGET,
            profile: build::profile(),
            features: build::FEATURES,
        }
    }

    fn line(&self) -> String {
        format!(
            "kubeedge {} (speaks KubeEdge {}), {}, {}\n",
            self.version, self.git_version, self.target, self.profile
        )
    }

    /// The same keys in alphabetical order, as KubeEdge prints them.
    fn yaml(&self) -> String {
        let Ok(serde_json::Value::Object(keys)) = serde_json::to_value(self) else {
            return String::new();
        };
        let mut lines: Vec<String> = keys
            .iter()
            .map(|(key, value)| format!("{key}: {value}\n"))
            .collect();
        lines.sort();
        lines.concat()
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge version",
    about: "Prints the version of this executable, the version of KubeEdge whose protocol it \
            speaks, the target it was built for and the build profile. `-o short` prints only \
            the KubeEdge version; in JSON and YAML that is gitVersion, and version is our own.",
    examples: &["kubeedge version -o json"],
    spellings: &[],
    ignored: &[],
};

/// The KubeEdge release whose protocol and commands are followed.
pub const KUBEEDGE: &str = "v1.23.1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_keys_that_scripts_read() {
        let facts: serde_json::Value =
            serde_json::from_str(&out::json(&Facts::collect())).expect("JSON");
        assert_eq!(facts["major"], "1");
        assert_eq!(facts["minor"], "23");
        assert_eq!(facts["gitVersion"], "v1.23.1");
        for key in [
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
        ] {
            assert!(facts[key].is_string(), "{key}");
        }
        assert_eq!(facts["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn yaml_is_sorted_and_quoted() {
        let yaml = Facts::collect().yaml();
        assert!(
            yaml.starts_with("buildDate: \"\"\ncompiler: \"rustc\"\n"),
            "{yaml}"
        );
        assert!(yaml.contains("\nminor: \"23\"\n"), "{yaml}");
    }
}

//! `batch gen-config`: a file to begin with, which says what each key means.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::error::BatchError;
use crate::keadm::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::files::Files;
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "batch gen-config",
    group: Group::Anywhere,
    summary: "write a file for batch to begin with",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// where to
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the file; default: config.yaml
    #[argh(option, arg_name = "file", default = "PathBuf::from(\"config.yaml\")")]
    file: PathBuf,
    /// replace one that is there
    #[argh(switch)]
    force: bool,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    match write(&host.files, &given.flags) {
        Ok(()) => {
            console::line(&given.flags.file.display().to_string());
            exit::OK
        }
        Err(error) => args::fail(SPEC.name, &error, given.verbosity, error.code()),
    }
}

fn write(files: &Files, flags: &Flags) -> Result<(), BatchError> {
    let (path, text) = (&flags.file, TEMPLATE.as_bytes());
    match flags.force {
        true => files.replace(path, text, 0o600)?,
        false if files.create(path, text, 0o600)? => {}
        false => return Err(BatchError::Exists(path.clone())),
    }
    Ok(())
}

static SPEC: Spec = Spec {
    name: "kubeedge batch gen-config",
    about: "Writes a file that says what each key of it means, for kubeedge batch -c. What is there \
            is kept unless --force is given.",
    examples: &[
        "kubeedge batch gen-config",
        "kubeedge batch gen-config --file devices.yaml",
    ],
    spellings: &[],
    ignored: &[],
};

const TEMPLATE: &str = r#"# For: keadm batch -c config.yaml
keadm:
  # A folder with the executables for the devices: kubeedge-VERSION-TARGET as ./musl-build.sh makes them, or
  # ARCH/kubeedge with ARCH one of amd64, arm64, arm, riscv64, mipsle, mips. Without it the program that you start
  # serves the devices of its own kind.
  #offlinePackageDir: /srv/kubeedge/dist
  # Which version, if the folder has several.
  #keadmVersion: 0.1.0
  # Which kinds of devices there may be; all, if it is left out.
  #archGroup: [amd64, arm64, arm]
  # What stands for {{.name}} in keadmCmd.
  cmdTplArgs:
    cloud: cloud.example.org:10000
    token: put-a-token-of-gettoken-here
nodes:
  # What the device is called in the log.
- nodeName: edge-1
  # What keadm is told there. No shell reads it. A --token of join goes over stdin, and nobody sees it.
  keadmCmd: join --cloudcore-ipport {{.cloud}} --edgenode-name edge-1 --token {{.token}}
  # A folder whose files go to the device for the time of the command, and lie in its working folder then.
  #copyFrom: ./files
  ssh:
    ip: 192.0.2.1
    username: root
    # Default: 22.
    #port: 22
    auth:
      # agent: a key of ssh-agent, or one that ssh finds by itself. privateKey: the one below, without a passphrase.
      type: agent
      #privateKeyAuth:
      #  privateKeyPath: /home/operator/.ssh/id_ed25519
# Devices at a time; default: 5.
maxRunNum: 5
"#;

#[cfg(test)]
mod tests {
    use super::super::plan::Plan;
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    #[test]
    fn the_template_is_a_plan_and_so_is_all_of_it() {
        let (scratch, host) = (Scratch::new(), Host::real(Root::new(None)));
        let path = scratch.path().join("config.yaml");
        let key = scratch.path().join("key");
        let flags = |force| Flags {
            file: path.clone(),
            force,
        };
        write(&host.files, &flags(false)).unwrap();
        let plan = Plan::read(&host, &path).unwrap();
        assert_eq!((plan.nodes.len(), plan.parallel), (1, 5));
        assert!(plan.nodes[0].token.is_some());
        let again = write(&host.files, &flags(false)).unwrap_err();
        assert!(again.to_string().contains("--force"), "{again}");
        write(&host.files, &flags(true)).unwrap();

        let folder = scratch.path().display().to_string();
        for name in [
            "key",
            "kubeedge-0.1.0-x86_64",
            "kubeedge-0.1.0-aarch64",
            "kubeedge-0.1.0-armv7",
        ] {
            std::fs::write(scratch.path().join(name), "").unwrap();
        }
        // Every key that is shown is one.
        let whole: String = TEMPLATE
            .lines()
            .map(|line| {
                // What explains stands one space behind its mark.
                let bare = line.trim_start().strip_prefix('#').map(str::as_bytes);
                let is_key = bare
                    .is_some_and(|bare| bare.first() != Some(&b' ') || bare.get(1) == Some(&b' '));
                let line = if is_key {
                    line.replacen('#', "", 1)
                } else {
                    line.to_owned()
                };
                line + "\n"
            })
            .collect();
        let whole = whole
            .replace("type: agent", "type: privateKey")
            .replace("/home/operator/.ssh/id_ed25519", &key.display().to_string())
            .replace("/srv/kubeedge/dist", &folder)
            .replace("./files", &folder);
        std::fs::write(&path, &whole).unwrap();
        let plan = Plan::read(&host, &path).map_err(|error| format!("{error}\n{whole}"));
        assert_eq!(plan.unwrap().nodes[0].key, Some(key));
    }
}

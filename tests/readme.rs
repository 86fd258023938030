//! The commands of the README, as they stand there, from nothing to a file on the device.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::site::{Said, Site};
use common::{Folder, KUBEEDGE, put, wait_until};

/// A block of commands, and whether it is for the device.
struct Block {
    on_device: bool,
    commands: String,
}

/// Those of one section.
fn blocks(title: &str) -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).expect("the README");
    let (_, section) = text.split_once(&format!("\n## {title}\n")).expect(title);
    let section = section.split("\n## ").next().expect("a section");
    let (mut blocks, mut rest, mut on_device) = (Vec::new(), section, false);
    while let Some((before, block)) = rest.split_once("```sh\n") {
        let place = |word: &str| before.rfind(word);
        let (cloud, device) = (place("On the cloud machine"), place("On the device"));
        if cloud.is_some() || device.is_some() {
            on_device = device > cloud;
        }
        let (commands, after) = block.split_once("```").expect("the end of the block");
        blocks.push(Block {
            on_device,
            commands: commands.to_owned(),
        });
        rest = after;
    }
    blocks
}

/// Two machines of a person who pastes one block after the other, without root and without a network of their own. What
/// stands in for that, and nothing else:
///
/// - `KUBEEDGE_ROOT`: each machine is a folder, in which process 1 is called as BusyBox's with an rcS is. `cp` and `cat`
///   don't know that variable, so it stands before their paths.
/// - `192.0.2.1` is a loopback address, which `cloudcore.yaml` names, since the machine does not know that it has it.
/// - `scp` copies into the folder where the device's commands are typed.
struct Stage {
    address: String,
    cloud: Machine,
    device: Machine,
    /// What stands in for programs of the system.
    programs: Folder,
}

/// A root, and the folder of root there.
struct Machine {
    site: Site,
    home: PathBuf,
}

impl Machine {
    /// On a disk: in memory cloudcore makes no CA that lasts.
    fn new() -> Machine {
        let site = Site::lasting();
        for (path, content) in [
            ("/proc/1/comm", "init\n"),
            (
                "/etc/init.d/rcS",
                "for i in /etc/init.d/S??*; do $i start; done\n",
            ),
            ("/usr/local/bin/.kept", ""),
            ("/root/.kept", ""),
        ] {
            site.write(path, content, 0o644);
        }
        symlink("/bin/busybox", site.path("/proc/1/exe")).expect("a link");
        let home = site.path("/root");
        Machine { site, home }
    }
}

impl Stage {
    fn new() -> Stage {
        let (cloud, device, programs) = (Machine::new(), Machine::new(), Folder::new());
        // The ports are those of the README, so the address has to be this test's own.
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = format!("127.{}.{low}.1", 64 + high % 128);
        let config = format!(
            "apiVersion: cloudcore.config.kubeedge.io/v1alpha1\nkind: CloudCore\nmodules:\n  cloudHub:\n    \
             advertiseAddress: [{address}]\n    https: {{address: {address}}}\n    websocket: {{address: {address}}}\n"
        );
        cloud
            .site
            .write("/etc/kubeedge/config/cloudcore.yaml", &config, 0o644);
        for name in ["kubeedge-0.1.0-x86_64", "kubeedge-0.1.0-armv7"] {
            symlink(KUBEEDGE, cloud.home.join(name)).expect("a link");
        }
        let scp = format!("#!/bin/sh\ncp \"$1\" \"$2\" {}\n", device.home.display());
        put(&programs.path().join("scp"), scp, 0o755);
        Stage {
            address,
            cloud,
            device,
            programs,
        }
    }

    fn run(&self, block: &Block) -> Said {
        let machine = match block.on_device {
            true => &self.device,
            false => &self.cloud,
        };
        let commands = block
            .commands
            .replace("192.0.2.1", &self.address)
            .replace("x86_64 /usr/", "x86_64 \"$KUBEEDGE_ROOT\"/usr/")
            .replace("cat /etc", "cat \"$KUBEEDGE_ROOT\"/etc");
        let path = std::env::var("PATH").unwrap_or_default();
        let (own, bin) = (self.programs.path(), machine.site.path("/usr/local/bin"));
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-ec", &commands])
            .current_dir(&machine.home)
            .env(
                "PATH",
                format!("{}:{}:{path}", own.display(), bin.display()),
            )
            .env("KUBEEDGE_ROOT", machine.site.path(""))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        Said::of(shell.output()).ends(0)
    }

    fn nodes(&self) -> String {
        let command = ["cloudcore", "ctl", "nodes"];
        self.cloud.site.run(&command).ends(0).out
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.cloud.site.path("/var/log/kubeedge/cloudcore.log");
            eprintln!(
                "cloudcore:\n{}",
                fs::read_to_string(log).unwrap_or_default()
            );
        }
        let _ = self
            .cloud
            .site
            .command(&["service", "stop", "--daemon", "cloudcore"])
            .output();
    }
}

#[test]
fn its_commands_lead_from_nothing_to_a_file_on_the_device() {
    let stage = Stage::new();
    let first = blocks("From nothing to a connected device");
    let [cloud, device] = &first[..] else {
        panic!("two machines");
    };
    assert!(!cloud.on_device && device.on_device);
    let said = stage.run(cloud).out;
    assert!(said.contains("cloudcore runs as process"), "{said}");
    let said = stage.run(device).out;
    assert!(said.contains("router-17 is connected to 127."), "{said}");

    let second = blocks("The device as a node");
    let [allow, apply, look] = &second[..] else {
        panic!("three steps");
    };
    assert!(allow.on_device && !apply.on_device && look.on_device);
    stage.run(allow);
    wait_until("its registration", || {
        let nodes = stage.nodes();
        let mut lines = nodes.lines().filter(|line| line.starts_with("router-17 "));
        lines.any(|line| line.contains("EdgeReady"))
    });
    let said = stage.run(apply).out;
    let mut words = said.lines().map(|line| line.split_whitespace().take(2));
    assert!(words.any(|words| words.eq(["router-17", "yes"])), "{said}");
    assert!(said.contains("configmap default/app created"), "{said}");
    let file = stage.device.site.path("/etc/app/greeting");
    wait_until("the file", || file.exists());
    assert_eq!(stage.run(look).out, "hello");
    let delete = ["cloudcore", "ctl", "delete", "configmap", "app"];
    stage.cloud.site.run(&delete).ends(0);
    wait_until("the end of the file", || !file.exists());
}

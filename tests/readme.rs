//! The commands of the README, as they stand there, from nothing to a file on the device.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::site::{Cloudcore, Said, Site};
use common::{Folder, KUBEEDGE, LIMIT};

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

/// All machines, with one folder in which the operator types.
struct Stage {
    cloud: Cloudcore,
    /// Of the first section, and of the second.
    plain: Site,
    device: Site,
    desk: Folder,
}

impl Stage {
    fn new() -> Stage {
        let desk = Folder::new();
        symlink(KUBEEDGE, desk.path().join("kubeedge")).expect("a link");
        Stage {
            cloud: Cloudcore::start(&["--single-port", "0"]),
            plain: Site::new(),
            device: Site::new(),
            desk,
        }
    }

    /// Runs a block but for what the stage has already: a cloud, at another address, and no init system.
    fn run(&self, block: &Block, device: &Site) -> Said {
        let port = self.cloud.single.expect("a port");
        let commands: String = block
            .commands
            .replace("./kubeedge-0.1.0-armv7 ", "kubeedge ")
            .replace("cloud.example.org:10000", &format!("127.0.0.1:{port}"))
            .replace("kubeedge join ", "kubeedge join --init none ")
            .replace("cat /etc", "cat \"$KUBEEDGE_ROOT\"/etc")
            .lines()
            .filter(|line| !line.starts_with("kubeedge cloudcore &"))
            .map(|line| format!("{line}\n"))
            .collect();
        let root = match block.on_device {
            true => device.path(""),
            false => self.cloud.path(""),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-ec", &commands])
            .current_dir(self.desk.path())
            .env("PATH", format!("{}:{path}", self.desk.path().display()))
            .env("KUBEEDGE_ROOT", root)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        Said::of(shell.output()).ends(0)
    }

    fn until(&self, what: &str, happened: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !happened() {
            assert!(Instant::now() < end, "{what}: {}", self.cloud.log());
            std::thread::yield_now();
        }
    }

    fn nodes(&self) -> String {
        let command = ["cloudcore", "ctl", "nodes"];
        self.cloud.run(&command).ends(0).out
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
    stage.run(cloud, &stage.plain);
    let said = stage.run(device, &stage.plain).out;
    assert!(said.contains(" is connected to 127.0.0.1:"), "{said}");

    let second = blocks("The device as a node");
    let [join, apply, look] = &second[..] else {
        panic!("three steps");
    };
    assert!(join.on_device && !apply.on_device && look.on_device);
    stage.run(join, &stage.device);
    stage.until("it registers", || {
        let nodes = stage.nodes();
        let mut lines = nodes.lines().filter(|line| line.starts_with("router-17 "));
        lines.any(|line| line.contains("EdgeReady"))
    });
    let said = stage.run(apply, &stage.device).out;
    let mut words = said.lines().map(|line| line.split_whitespace().take(2));
    assert!(words.any(|words| words.eq(["router-17", "yes"])), "{said}");
    assert!(said.contains("configmap default/app created"), "{said}");
    let file = stage.device.path("/etc/app/greeting");
    stage.until("the file comes", || file.exists());
    assert_eq!(stage.run(look, &stage.device).out, "hello");
    let delete = ["cloudcore", "ctl", "delete", "configmap", "app"];
    stage.cloud.run(&delete).ends(0);
    stage.until("the file goes", || !file.exists());
}

//! A registry on loopback that has an executable in an image, and devices that take it when a job says so.

use std::fs;
use std::path::Path;

use kubeedge::registry::platform::Platform;
use serde_json::Value;

use crate::common::Folder;
use crate::common::device::Device;
use crate::common::script::{Script, port};
use crate::common::site::{Cloudcore, Said};
use crate::image::{Pack, Store, tar};
use crate::stage::{install, old};

/// Ended when dropped.
pub struct Offer {
    pub image: String,
    /// Of the image, as `--digest` wants it.
    pub digest: String,
    _registry: Script,
    _folder: Folder,
}

impl Offer {
    /// Under this tag, with a signature or without.
    pub fn of(program: &Path, tag: &str, signature: Option<&str>) -> Offer {
        let mut store = Store::default();
        let name = "usr/local/bin/kubeedge";
        let program = fs::read(program).expect("a build");
        let mut layers = vec![store.layer(Pack::Gzip, &tar(&[(name, &program)]))];
        if let Some(signature) = signature {
            let file = format!("{name}.minisig");
            let archive = tar(&[(&file, signature.as_bytes())]);
            layers.push(store.layer(Pack::Plain, &archive));
        }
        let platform = Platform::here();
        let image = store.image(tag, &platform.to_string(), &layers);
        let folder = Folder::new();
        store.write(folder.path());
        let place = folder.path().to_str().expect("UTF-8");
        let mut registry = Script::start(&[], "registry.py", &[place]);
        let ready = registry.event_where("ready", |_| true);
        let machine = kubeedge::system::facts::machine::architecture();
        Offer {
            image: format!("127.0.0.1:{}/kubeedge/edge", port(&ready, "port")),
            digest: format!("{machine}={}", image["digest"].as_str().expect("a digest")),
            _registry: registry,
            _folder: folder,
        }
    }

    /// What is to stand below `modules.taskManager`.
    pub fn allowed(&self) -> String {
        format!("{{enable: true, allowedImages: [\"{}\"]}}", self.image)
    }
}

/// A device that runs 0.1.0, with this below `modules.taskManager`.
pub fn device(cloud: &Cloudcore, node: &str, task_manager: &str) -> Device {
    let mut device = Device::new(node);
    install(&device, &old());
    device.program = Some(device.path(crate::stage::PROGRAM));
    device.module_keys = vec![format!("taskManager: {task_manager}")];
    // To agree to a job is an order like others, to the API on the device.
    device.meta_keys = vec!["metaServer: {enable: true, server: \"127.0.0.1:0\"}".to_owned()];
    device.configure_for(cloud, &cloud.token());
    device
}

pub fn ctl(cloud: &Cloudcore, words: &[&str]) -> Said {
    cloud.run(&[&["cloudcore", "ctl"], words].concat())
}

pub fn job(cloud: &Cloudcore, name: &str) -> Value {
    ctl(cloud, &["jobs", name, "-o", "json"]).ends(0).json()
}

/// What a node has reported: each action, and whether it went well.
pub fn actions(job: &Value, node: &str) -> Vec<String> {
    let actions = job["nodes"][node]["actions"].as_array();
    let shown = actions.into_iter().flatten().map(|it| {
        let word = it["action"].as_str().expect("an action");
        match it["succ"] == true {
            true => word.to_owned(),
            false => format!("{word} failed"),
        }
    });
    shown.collect()
}

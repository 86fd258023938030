//! What stands between a device and its cloud: a wire, a captive portal, or a box that ends TLS.

use serde_json::Value;

use crate::common::script::{Script, port};

/// A running box; ended when dropped.
pub struct Between {
    script: Script,
    pub https: u16,
    pub hub: u16,
}

impl Between {
    /// In front of a cloud on loopback; a wire at first.
    pub fn start(https: u16, hub: u16) -> Between {
        let (https, hub) = (https.to_string(), hub.to_string());
        let mut script = Script::start(&[], "between.py", &["--https", &https, "--hub", &hub]);
        let ready = script.event_where("ready", |_| true);
        Between {
            https: port(&ready, "https"),
            hub: port(&ready, "hub"),
            script,
        }
    }

    /// Becomes something else, for both ports or for the one that is named behind the mode. Connections
    /// that there are end.
    pub fn be(&mut self, mode: &str) {
        self.script.say(&format!("be {mode}"));
        self.script.event_where("did", |_| true);
        // What was met before is of no interest any more.
        self.met();
    }

    /// Somebody comes to this port after the last `be`; gives what was said there.
    pub fn meets(&mut self, port: &str) -> String {
        let met = self
            .script
            .event_where("met", |event| event["port"] == port);
        met["said"].as_str().expect("text").to_owned()
    }

    /// All that was heard since, decrypted where TLS ends here.
    pub fn met(&mut self) -> Vec<String> {
        let met = self.script.take("met");
        let said = |event: &Value| event["said"].as_str().unwrap_or_default().to_owned();
        met.iter().map(said).collect()
    }
}

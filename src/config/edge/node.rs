//! `modules.edged`: what the device says of itself as a node, and how often.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::super::ConfigError;
use super::super::duration;
use super::super::read::{MAX_INT, Reader};
use crate::system::sorted::SortedMap;

/// Keys are those of KubeEdge v1.23, and of v1.13 where that had others.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeNode {
    /// `enable`: the device is a node, and not only connected.
    pub enable: bool,
    /// `tailoredKubeletConfig.registerNode`, once `registerNode`: it makes its Node itself.
    pub register: bool,
    /// `registerSchedulable`
    pub schedulable: bool,
    /// `nodeLabels`
    pub labels: SortedMap<String, String>,
    /// `annotations`, a key of ours.
    pub annotations: SortedMap<String, String>,
    /// `tailoredKubeletConfig.registerWithTaints`
    pub taints: Vec<Taint>,
    /// `nodeIP`; none: the address from which the tunnel starts.
    pub address: Option<IpAddr>,
    /// `rootDirectory`: the file system whose room is that of the node.
    pub root: PathBuf,
    /// `tailoredKubeletConfig.nodeStatusUpdateFrequency`: between two looks at the device.
    pub look: Duration,
    /// `tailoredKubeletConfig.nodeStatusReportFrequency`: between two reports of what stays the same.
    pub report: Duration,
    /// `tailoredKubeletConfig.nodeLeaseDurationSeconds`; renewed four times as often.
    pub lease: Duration,
    /// `tailoredKubeletConfig.evictionHard`
    pub pressure: Thresholds,
    /// `tailoredKubeletConfig.evictionPressureTransitionPeriod`: how long a pressure lasts after it
    /// was last seen.
    pub relief: Duration,
}

/// What keeps pods that do not tolerate it away from the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

/// What must be left; with less there is a pressure. None: never.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    pub memory: Option<Amount>,
    pub disk: Option<Amount>,
    pub disk_inodes: Option<Amount>,
    pub pids: Option<Amount>,
}

/// A quantity of its own, or a share of what there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Of(u64),
    /// From 0 to 1. KubeEdge has it in single precision, and others see it in what can be allocated.
    Share(f32),
}

impl Amount {
    /// How much that is where there is `capacity`.
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            Amount::Of(amount) => amount,
            // Rounds down, as a share of it should.
            Amount::Share(share) => (capacity as f64 * f64::from(share)) as u64,
        }
    }
}

impl EdgeNode {
    pub(super) fn read(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        reader.flag("modules.edged.enable", &mut self.enable)?;
        reader.flag("modules.edged.registerNode", &mut self.register)?;
        reader.flag(&kubelet("registerNode"), &mut self.register)?;
        reader.flag("modules.edged.registerSchedulable", &mut self.schedulable)?;
        texts(reader, "modules.edged.nodeLabels", &mut self.labels)?;
        texts(reader, "modules.edged.annotations", &mut self.annotations)?;
        let expected = "a list of taints, each with key, effect and perhaps value";
        reader.read(
            &kubelet("registerWithTaints"),
            expected,
            &mut self.taints,
            |value| value.as_array()?.iter().map(taint).collect(),
        )?;
        let expected = "an IP address";
        reader.read(
            "modules.edged.nodeIP",
            expected,
            &mut self.address,
            |value| match value.as_str()? {
                "" => Some(None),
                // Of two families the first is the one that others see first.
                text => {
                    let first: IpAddr = text.split(',').next()?.trim().parse().ok()?;
                    Some(Some(first).filter(|address| !address.is_unspecified()))
                }
            },
        )?;
        reader.file_path("modules.edged.rootDirectory", &mut self.root)?;
        go_duration(reader, "nodeStatusUpdateFrequency", &mut self.look)?;
        go_duration(reader, "nodeStatusReportFrequency", &mut self.report)?;
        let mut lease = self.lease.as_secs();
        let limits = 1..=MAX_INT;
        reader.whole(&kubelet("nodeLeaseDurationSeconds"), limits, &mut lease)?;
        self.lease = Duration::from_secs(lease);
        let expected = "signals with amounts, such as memory.available: 100Mi";
        reader.read(
            &kubelet("evictionHard"),
            expected,
            &mut self.pressure,
            thresholds,
        )?;
        let key = "evictionPressureTransitionPeriod";
        go_duration(reader, key, &mut self.relief)
    }
}

impl Default for EdgeNode {
    fn default() -> EdgeNode {
        EdgeNode {
            enable: true,
            register: true,
            schedulable: true,
            labels: SortedMap::new(),
            annotations: SortedMap::new(),
            taints: Vec::new(),
            address: None,
            root: "/var/lib/kubelet".into(),
            look: Duration::from_secs(10),
            report: Duration::from_secs(300),
            lease: Duration::from_secs(40),
            pressure: Thresholds {
                memory: Some(Amount::Of(100 << 20)),
                disk: Some(Amount::Share(0.10)),
                disk_inodes: Some(Amount::Share(0.05)),
                pids: None,
            },
            relief: Duration::from_secs(300),
        }
    }
}

fn kubelet(key: &str) -> String {
    format!("modules.edged.tailoredKubeletConfig.{key}")
}

fn texts(
    reader: &Reader<'_>,
    key: &str,
    into: &mut SortedMap<String, String>,
) -> Result<(), ConfigError> {
    reader.read(key, "names with texts", into, |value| {
        let pairs = value.as_object()?.iter().map(|(name, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                Value::Bool(flag) => flag.to_string(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some((name.clone(), text))
        });
        pairs.collect()
    })
}

fn taint(value: &Value) -> Option<Taint> {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let taint = Taint {
        key: text("key"),
        value: text("value"),
        effect: text("effect"),
    };
    let is_known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&&*taint.effect);
    (is_known && !taint.key.is_empty()).then_some(taint)
}

/// As Go's programs take one: a text, or nanoseconds. Zero stands for the default.
fn go_duration(reader: &Reader<'_>, key: &str, into: &mut Duration) -> Result<(), ConfigError> {
    let expected = "a duration like 10s or 5m0s";
    let mut found = Duration::ZERO;
    reader.read(&kubelet(key), expected, &mut found, |value| match value {
        Value::String(text) => duration::parse(text).ok(),
        value => value.as_u64().map(Duration::from_nanos),
    })?;
    if !found.is_zero() {
        *into = found.max(SHORTEST);
    }
    Ok(())
}

/// A list of one's own replaces that of the defaults, as upstream has it.
fn thresholds(value: &Value) -> Option<Thresholds> {
    let mut read = Thresholds::default();
    for (signal, amount) in value.as_object()? {
        let amount = Some(self::amount(amount)?);
        match signal.as_str() {
            "memory.available" => read.memory = amount,
            "nodefs.available" => read.disk = amount,
            "nodefs.inodesFree" => read.disk_inodes = amount,
            "pid.available" => read.pids = amount,
            // Such as those of images, of which there are none here.
            _ => {}
        }
    }
    Some(read)
}

/// `100Mi`, `1.5G`, `4096`, `10%`.
fn amount(value: &Value) -> Option<Amount> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        value => value.as_u64()?.to_string(),
    };
    if let Some(share) = text.strip_suffix('%') {
        let share: f32 = share.parse().ok()?;
        return (0.0..=100.0)
            .contains(&share)
            .then_some(Amount::Share(share / 100.0));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = UNITS
        .iter()
        .find(|(name, _)| *name == &text[digits.len()..]);
    let number: f64 = digits.parse().ok()?;
    let amount = number * unit?.1 as f64;
    (0.0..1e18)
        .contains(&amount)
        .then_some(Amount::Of(amount as u64))
}

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];
/// More often nobody needs to be told.
const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::EdgeConfig;
    use super::*;
    use serde_json::json;

    fn load(edged: &str) -> EdgeNode {
        let (config, _) =
            EdgeConfig::load(&format!("modules: {{edged: {{{edged}}}}}"), "f").unwrap();
        config.node
    }

    fn refusal(edged: &str) -> String {
        let text = format!("modules: {{edged: {{{edged}}}}}");
        EdgeConfig::load(&text, "f").unwrap_err().to_string()
    }

    #[test]
    fn what_a_person_writes_is_understood() {
        let node = load(
            "registerSchedulable: false, nodeLabels: {site: barn, floor: 2, cold: true, bare: }, \
             annotations: {a: b}, nodeIP: '192.0.2.7,2001:db8::7', rootDirectory: /data, \
             tailoredKubeletConfig: {registerNode: false, nodeStatusUpdateFrequency: 30s, \
             nodeStatusReportFrequency: 600000000000, nodeLeaseDurationSeconds: 80, \
             evictionPressureTransitionPeriod: 0s, \
             registerWithTaints: [{key: k, value: v, effect: NoSchedule}], \
             evictionHard: {memory.available: 1.5Gi, pid.available: 10%, other.available: 5%}}",
        );
        let labels = [
            ("bare", ""),
            ("cold", "true"),
            ("floor", "2"),
            ("site", "barn"),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(node.labels, SortedMap::from(labels));
        assert_eq!(node.address, Some("192.0.2.7".parse().unwrap()));
        assert!(!node.register && !node.schedulable && node.enable);
        assert_eq!(node.taints[0].effect, "NoSchedule");
        let seconds = [node.look, node.report, node.lease, node.relief].map(|it| it.as_secs());
        assert_eq!(seconds, [30, 600, 80, 300]);
        let expected = Thresholds {
            memory: Some(Amount::Of(3 << 29)),
            pids: Some(Amount::Share(0.1)),
            ..Thresholds::default()
        };
        assert_eq!(node.pressure, expected);
    }

    #[test]
    fn keys_of_v1_13_count_and_those_of_v1_23_more() {
        assert!(!load("registerNode: false").register);
        assert!(load("registerNode: false, tailoredKubeletConfig: {registerNode: true}").register);
        assert_eq!(load("nodeIP: 0.0.0.0").address, None);
        assert_eq!(load("nodeIP: ''").address, None);
    }

    #[test]
    fn what_can_not_be_meant_is_refused_with_its_key() {
        for (text, part) in [
            (
                "nodeIP: eth0",
                "modules.edged.nodeIP: expected an IP address",
            ),
            (
                "nodeLabels: {a: [1]}",
                "nodeLabels: expected names with texts",
            ),
            (
                "tailoredKubeletConfig: {registerWithTaints: [{key: a, effect: Never}]}",
                "registerWithTaints: expected a list of taints",
            ),
            (
                "tailoredKubeletConfig: {nodeStatusUpdateFrequency: often}",
                "nodeStatusUpdateFrequency: expected a duration",
            ),
            (
                "tailoredKubeletConfig: {evictionHard: {memory.available: 5X}}",
                "evictionHard: expected signals",
            ),
            (
                "tailoredKubeletConfig: {evictionHard: {memory.available: 120%}}",
                "evictionHard: expected signals",
            ),
            (
                "tailoredKubeletConfig: {nodeLeaseDurationSeconds: 0}",
                "nodeLeaseDurationSeconds: expected a whole number",
            ),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn amounts_are_those_of_upstream() {
        assert_eq!(amount(&json!("100Mi")), Some(Amount::Of(104_857_600)));
        assert_eq!(amount(&json!(5)), Some(Amount::Of(5)));
        for bad in [
            json!("-1"),
            json!(""),
            json!("1e400"),
            json!("Mi"),
            json!({}),
        ] {
            assert_eq!(amount(&bad), None, "{bad}");
        }
        // The recorded node: its room, less what can be allocated of it.
        let capacity = 264_212_084 * 1_024;
        let kept = Amount::Share(0.10).of(capacity);
        assert_eq!(capacity - kept, 243_497_856_212);
    }
}

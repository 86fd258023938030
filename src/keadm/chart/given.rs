//! What an operator gives on the command line, as values: files, flags with names, `--set`.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{ChartError, profile, set, tree};
use crate::system::host::Host;
use crate::system::yaml::{Document, MAX_TEXT};

/// As the flags say it.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Files, in the order in which one is laid over another.
    pub values: Vec<String>,
    /// A file, or KEY=VALUE; empty when there is none.
    pub profile: String,
    pub version: String,
    pub repository: String,
    /// Separated by commas.
    pub addresses: String,
    pub sets: Vec<String>,
}

impl Given {
    /// The values that were given, and no others, laid over `earlier`. Later ones count more: files, flags with
    /// names, `--set`.
    pub fn read(&self, host: &Host, earlier: Value) -> Result<Value, ChartError> {
        let mut all = earlier;
        if !self.profile.is_empty() {
            let values = match profile::preset(&self.profile)? {
                Some(values) => values,
                None => file(host, &self.profile)?,
            };
            tree::lay_over(&mut all, &values);
        }
        for name in &self.values {
            tree::lay_over(&mut all, &file(host, name)?);
        }
        if !self.version.trim().is_empty() {
            tree::lay_over(&mut all, &profile::tags(&version(&self.version)?));
        }
        if !self.repository.is_empty() {
            tree::lay_over(&mut all, &repositories(&self.repository)?);
        }
        if !self.addresses.is_empty() {
            tree::lay_over(&mut all, &advertised(&self.addresses)?);
        }
        for item in &self.sets {
            set::apply(&mut all, item)?;
        }
        Ok(all)
    }

    /// Refuses a key that nothing reads where it was typed; where it stands in a file it is only said.
    pub fn check(&self, defaults: &Value, all: &Value) -> Result<Vec<String>, ChartError> {
        for item in &self.sets {
            let mut alone = Value::Object(Map::new());
            // What it relies on may be in a file.
            if set::apply(&mut alone, item).is_ok()
                && let Some(why) = tree::unknown(defaults, &alone).into_iter().next()
            {
                let item = item.clone();
                return Err(ChartError::Set { item, why });
            }
        }
        Ok(tree::unknown(defaults, all))
    }
}

fn file(host: &Host, name: &str) -> Result<Value, ChartError> {
    let bytes = host.files.read(Path::new(name), MAX_TEXT)?;
    let value = Document::parse(&String::from_utf8_lossy(&bytes), name)?.value;
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(Map::new())),
        _ => Err(ChartError::NoMapping {
            file: name.to_owned(),
        }),
    }
}

/// A version with its `v`: `1.23.1` and `v1.23.1-beta.0` are some.
pub fn version(text: &str) -> Result<String, ChartError> {
    let text = text.trim();
    let bare = text.strip_prefix('v').unwrap_or(text);
    if !is_version(bare) {
        return Err(ChartError::Flag {
            flag: "--kubeedge-version",
            why: format!("\"{text}\" is no version: write it as v1.23.1"),
        });
    }
    Ok(format!("v{bare}"))
}

/// Whether a tag is that of a release of KubeEdge, and no more: `v1.23.1`.
pub fn is_release(tag: &str) -> bool {
    let bare = tag.strip_prefix('v').unwrap_or(tag);
    is_version(bare) && bare.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn is_version(text: &str) -> bool {
    let mut parts = text.splitn(3, '.');
    let (major, minor, rest) = (parts.next(), parts.next(), parts.next());
    let rest = rest.unwrap_or_default();
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (patch, more) = rest.split_at(end);
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits && (part == "0" || !part.starts_with('0'))
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    number(major.unwrap_or_default())
        && number(minor.unwrap_or_default())
        && number(patch)
        && more.bytes().all(allowed)
}

/// Every image from one place, under its own name.
fn repositories(place: &str) -> Result<Value, ChartError> {
    let place = place.trim().trim_end_matches('/');
    if place.is_empty() || place.contains(char::is_whitespace) {
        return Err(ChartError::Flag {
            flag: "--image-repository",
            why: format!(
                "\"{place}\" is no place for images: write it as registry.example/kubeedge"
            ),
        });
    }
    let at = |name: &str| json!({"image": {"repository": format!("{place}/{name}")}});
    let mut iptables = at("iptables-manager");
    iptables["image"]["nftRepository"] = format!("{place}/iptables-manager-nft").into();
    Ok(json!({
        "cloudCore": at("cloudcore"),
        "iptablesManager": iptables,
        "controllerManager": at("controller-manager"),
        "admission": at("admission"),
        "mosquitto": at("eclipse-mosquitto"),
    }))
}

fn advertised(addresses: &str) -> Result<Value, ChartError> {
    let mut list = Vec::new();
    for address in addresses
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty())
    {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = bare.parse().map_err(|_| ChartError::Flag {
            flag: "--advertise-address",
            why: format!(
                "\"{address}\" is no IP address: for a name write --set \
                 cloudCore.modules.cloudHub.dnsNames={{NAME}}"
            ),
        })?;
        list.push(Value::from(address.to_string()));
    }
    Ok(json!({"cloudCore": {"modules": {"cloudHub": {"advertiseAddress": list}}}}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::Files;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    #[test]
    fn versions_are_those_of_releases() {
        for (text, expected) in [
            ("1.23.1", "v1.23.1"),
            ("v1.9.0-beta.0", "v1.9.0-beta.0"),
            (" v0.0.0 ", "v0.0.0"),
        ] {
            assert_eq!(version(text).unwrap(), expected);
        }
        for text in [
            "1.23", "1.023.1", "latest", "1.2.3 4", "v1..2", "", "1.2.3;x",
        ] {
            assert!(version(text).is_err(), "{text}");
        }
    }

    /// K25: what a user sets counts, also within an item of several.
    #[test]
    fn what_is_set_counts_more_than_flags_and_files() {
        let folder = Scratch::new();
        let host = Host::real(Root::new(None));
        let at = folder.path().join("values.yaml");
        let text = b"cloudCore:\n  replicaCount: 2\n  image:\n    tag: v1\niptablesManager: {enable: false}\n";
        Files::real().replace(&at, text, 0o600).unwrap();
        let given = Given {
            values: vec![at.display().to_string()],
            version: "1.22.0".to_owned(),
            repository: "r.example/k/".to_owned(),
            addresses: "192.0.2.1, [2001:db8::1]".to_owned(),
            sets: vec!["mosquitto.enable=true,cloudCore.image.tag=v9=x".to_owned()],
            ..Given::default()
        };
        let all = given.read(&host, json!({})).unwrap();
        assert_eq!(all["cloudCore"]["image"]["tag"], "v9=x");
        assert_eq!(
            all["cloudCore"]["image"]["repository"],
            "r.example/k/cloudcore"
        );
        assert_eq!(all["admission"]["image"]["tag"], "v1.22.0");
        assert_eq!(all["cloudCore"]["replicaCount"], 2);
        assert_eq!(all["iptablesManager"]["enable"], false);
        let addresses = &all["cloudCore"]["modules"]["cloudHub"]["advertiseAddress"];
        assert_eq!(addresses, &json!(["192.0.2.1", "2001:db8::1"]));
    }

    #[test]
    fn what_can_not_be_understood_is_named() {
        let host = Host::real(Root::new(None));
        let refusal = |given: Given| given.read(&host, json!({})).unwrap_err().to_string();
        let flags = Given::default();
        assert!(
            refusal(Given {
                addresses: "cloud".into(),
                ..flags.clone()
            })
            .contains("dnsNames={NAME}")
        );
        assert!(
            refusal(Given {
                repository: "/".into(),
                ..flags.clone()
            })
            .starts_with("--image-repository: ")
        );
        assert!(
            refusal(Given {
                values: vec!["/nowhere.yaml".into()],
                ..flags.clone()
            })
            .contains("/nowhere.yaml")
        );
        let typed = Given {
            sets: vec!["cloudCore.replicas=2".into()],
            ..flags
        };
        let known = json!({"cloudCore": {"replicaCount": 1}});
        let refusal = typed.check(&known, &json!({})).unwrap_err().to_string();
        assert!(
            refusal.contains("--set cloudCore.replicas=2: there is no value cloudCore.replicas"),
            "{refusal}"
        );
    }
}

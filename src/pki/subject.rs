//! Distinguished names, as far as KubeEdge uses them, and the nodes they name.

use super::x509::{self, Fault};
use crate::system::names::NodeName;

/// The parts of a distinguished name that KubeEdge uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub country: Option<String>,
    pub organization: Option<String>,
    pub locality: Option<String>,
    pub province: Option<String>,
    pub common_name: Option<String>,
    /// One of the parts came twice or is not text: no identity is read from such a name.
    pub ambiguous: bool,
}

impl Subject {
    /// `O=system:nodes, CN=system:node:<name>`, as Kubernetes names its nodes.
    pub fn node(name: &NodeName) -> Subject {
        Subject {
            organization: Some(NODES.to_owned()),
            common_name: Some(format!("{NODE_PREFIX}{name}")),
            ..Subject::default()
        }
    }

    /// The node that is named, by exactly that organization and that form of common name; country,
    /// locality and province may be there.
    pub fn node_name(&self) -> Option<NodeName> {
        if self.ambiguous || self.organization.as_deref() != Some(NODES) {
            return None;
        }
        let name = self.common_name.as_deref()?.strip_prefix(NODE_PREFIX)?;
        name.parse().ok()
    }

    /// The one subject of all edges before KubeEdge 1.16, which names no node
    /// (docs/protocol.md).
    pub fn is_legacy_edge(&self) -> bool {
        !self.ambiguous
            && matches!(self.organization.as_deref(), Some("KubeEdge" | "kubeEdge"))
            && self.common_name.as_deref() == Some("kubeedge.io")
    }

    /// From the DER of a name.
    pub(super) fn read(name: &[u8]) -> Result<Subject, Fault> {
        let mut subject = Subject::default();
        for attribute in x509::attributes(name)? {
            let part = match attribute.kind {
                b"\x55\x04\x03" => &mut subject.common_name,
                b"\x55\x04\x06" => &mut subject.country,
                b"\x55\x04\x07" => &mut subject.locality,
                b"\x55\x04\x08" => &mut subject.province,
                b"\x55\x04\x0a" => &mut subject.organization,
                _ => continue,
            };
            match attribute.text {
                Some(text) if part.is_none() => *part = Some(text.to_owned()),
                _ => subject.ambiguous = true,
            }
        }
        Ok(subject)
    }

    /// In KubeEdge's order, C, ST, L, O, CN; as PrintableString where the characters allow it,
    /// like Go, so that names compare equal byte for byte.
    pub(super) fn to_rcgen(&self) -> rcgen::DistinguishedName {
        use rcgen::DnType;
        let mut name = rcgen::DistinguishedName::new();
        for (kind, text) in [
            (DnType::CountryName, &self.country),
            (DnType::StateOrProvinceName, &self.province),
            (DnType::LocalityName, &self.locality),
            (DnType::OrganizationName, &self.organization),
            (DnType::CommonName, &self.common_name),
        ] {
            let Some(text) = text else { continue };
            let value = match rcgen::string::PrintableString::try_from(text.as_str()) {
                Ok(printable) => rcgen::DnValue::PrintableString(printable),
                Err(_) => rcgen::DnValue::Utf8String(text.clone()),
            };
            name.push(kind, value);
        }
        name
    }
}

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_subjects_name_a_node() {
        let good = Subject::node(&"a.b".parse().unwrap());
        assert_eq!(good.node_name().unwrap().as_str(), "a.b");
        let with = |organization: Option<&str>, name: &str| Subject {
            organization: organization.map(str::to_owned),
            common_name: Some(name.to_owned()),
            ..Subject::default()
        };
        for bad in [
            with(None, "system:node:a"),
            with(Some("system:masters"), "system:node:a"),
            with(Some("system:nodes"), "system:node:"),
            with(Some("system:nodes"), "system:node:A"),
            with(Some("system:nodes"), "a"),
            Subject {
                ambiguous: true,
                ..good
            },
        ] {
            assert_eq!(bad.node_name(), None, "{bad:?}");
        }
        assert!(with(Some("kubeEdge"), "kubeedge.io").is_legacy_edge());
        assert!(with(Some("KubeEdge"), "kubeedge.io").is_legacy_edge());
        assert!(!with(Some("KUBEEDGE"), "kubeedge.io").is_legacy_edge());
        assert!(!with(Some("kubeEdge"), "system:node:a").is_legacy_edge());
    }
}

//! A node's name from a template: what is the device's own is put in.

use super::FirstBootError;
use crate::system::facts;
use crate::system::host::Host;
use crate::system::names::NodeName;

/// `barn-{mac}` as this device's name; `interface` is the one whose address counts.
pub fn node_name(
    host: &Host,
    template: &str,
    interface: Option<&str>,
) -> Result<NodeName, FirstBootError> {
    let base = host.root.at("/");
    let name = filled(template, |word| match word {
        "hostname" => match host.root.prefix() {
            None => Some(facts::host_name()),
            Some(_) => facts::host_name_below(&base),
        },
        "mac" => match interface {
            Some(card) => facts::mac_of(&base, card),
            None => facts::mac_below(&base),
        },
        "serial" => facts::serial_below(&base),
        _ => None,
    })?;
    name.parse().map_err(|fault| FirstBootError::Name {
        template: shown(template),
        name: shown(&name),
        fault,
    })
}

/// The template with every word in braces replaced, in lower case, by letters and digits of what it
/// stands for.
pub fn filled(
    template: &str,
    mut known: impl FnMut(&str) -> Option<String>,
) -> Result<String, FirstBootError> {
    let fault = |fault| FirstBootError::Template {
        template: shown(template),
        fault,
    };
    if template.len() > MAX_TEMPLATE {
        return Err(fault("it is too long"));
    }
    let (mut name, mut rest) = (String::new(), template);
    while let Some((before, word)) = rest.split_once('{') {
        let (word, after) = word.split_once('}').ok_or(fault("a } is missing"))?;
        let without = match word {
            "hostname" => "the device has no host name: give it one, or use {mac} or {serial}",
            "mac" => "there is no network card with an address, or not yet: use {serial}",
            "serial" => "the device has no serial number: use {mac}",
            _ => return Err(fault("only {hostname}, {mac} and {serial} are known")),
        };
        let found = known(word).unwrap_or_default();
        let fits = |c: &char| c.is_ascii_alphanumeric() || (word != "mac" && "-.".contains(*c));
        // An underscore is common in host names, but not allowed in names of nodes.
        let found: String = found.replace('_', "-").chars().filter(fits).collect();
        if found.is_empty() {
            return Err(fault(without));
        }
        name.push_str(before);
        name.push_str(&found.to_ascii_lowercase());
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

/// For a sentence: a name, and no more of what was put there by mistake.
fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// Bytes.
const MAX_TEMPLATE: usize = 1024;
/// Characters: the longest node name has no more, and a token many more.
const MAX_SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_device(word: &str) -> Option<String> {
        Some(match word {
            "hostname" => "Pump_7.lab".to_owned(),
            "mac" => "b8:27:eb:12:34:56".to_owned(),
            "serial" => "10000000ABCDEF01".to_owned(),
            _ => return None,
        })
    }

    #[test]
    fn templates() {
        for (template, name) in [
            ("barn", "barn"),
            ("barn-{mac}", "barn-b827eb123456"),
            ("{hostname}", "pump-7.lab"),
            ("a{serial}b{mac}", "a10000000abcdef01bb827eb123456"),
        ] {
            assert_eq!(filled(template, on_a_device).unwrap(), name);
        }
        for (template, fault) in [
            ("x-{imei}", "only {hostname}"),
            ("x-{mac", "} is missing"),
            (&"x".repeat(2000), "too long"),
        ] {
            let error = filled(template, on_a_device).unwrap_err().to_string();
            assert!(error.contains(fault) && error.len() < 250, "{error}");
        }
        for (word, instead) in [
            ("mac", "{serial}"),
            ("serial", "{mac}"),
            ("hostname", "{mac}"),
        ] {
            let error = filled(&format!("x-{{{word}}}"), |_| None).unwrap_err();
            assert!(error.to_string().contains(instead), "{error}");
        }
    }
}

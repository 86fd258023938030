//! What OpenWrt's `/etc/config/kubeedge` asks for, and the token taken out of it.

use super::pairs::{MAX_PAIRS, Pairs, too_many};
use super::{FirstBootError, Source};
use crate::system::secret::Secret;
use crate::system::uci::{self, Entry, Fault, Section};

/// What edgecore's sections ask for; none when they ask for nothing, or are switched off.
pub fn pairs(text: &str) -> Result<Option<Pairs>, FirstBootError> {
    let mut pairs = Pairs::default();
    let entries = uci::entries(text).map_err(fault)?;
    for entry in entries.iter().filter(|entry| is_edgecores(entry)) {
        if entry.key == "enabled" && uci::boolean(&entry.value) == Some(false) {
            return Ok(None);
        }
        if pairs.0.len() >= MAX_PAIRS {
            return Err(too_many(Source::Uci, 1));
        }
        let key = match entry.key.as_str() {
            "server" => super::ADDRESS,
            key => key,
        };
        pairs.add(key, &entry.value);
    }
    let asks = pairs.has(super::ADDRESS)
        && [super::TOKEN, super::TOKEN_FILE]
            .iter()
            .any(|key| pairs.has(key));
    Ok(asks.then_some(pairs))
}

/// The value of one of edgecore's options.
pub fn option(text: &str, key: &str) -> Option<String> {
    let entries = uci::entries(text).ok()?;
    let found = entries
        .iter()
        .find(|entry| is_edgecores(entry) && entry.key == key)?;
    Some(found.value.to_string()).filter(|value| !value.is_empty())
}

/// The text without edgecore's token; none when there is none in it.
pub fn without_token(text: &str) -> Result<Option<Secret<String>>, FirstBootError> {
    let entries = uci::entries(text).map_err(fault)?;
    let tokens = entries.iter();
    let tokens: Vec<&Entry> = tokens
        .filter(|it| is_edgecores(it) && it.key == super::TOKEN && !it.value.is_empty())
        .collect();
    Ok((!tokens.is_empty()).then(|| uci::without(text, &tokens)))
}

/// Both daemons may be configured in one file.
fn is_edgecores(entry: &Entry) -> bool {
    let Section { kind, name } = &entry.section;
    [kind, name].iter().all(|it| *it != "cloudcore")
}

fn fault(fault: Fault) -> FirstBootError {
    FirstBootError::Line {
        source: Source::Uci,
        line: fault.line,
        fault: fault.what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let pairs = pairs(text).unwrap().unwrap_or_default();
        let pairs = pairs.0.iter();
        pairs
            .map(|(key, value)| format!("{key} {}", **value))
            .collect()
    }

    const FILE: &str = "package kubeedge\n\n\
        config edgecore 'edgecore'\n\
        \toption enabled '1'\n\
        \toption server 'cloud.example:10000' # of the office\n\
        \toption node_name \"barn-{mac}\"\n\
        \toption token 'A.e30.e30.x'\n\
        \tlist labels 'a=b'\n\
        \tlist labels c=\\d\n\
        config cloudcore\n\
        \toption enabled 0\n\
        \toption token 'other'\n";

    #[test]
    fn what_a_file_asks_for() {
        assert_eq!(
            shown(FILE),
            [
                "enabled 1",
                "cloudcore-ipport cloud.example:10000",
                "node-name barn-{mac}",
                "token A.e30.e30.x",
                "labels a=b",
                "labels c=d"
            ]
        );
        for nothing in [
            "",
            "config edgecore\n",
            "config edgecore\n option server a\n option token ''\n",
            "config edgecore\n option token a\n",
            &FILE.replacen("'1'", "off", 1),
        ] {
            assert_eq!(pairs(nothing).unwrap(), None, "{nothing}");
        }
        assert_eq!(option(FILE, "node_name").as_deref(), Some("barn-{mac}"));
        assert_eq!(option(FILE, "log_level"), None);
    }

    #[test]
    fn only_the_token_is_taken_out() {
        let left = without_token(FILE).unwrap().unwrap();
        let lines = FILE.lines().filter(|line| !line.contains("A.e30"));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(*left, lines.join("\n") + "\n");
        assert_eq!(without_token(&left).unwrap(), None);
    }
}

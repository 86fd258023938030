//! What an unquoted word means to the YAML 1.1 reader that Go programs use.

use serde_json::{Number, Value};

/// The meaning of a plain (unquoted) scalar.
///
/// `yes`, `no`, `on` and `off` stay text, because only the reader of a key knows whether a boolean
/// is wanted there: see [`as_bool`].
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    Null,
    Bool(bool),
    Number(Number),
    /// `.inf` and `.nan`: numbers that JSON cannot hold.
    NotFinite,
    Text,
}

/// Resolves a plain scalar as Go's YAML library does: `0x1f`, `0644` (octal), `1_000` and `1e3` are
/// numbers; dates stay text.
pub fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return Plain::Text;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Plain::NotFinite;
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Plain::Number(number);
    }
    if !is_decimal(&digits) {
        return Plain::Text;
    }
    let number = digits.parse::<f64>().ok().and_then(Number::from_f64);
    number.map_or(Plain::Text, Plain::Number)
}

/// Reads a boolean as YAML 1.1 knows it, words included.
pub fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(word) => word_as_bool(word),
        _ => None,
    }
}

/// Whether some YAML reader would take this unquoted text for something other than text.
pub fn is_ambiguous(text: &str) -> bool {
    resolve(text) != Plain::Text
        || word_as_bool(text).is_some()
        || is_decimal(&text.replace('_', ""))
        || is_date(text)
        || is_sexagesimal(text)
}

fn word_as_bool(word: &str) -> Option<bool> {
    match word {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => match resolve(word) {
            Plain::Bool(flag) => Some(flag),
            _ => None,
        },
    }
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = if let Some(rest) = lower.strip_prefix("0x") {
        (rest, 16)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (rest, 2)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (rest, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        let number = 0_i64.checked_sub_unsigned(magnitude)?;
        return Some(number.into());
    }
    Some(magnitude.into())
}

/// `[-+]? ( . digits | digits [ . digits? ] ) ( [eE] [-+]? digits )?`
pub fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => all_digits(fraction),
        Some((whole, fraction)) => {
            all_digits(whole) && (fraction.is_empty() || all_digits(fraction))
        }
        None => all_digits(mantissa),
    };
    let exponent_fits =
        exponent.is_none_or(|e| all_digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    mantissa_fits && exponent_fits
}

/// Four digits and a hyphen: enough to keep any date out of harm's way.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

/// `1:20` is 80 to YAML 1.1. An address with a port is not of this form.
fn is_sexagesimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let Some((first, rest)) = text.split_once(':') else {
        return false;
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && rest.split(['.', ':']).all(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_words_mean_what_go_reads() {
        for (text, value) in [
            ("12", json!(12)),
            ("+12", json!(12)),
            ("-999", json!(-999)),
            ("0", json!(0)),
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("18446744073709551615", json!(18446744073709551615u64)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("99999999999999999999", json!(1e20)),
        ] {
            let Value::Number(number) = value else {
                unreachable!()
            };
            assert_eq!(resolve(text), Plain::Number(number), "{text}");
        }
        for text in [
            "yes",
            "on",
            "-",
            ".",
            "1.2.3",
            "0x",
            "0x-1",
            "5m0s",
            "1e",
            "2024-01-02",
            "--1",
        ] {
            assert_eq!(resolve(text), Plain::Text, "{text}");
        }
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(resolve(text), Plain::Null, "{text}");
        }
        for text in [".inf", "-.INF", ".nan"] {
            assert_eq!(resolve(text), Plain::NotFinite, "{text}");
        }
    }

    #[test]
    fn words_of_yaml_1_1_are_booleans_on_request() {
        assert_eq!(as_bool(&json!("yes")), Some(true));
        assert_eq!(as_bool(&json!("Off")), Some(false));
        assert_eq!(as_bool(&json!("true")), Some(true));
        assert_eq!(as_bool(&json!("maybe")), None);
        assert_eq!(as_bool(&json!(1)), None);
    }

    #[test]
    fn ambiguous_words_are_known() {
        for text in [
            "yes",
            "N",
            "0644",
            "1e3",
            "1e999",
            "~",
            "2024-01-02",
            "1:20",
            "1:20:30.5",
            ".inf",
        ] {
            assert!(is_ambiguous(text), "{text}");
        }
        for text in ["127.0.0.1:10000", "5m0s", "10Mi", "15%", "a:1", "nobody"] {
            assert!(!is_ambiguous(text), "{text}");
        }
    }
}

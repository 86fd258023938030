//! What a command has found out, as text for people or as one JSON object for programs.

use std::error::Error;
use std::str::FromStr;

use serde::Serialize;

use crate::system::{args, console, exit};

/// The value of `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Format, Self::Err> {
        match text {
            "" | "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err("the formats are text and json"),
        }
    }
}

/// Of a command that has asked.
pub const NOT_CONFIRMED: &str = "nothing was changed: answer y, or give --force";

/// A result that can be shown either way: its fields are the JSON, in camel case.
pub trait Report: Serialize {
    /// Whole lines.
    fn text(&self) -> String;
}

/// Prints a result on stdout.
pub fn show(report: &impl Report, format: Format) {
    let text = match format {
        Format::Text => report.text(),
        Format::Json => json(report),
    };
    console::out(&text);
}

/// The end of a command that shows what it has found out; the exit code, which is `code`'s for an error.
pub fn finish<R: Report, E: Error + 'static>(
    name: &str,
    verbosity: Option<u8>,
    format: Format,
    outcome: Result<R, E>,
    code: impl Fn(&E) -> u8,
) -> u8 {
    match outcome {
        Ok(report) => {
            show(&report, format);
            exit::OK
        }
        Err(error) => fail(name, &error, verbosity, format, code(&error)),
    }
}

/// Says on stderr why a command failed, and in JSON on stdout when JSON was asked for.
///
/// Returns `code`. `name` is the command's whole name, such as `kubeedge join`.
pub fn fail(name: &str, error: &dyn Error, verbosity: Option<u8>, format: Format, code: u8) -> u8 {
    if format == Format::Json {
        console::out(&json(&Failure {
            error: error.to_string(),
            exit_code: code,
        }));
    }
    args::fail(name, error, verbosity, code)
}

/// An object with two spaces of indentation and a newline at its end.
pub fn json(value: &impl Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => format!("{text}\n"),
        Err(error) => format!("{{\"error\": {:?}}}\n", error.to_string()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    error: String,
    exit_code: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("".parse(), Ok(Format::Text));
        assert!("yaml".parse::<Format>().is_err());
    }

    #[test]
    fn a_failure_in_json() {
        let failure = Failure {
            error: "no \"way\"".to_owned(),
            exit_code: 69,
        };
        assert_eq!(
            json(&failure),
            "{\n  \"error\": \"no \\\"way\\\"\",\n  \"exitCode\": 69\n}\n"
        );
    }
}

//! How what was asked for is shown: columns for people, JSON or YAML for programs, or names alone.

use serde_json::{Value, json};

use super::OrderError;
pub use crate::protocol::form::Form;
use crate::system::yaml::emit;
use crate::system::{args, console};

impl Form {
    /// Says why a command failed, in JSON too where JSON was asked for; returns the exit code.
    pub(super) fn fail(self, name: &str, error: &OrderError, verbosity: Option<u8>) -> u8 {
        let code = error.code();
        if self == Form::Json {
            json(&json!({"error": error.to_string(), "exitCode": code}));
        }
        args::fail(name, error, verbosity, code)
    }
}

pub fn json(value: &Value) {
    console::line(&format!("{value:#}"));
}

pub fn yaml(value: &Value) {
    console::out(&emit::document(value));
}

/// Columns below each other.
pub fn table(titles: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    console::out(&aligned(titles, rows));
}

fn aligned(titles: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = titles.iter().map(|title| (*title).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["router-17", "yes", "é"], ["a", "", "-"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let text = aligned(&["NAME", "READY", "X"], rows.into_iter());
        assert_eq!(
            text,
            "NAME       READY  X\nrouter-17  yes    é\na                 -\n"
        );
    }
}

//! The help screen of one command, laid out from what argh knows of it.

use argh::{FlagInfo, FlagInfoKind, Optionality};

use super::{Info, Spec};

/// Usage, purpose, flags and examples; lines of at most 80 columns where words allow it.
pub fn text(spec: &Spec, info: &Info) -> String {
    let mut text = format!("Usage: {}{}\n\n", spec.name, usage(info));
    text.push_str(&wrap(spec.about, 0));
    let mut rows = Vec::new();
    for positional in info.positionals.iter().filter(|it| !it.hidden) {
        rows.push((
            positional.name.to_uppercase(),
            positional.description.to_owned(),
        ));
    }
    section(&mut text, "Arguments", &rows);
    let own = info
        .flags
        .iter()
        .filter(|flag| !flag.hidden && flag.long != "--help");
    section(&mut text, "Flags", &own.map(row).collect::<Vec<_>>());
    section(
        &mut text,
        "Every command takes",
        &[
            (
                "-v, --v LEVEL".to_owned(),
                "how much to log, 0 to 10".to_owned(),
            ),
            (
                "    --root DIR".to_owned(),
                "put DIR before every absolute path, as KUBEEDGE_ROOT does".to_owned(),
            ),
            ("-h, --help".to_owned(), "this text".to_owned()),
        ],
    );
    let silent: Vec<String> = spec
        .ignored
        .iter()
        .copied()
        .flatten()
        .map(|flag| format!("--{}", flag.long))
        .collect();
    if !silent.is_empty() {
        let list = silent.join(", ");
        text.push_str(&format!(
            "\n{}",
            wrap(&format!("Accepted, without effect: {list}."), 0)
        ));
    }
    if !spec.examples.is_empty() {
        text.push_str("\nExample:\n");
        for example in spec.examples {
            text.push_str(&format!("  {example}\n"));
        }
    }
    text
}

/// Breaks lines at 80 columns, all but the first indented.
pub fn wrap(words: &str, indent: usize) -> String {
    let mut text = String::new();
    for paragraph in words.lines() {
        let mut column = indent;
        for (i, word) in paragraph.split(' ').enumerate() {
            let length = word.chars().count();
            if i > 0 && column + 1 + length > WIDTH {
                text.push('\n');
                text.push_str(&" ".repeat(indent));
                column = indent;
            } else if i > 0 {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += length;
        }
        text.push('\n');
    }
    text
}

fn usage(info: &Info) -> String {
    let mut usage = String::new();
    for flag in info.flags {
        if let FlagInfoKind::Option { arg_name } = flag.kind
            && flag.optionality == Optionality::Required
        {
            usage.push_str(&format!(" {} {}", flag.long, arg_name.to_uppercase()));
        }
    }
    if info.flags.len() > 1 {
        usage.push_str(" [flags]");
    }
    for positional in info.positionals.iter().filter(|it| !it.hidden) {
        let name = positional.name.to_uppercase();
        usage.push_str(&match positional.optionality {
            Optionality::Required => format!(" {name}"),
            Optionality::Optional => format!(" [{name}]"),
            Optionality::Repeating | Optionality::Greedy => format!(" [{name}…]"),
        });
    }
    usage
}

fn row(flag: &FlagInfo<'static>) -> (String, String) {
    let short = match flag.short {
        Some(short) => format!("-{short}, "),
        None => "    ".to_owned(),
    };
    let value = match flag.kind {
        FlagInfoKind::Option { arg_name } => format!(" {}", arg_name.to_uppercase()),
        FlagInfoKind::Switch => String::new(),
    };
    let more = match (&flag.kind, &flag.optionality) {
        (FlagInfoKind::Option { .. }, Optionality::Required) => " (required)",
        (_, Optionality::Repeating) => " (may be repeated)",
        _ => "",
    };
    (
        format!("{short}{}{value}", flag.long),
        format!("{}{more}", flag.description),
    )
}

/// Two columns below a title; nothing when there are no rows.
fn section(text: &mut String, title: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    for (left, right) in rows {
        let length = left.chars().count();
        match length + 4 <= COLUMN {
            true => text.push_str(&format!("  {left}{}", " ".repeat(COLUMN - 2 - length))),
            false => text.push_str(&format!("  {left}\n{}", " ".repeat(COLUMN))),
        }
        text.push_str(&wrap(right, COLUMN));
    }
}

const WIDTH: usize = 80;
const COLUMN: usize = 30;

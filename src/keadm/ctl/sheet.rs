//! Text as `kubectl describe` lays it out: names, values beside them, and parts that stand further in.

use super::table::aligned;

/// What is told, in order.
#[derive(Default)]
pub struct Sheet {
    parts: Vec<Part>,
}

enum Part {
    /// Values one below the other; none are `<none>`.
    Field(String, Vec<String>),
    Block(String, Sheet),
    /// Rows side by side, the titles first.
    Table(String, Vec<Vec<String>>),
    /// Text of many lines, as it is.
    Text(String, String),
}

impl Sheet {
    pub fn field(&mut self, name: &str, value: impl Into<String>) {
        self.fields(name, vec![value.into()]);
    }

    pub fn fields(&mut self, name: &str, values: Vec<String>) {
        self.parts.push(Part::Field(name.to_owned(), values));
    }

    /// Nothing when there is no value.
    pub fn known(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.field(name, value);
        }
    }

    /// Nothing when it is empty.
    pub fn block(&mut self, name: &str, sheet: Sheet) {
        if !sheet.is_empty() {
            self.parts.push(Part::Block(name.to_owned(), sheet));
        }
    }

    /// Nothing when there are no rows.
    pub fn table(&mut self, name: &str, titles: &[&str], rows: Vec<Vec<String>>) {
        if !rows.is_empty() {
            let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
            let lines = titles.iter().map(|title| "-".repeat(title.len()));
            let lines = lines.collect();
            let rows = [vec![titles, lines], rows].concat();
            self.parts.push(Part::Table(name.to_owned(), rows));
        }
    }

    pub fn text(&mut self, name: &str, text: &str) {
        self.parts
            .push(Part::Text(name.to_owned(), text.to_owned()));
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whole lines.
    pub fn render(&self) -> String {
        let mut lines = String::new();
        self.put(0, &mut lines);
        lines
    }

    fn put(&self, indent: usize, lines: &mut String) {
        let names = self.parts.iter().filter_map(|part| match part {
            Part::Field(name, _) => Some(name.chars().count() + 1),
            _ => None,
        });
        let width = names.max().unwrap_or(0) + 2;
        for part in &self.parts {
            match part {
                Part::Field(name, values) => field(indent, width, name, values, lines),
                Part::Block(name, sheet) => {
                    line(indent, &format!("{}:", clean(name)), lines);
                    sheet.put(indent + 2, lines);
                }
                Part::Table(name, rows) => {
                    line(indent, &format!("{name}:"), lines);
                    let rows: Vec<Vec<String>> = rows
                        .iter()
                        .map(|row| row.iter().map(|cell| clean(cell)).collect())
                        .collect();
                    for row in aligned(&rows).lines() {
                        line(indent + 2, row, lines);
                    }
                }
                Part::Text(name, text) => {
                    line(indent, &format!("{}:", clean(name)), lines);
                    line(indent, "----", lines);
                    for row in text.lines() {
                        line(indent, &clean(row), lines);
                    }
                    lines.push('\n');
                }
            }
        }
    }
}

fn field(indent: usize, width: usize, name: &str, values: &[String], lines: &mut String) {
    let name = format!("{}:", clean(name));
    let mut values = values.iter().map(|value| clean(value));
    let first = values.next().unwrap_or_else(|| "<none>".to_owned());
    line(indent, &format!("{name:width$}{first}"), lines);
    for value in values {
        line(indent, &format!("{:width$}{value}", ""), lines);
    }
}

fn line(indent: usize, text: &str, lines: &mut String) {
    let whole = format!("{:indent$}{text}", "");
    lines.push_str(whole.trim_end());
    lines.push('\n');
}

/// A terminal would act on what is no text.
fn clean(text: &str) -> String {
    let plain = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_laid_out() {
        let mut inner = Sheet::default();
        inner.field("Image", "a\u{1b}[2Jb");
        inner.fields("Args", vec!["one".to_owned(), "two".to_owned()]);
        let mut sheet = Sheet::default();
        sheet.field("Name", "web");
        sheet.fields("Labels", Vec::new());
        sheet.known("Reason", "");
        sheet.block("Containers", inner);
        sheet.block("Volumes", Sheet::default());
        let row = vec!["Ready".to_owned(), "False".to_owned()];
        sheet.table("Conditions", &["Type", "Status"], vec![row]);
        sheet.text("data", "first\n\tsecond\n");
        assert_eq!(
            sheet.render(),
            "Name:    web\n\
             Labels:  <none>\n\
             Containers:\n\
             \u{20} Image:  a?[2Jb\n\
             \u{20} Args:   one\n\
             \u{20}         two\n\
             Conditions:\n\
             \u{20} Type    Status\n\
             \u{20} ----    ------\n\
             \u{20} Ready   False\n\
             data:\n\
             ----\n\
             first\n\
             \u{20}second\n\
             \n"
        );
    }
}

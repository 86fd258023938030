//! Objects in the form that was asked for, wherever they come from.

use std::str::FromStr;

use serde_json::Value;

use super::jsonpath::JsonPath;
use super::table;
use crate::keadm::out;
use crate::protocol::form::Form;
use crate::protocol::local::Sort;
use crate::system::clock::Timestamp;
use crate::system::yaml::emit;

/// The value of `--output`.
pub enum Print {
    Form(Form),
    /// Text with more columns.
    Wide,
    Path(JsonPath),
}

impl FromStr for Print {
    type Err = String;

    fn from_str(text: &str) -> Result<Print, String> {
        if let Some(path) = text.strip_prefix("jsonpath=") {
            let path = path.parse().map_err(|error| format!("{error}"))?;
            return Ok(Print::Path(path));
        }
        match text {
            "wide" => Ok(Print::Wide),
            _ => text.parse().map(Print::Form).map_err(|_| FORMS.to_owned()),
        }
    }
}

impl Print {
    /// For the failure of a command.
    pub fn of_failures(&self) -> out::Format {
        match self {
            Print::Form(Form::Json) => out::Format::Json,
            _ => out::Format::Text,
        }
    }

    /// `whole` is what there is to say in JSON: an object, or a list of them.
    pub fn text(
        &self,
        all: &[(&Sort, Vec<Value>)],
        whole: &Value,
        namespaces: bool,
        now: Timestamp,
    ) -> String {
        let is_wide = match self {
            Print::Form(Form::Json) => return out::json(whole),
            Print::Form(Form::Yaml) => return emit::document(whole),
            Print::Path(path) => return path.of(whole),
            Print::Form(Form::Name) => {
                let names = all.iter().flat_map(|(sort, items)| {
                    items
                        .iter()
                        .map(|item| format!("{}/{}\n", sort.kind, table::name(item)))
                });
                return names.collect();
            }
            Print::Form(Form::Text) => false,
            Print::Wide => true,
        };
        let parts: Vec<String> = all
            .iter()
            .map(|(sort, items)| {
                let title = match all.len() {
                    1 => String::new(),
                    _ => format!("{}:\n", sort.plural),
                };
                title + &table::text(sort, items, (namespaces, is_wide), now)
            })
            .collect();
        parts.join("\n")
    }
}

const FORMS: &str = "the formats are text, wide, json, yaml, name and jsonpath=PATH";

//! The forms in which commands show objects: the value of `--output`.

use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
    Yaml,
    /// `<type>/<name>`, a line each.
    Name,
}

impl FromStr for Form {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Form, Self::Err> {
        match text {
            "" | "text" => Ok(Form::Text),
            "json" => Ok(Form::Json),
            "yaml" => Ok(Form::Yaml),
            "name" => Ok(Form::Name),
            _ => Err("the formats are text, json, yaml and name"),
        }
    }
}

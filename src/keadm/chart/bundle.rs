//! The files of manifests/ within the executable, unpacked when they are asked for.

use serde_json::Value;

use super::ChartError;
use crate::system::gzip;
use crate::system::yaml::Document;

/// All the files, unpacked.
pub struct Bundle {
    text: String,
}

impl Bundle {
    pub fn open() -> Result<Bundle, ChartError> {
        let bytes = gzip::inflate(PACKED, LIMIT);
        let bytes = bytes.map_err(|error| ChartError::Damaged(error.to_string()))?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|error| ChartError::Damaged(error.to_string()))?;
        Ok(Bundle { text })
    }

    /// The names of the files with their texts, in the order of the names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.text.split(HEAD).skip(1);
        files.filter_map(|file| file.split_once('\n'))
    }

    /// The object that a file holds.
    pub fn read(&self, name: &str) -> Result<Value, ChartError> {
        let file = self.files().find(|(known, _)| *known == name);
        let (_, text) = file.ok_or_else(|| ChartError::Damaged(format!("no {name}")))?;
        Ok(Document::parse(text, name)?.value)
    }

    /// The custom resource definitions, by name.
    pub fn crds(&self) -> Result<Vec<Value>, ChartError> {
        let files = self.files().filter(|(name, _)| name.starts_with(CRDS));
        let values = files.map(|(name, text)| Ok(Document::parse(text, name)?.value));
        values.collect()
    }
}

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/manifests.deflate"));
/// What build.rs puts before the name of each file.
const HEAD: char = '\u{1e}';
const CRDS: &str = "crds/";
/// They are a tenth of it.
const LIMIT: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_there_and_can_be_read() {
        let bundle = Bundle::open().unwrap();
        let mut count = 0;
        for (name, text) in bundle.files() {
            assert!(Document::parse(text, name).unwrap().value.is_object());
            count += 1;
        }
        assert!(count > 30, "{count}");
        assert_eq!(bundle.crds().unwrap().len(), 13);
        assert!(bundle.read("nothing.yaml").is_err());
    }
}

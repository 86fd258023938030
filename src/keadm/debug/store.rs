//! What the cloud has told this device, read from its storage, whether edgecore runs or not.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fault::Fault;
use crate::protocol::resource::Kind;
use crate::system::files::FileError;
use crate::system::host::Host;

/// Edgecore's own folder: `<kind>/<namespace>/<name>.json`, each file whole at all times.
pub const PLACE: &str = "/var/lib/kubeedge/edgecore/meta";

pub struct Store<'a> {
    host: &'a Host,
    top: PathBuf,
}

impl Store<'_> {
    /// The one below `given`, else where edgecore has it.
    pub fn open<'a>(host: &'a Host, given: Option<&str>) -> Result<Store<'a>, Fault> {
        let top = given.map_or_else(|| host.root.at(PLACE), PathBuf::from);
        match host.files.mode(&top) {
            Ok(_) if top.is_dir() => Ok(Store { host, top }),
            Err(error) if !error.is_not_found() => Err(Fault::File(error)),
            _ => Err(Fault::NoStore(top)),
        }
    }

    /// Hands over each object of a type, one after the other; of all namespaces, or of one. What can't be read keeps
    /// none of the others back; the first of it is told at the end.
    pub fn each(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        mut take: impl FnMut(Value),
    ) -> Result<(), Fault> {
        let folder = self.top.join(kind.as_str());
        let mut first = None;
        for found in self.names(&folder)? {
            let is_meant = kind.is_of_cluster() || namespace.is_none_or(|wanted| wanted == found);
            let folder = folder.join(&found);
            if !is_meant {
                continue;
            }
            let names = self.names(&folder).unwrap_or_else(|fault| {
                first.get_or_insert(fault);
                Vec::new()
            });
            for name in names {
                match self.object(folder.join(name)) {
                    Ok(Some(object)) => take(object),
                    Ok(None) => {}
                    Err(fault) => _ = first.get_or_insert(fault),
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// `None` when it has gone in this moment.
    fn object(&self, path: PathBuf) -> Result<Option<Value>, Fault> {
        let text = self.host.files.read_opt(&path, MAX_OBJECT);
        let Some(text) = text.map_err(Fault::File)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&text) {
            Ok(object @ Value::Object(_)) => Ok(Some(object)),
            _ => Err(Fault::Damaged(path)),
        }
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, Fault> {
        match self.host.files.list(folder, MAX_NAMES) {
            Err(error) if FileError::is_not_found(&error) => Ok(Vec::new()),
            found => found.map_err(Fault::File),
        }
    }
}

/// Bytes, and files in a folder: as edgecore's own bounds.
const MAX_OBJECT: usize = 32 << 20;
const MAX_NAMES: usize = 100_000;

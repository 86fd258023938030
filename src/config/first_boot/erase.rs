//! The end of a token that has done its work, in every place that can be written.

use std::path::Path;

use super::{FirstBootError, JOIN_FILE, Source, TOKEN_FILE, UCI, options, text};
use crate::system::host::Host;

/// Removes the join file, the token of UCI, and a file that either names below /etc/kubeedge; true when
/// there was something. Only to be called when the identity is safely on disk, or a person has given
/// another token. What can't be erased does not keep the rest.
pub fn erase(host: &Host) -> Result<bool, FirstBootError> {
    let (join, uci) = (host.root.at(JOIN_FILE), host.root.at(UCI));
    let named = [Source::JoinFile, Source::Uci].map(|source| {
        let pairs = source.read(host).ok().flatten().unwrap_or_default().0;
        pairs.into_iter().find(|(key, _)| key == TOKEN_FILE)
    });
    let mut done = Vec::new();
    for (_, file) in named.into_iter().flatten() {
        // Others may need what lies elsewhere, such as on a stick that goes from device to device.
        let (file, folder) = (Path::new(&*file), Path::new(OURS));
        let is_plain = !file.components().any(|part| part.as_os_str() == "..");
        if file.starts_with(folder) && is_plain {
            done.push(
                host.files
                    .remove(&host.root.at(file))
                    .map_err(FirstBootError::from),
            );
        }
    }
    done.push(erase_option(host, &uci));
    done.push(host.files.remove(&join).map_err(FirstBootError::from));
    let mut any = false;
    for one in done {
        any |= one?;
    }
    Ok(any)
}

/// The rest of the file stays as it is.
fn erase_option(host: &Host, path: &Path) -> Result<bool, FirstBootError> {
    let Some(text) = text(&host.files, path)? else {
        return Ok(false);
    };
    // What a power cut has left of an earlier attempt is clutter in a folder of other programs.
    if let Some(folder) = path.parent() {
        host.files.sweep(folder)?;
    }
    let Some(left) = options::without_token(&text)? else {
        return Ok(false);
    };
    let mode = host.files.mode(path)?;
    host.files.replace(path, left.as_bytes(), mode)?;
    Ok(true)
}

const OURS: &str = "/etc/kubeedge";

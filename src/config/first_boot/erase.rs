//! The end of a token that has done its work, in every place that can be written.

use std::path::Path;

use super::{FirstBootError, JOIN_FILE, Source, TOKEN_FILE, UCI, options, text};
use crate::system::files::FileError;
use crate::system::host::Host;

/// Removes the join file, the token of UCI, and a file that either names below /etc/kubeedge; true when
/// there was something. Only to be called when the identity is safely on disk, or a person has given
/// another token. What can't be erased does not keep the rest.
pub fn erase(host: &Host) -> Result<bool, FirstBootError> {
    let of_uci = erase_named(host, Source::Uci).and_then(|any| Ok(any | erase_option(host)?));
    let of_file = erase_named(host, Source::JoinFile)
        .and_then(|any| Ok(any | host.files.remove(&host.root.at(JOIN_FILE))?));
    Ok(of_uci? | of_file?)
}

/// Whether UCI has a token, of a service that is switched on or off.
pub fn keeps_token(host: &Host) -> bool {
    let text = text(&host.files, &host.root.at(UCI)).ok().flatten();
    text.is_some_and(|text| matches!(options::without_token(&text), Ok(Some(_))))
}

/// The file with the token goes before what names it: afterwards nobody would find it.
fn erase_named(host: &Host, source: Source) -> Result<bool, FirstBootError> {
    let pairs = match source.read(host) {
        // It may be read another time.
        Err(FirstBootError::File(error @ FileError::Io { .. })) => return Err(error.into()),
        found => found.ok().flatten().unwrap_or_default().0,
    };
    let Some((_, file)) = pairs.into_iter().find(|(key, _)| key == TOKEN_FILE) else {
        return Ok(false);
    };
    // Others may need what lies elsewhere, such as on a stick that goes from device to device.
    let (file, folder) = (Path::new(&*file), Path::new(OURS));
    let is_plain = !file.components().any(|part| part.as_os_str() == "..");
    match file.starts_with(folder) && is_plain {
        true => Ok(host.files.remove(&host.root.at(file))?),
        false => Ok(false),
    }
}

/// The rest of the file stays as it is.
fn erase_option(host: &Host) -> Result<bool, FirstBootError> {
    let path = &host.root.at(UCI);
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

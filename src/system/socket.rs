//! Local sockets that a daemon listens on, with an exact mode.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::system::files::{FileError, Files};

/// Listens at `path`. Only for who holds the daemon's lock: what is left there by an earlier
/// process is removed. Not durable, and not meant to be: sockets live below `/run`. It does
/// not block, and no thread is started yet.
pub fn listen(files: &Files, path: &Path, mode: u32) -> Result<UnixListener, FileError> {
    let failed = |source| FileError::Io {
        action: "listen on",
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        files.make_dir(folder, 0o755)?;
    }
    files.remove(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    // A socket can't be opened, so its mode is set by path; the daemon's umask keeps it closed in
    // the moment before.
    #[allow(clippy::disallowed_methods)]
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn a_stale_socket_is_replaced_and_the_mode_is_exact() {
        let scratch = Scratch::new();
        let path = scratch.path().join("run/x.sock");
        let files = Files::real();
        drop(listen(&files, &path, 0o600).unwrap());
        let _listener = listen(&files, &path, 0o666).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o666);
    }
}

//! Ends processes together with the one that started them, however that one ends.
//!
//! The starter listens on a local socket and never accepts; what it starts connects there. When
//! the starter is gone, killed or not, the kernel closes the connections, and that is noticed.

use std::env;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use smol::Async;
use smol::io::AsyncReadExt;

/// The environment variable that names the socket to those who shall not outlive the starter.
pub const VARIABLE: &str = "KUBEEDGE_LIFELINE";

/// The starter's end; what it started ends when this is dropped.
#[derive(Debug)]
pub struct Anchor {
    _listener: UnixListener,
    path: PathBuf,
}

impl Anchor {
    /// Listens at `path`, where nothing may be yet.
    pub fn new(path: &Path) -> io::Result<Anchor> {
        Ok(Anchor {
            _listener: UnixListener::bind(path)?,
            path: path.to_owned(),
        })
    }

    /// What `VARIABLE` has to say.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The other end, held by a process that was started.
#[derive(Debug)]
pub enum Lifeline {
    /// Nobody asked for one.
    None,
    Held(Async<UnixStream>),
    /// The starter was gone already.
    Cut,
}

/// The other end for who waits without an executor: when it can be read, it is cut. None when
/// nobody asked for one; an error when the starter was gone already.
pub fn stream() -> io::Result<Option<UnixStream>> {
    let path = env::var_os(VARIABLE).filter(|path| !path.is_empty());
    path.map(UnixStream::connect).transpose()
}

impl Lifeline {
    /// The one that the environment names.
    pub fn from_env() -> Lifeline {
        match env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Lifeline::to(Path::new(&path)),
            None => Lifeline::None,
        }
    }

    fn to(path: &Path) -> Lifeline {
        match UnixStream::connect(path).and_then(Async::new) {
            Ok(stream) => Lifeline::Held(stream),
            Err(_) => Lifeline::Cut,
        }
    }

    /// Returns when the starter is gone; never when nobody asked for that.
    pub async fn cut(&mut self) {
        match self {
            Lifeline::None => smol::future::pending().await,
            Lifeline::Cut => {}
            Lifeline::Held(stream) => {
                // Nothing is ever said: any end of this read is the end.
                let _ = stream.read(&mut [0]).await;
                *self = Lifeline::Cut;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use smol::future::{block_on, poll_once};

    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn holds_while_the_starter_lives_and_no_longer() {
        let folder = Scratch::new();
        let path = folder.path().join("lifeline");
        let anchor = Anchor::new(&path).unwrap();
        let mut line = Lifeline::to(anchor.path());
        block_on(async {
            assert!(poll_once(line.cut()).await.is_none());
            drop(anchor);
            line.cut().await;
            line.cut().await;
        });
        // The file is still there, the starter is not.
        block_on(Lifeline::to(&path).cut());
    }

    #[test]
    fn who_was_not_asked_lives_on() {
        block_on(async {
            assert!(poll_once(Lifeline::None.cut()).await.is_none());
        });
    }
}

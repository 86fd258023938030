//! What the edge knows of the time: asks the cloud when its own clock is in doubt, and keeps the answer
//! for the next process of the same boot, in memory only.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::edge::Edge;
use super::identity::Identity;
use crate::pki::certificate::Certificate;
use crate::system::clock::{Anchor, Clock, Timestamp};
use crate::system::facts;
use crate::system::files::{FileError, Files};

/// What the identity says of the time: it has begun; and if it were over, the clock would be in doubt.
pub fn ground(clock: &Clock, identity: &Identity) {
    let since = identity
        .certificate
        .not_before()
        .max(identity.ca.not_before());
    clock.ground(since, Some(identity.certificate.not_after()));
}

/// Whether this certificate is over. Where only the clock here says so, the cloud is asked first.
pub async fn is_over(edge: &Rc<Edge>, identity: &Identity) -> bool {
    let clock = &edge.host.clock;
    if !identity.expired(clock.now()) {
        return false;
    }
    if clock.word().is_none() {
        ground(clock, identity);
        ask(edge, &identity.ca).await;
    }
    identity.expired(clock.now())
}

/// Asks the cloud for the time; true when it gave one that can be believed.
pub async fn ask(edge: &Edge, ca: &Certificate) -> bool {
    let ca = ca.clone();
    match edge.api(move |api| api.ask_time(&ca)).await {
        Ok(()) => {
            keep(edge).await;
            true
        }
        Err(failure) => {
            log::debug!("the cloud was asked what time it is: {failure}");
            false
        }
    }
}

/// Makes known what the cloud has just said, and keeps it.
pub async fn keep(edge: &Edge) {
    edge.time_told.raise();
    let (files, path) = (edge.host.files.clone(), edge.host.root.at(KEPT));
    let Some(word) = edge.host.clock.word() else {
        return;
    };
    // Without it the next process asks again.
    if let Ok(Err(error)) = edge.off_thread(move || write(&files, &path, word)).await {
        log::debug!("{error}");
    }
}

/// Takes up what an earlier process of this boot has kept.
pub async fn recall(edge: &Edge) {
    let (files, path) = (edge.host.files.clone(), edge.host.root.at(KEPT));
    let text = edge
        .off_thread(move || files.read_opt(&path, MAX_KEPT))
        .await;
    let text = text.ok().and_then(|read| read.ok().flatten());
    if let Some(word) = text.and_then(|text| parse(&text)) {
        edge.host.clock.recall(word);
    }
}

/// Flash is not worn for this: only what lies in memory is written, and that is gone at the next boot,
/// as it must be.
fn write(files: &Files, path: &Path, word: Anchor) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !facts::is_tmpfs(folder) {
        return Ok(());
    }
    files.replace(path, show(word).as_bytes(), 0o644)
}

/// The time, and the microseconds since the boot at which it was that.
fn show(word: Anchor) -> String {
    format!(
        "{} {}\n",
        word.time.rfc3339_micros(),
        word.ticks.as_micros()
    )
}

fn parse(text: &[u8]) -> Option<Anchor> {
    let text = std::str::from_utf8(text).ok()?;
    let (time, ticks) = text.trim_end().split_once(' ')?;
    Some(Anchor {
        time: time.parse::<Timestamp>().ok()?,
        ticks: Duration::from_micros(ticks.parse().ok()?),
    })
}

const KEPT: &str = "/run/kubeedge/edgecore/time";
const MAX_KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scratch::Scratch;

    #[test]
    fn what_is_kept_is_read_again() {
        let word = Anchor {
            time: Timestamp::from_micros(1_800_000_000_123_456),
            ticks: Duration::from_micros(77_000_001),
        };
        assert_eq!(parse(show(word).as_bytes()), Some(word));
        for other in ["", "x", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z -1"] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn only_memory_is_written() {
        let word = Anchor {
            time: Timestamp::from_unix(1_800_000_000),
            ticks: Duration::from_secs(7),
        };
        let folder = Scratch::new();
        let path = folder.path().join("time");
        write(&Files::real(), &path, word).unwrap();
        assert_eq!(path.exists(), facts::is_tmpfs(folder.path()));
        let memory = Path::new("/dev/shm");
        if facts::is_tmpfs(memory) {
            let path = memory.join(format!("kubeedge-test-{}", std::process::id()));
            let written = write(&Files::real(), &path, word);
            let kept = Files::real().read(&path, MAX_KEPT);
            let _ = std::fs::remove_file(&path);
            written.unwrap();
            assert_eq!(parse(&kept.unwrap()), Some(word));
        }
    }
}

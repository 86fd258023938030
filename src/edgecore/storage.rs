//! Where the objects of the cloud are kept: on flash, in memory by choice, and how much of flash they may take.

use std::path::{Path, PathBuf};

use crate::system::facts;
use crate::system::host::Host;

/// The folder, a real path, and how many bytes may lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub folder: PathBuf,
    pub limit: Option<usize>,
}

impl Storage {
    /// `flag` is a path that a person typed, `key` is the file's. Without either: `/var/lib`, unless that is in
    /// memory or can't be written, and `/etc` is neither, as on OpenWrt.
    pub fn choose(host: &Host, flag: Option<&Path>, key: Option<&Path>) -> Storage {
        let given = flag.map(Path::to_owned);
        let given = given.or_else(|| key.map(|key| host.root.at(key)));
        Storage::among(host, given, |path| {
            !facts::is_tmpfs(path) && !facts::is_read_only(path)
        })
    }

    fn among(host: &Host, given: Option<PathBuf>, lasts: impl Fn(&Path) -> bool) -> Storage {
        let (usual, small) = (host.root.at(USUAL), host.root.at(SMALL));
        let folder = given.unwrap_or_else(|| match !lasts(&usual) && lasts(&small) {
            true => small,
            false => usual,
        });
        // There it lies beside the identity, on flash that is often no larger than a few MB.
        let limit = folder
            .starts_with(host.root.at(CONFIGURATION))
            .then_some(LIMIT);
        Storage { folder, limit }
    }

    /// For `status`.
    pub fn words(&self) -> String {
        let folder = self.folder.display();
        match (self.limit, facts::is_tmpfs(&self.folder)) {
            (Some(limit), _) => format!("{folder}, at most {} KiB", limit / 1024),
            (None, true) => format!("{folder}, in memory: gone after the next boot"),
            (None, false) => folder.to_string(),
        }
    }
}

const USUAL: &str = "/var/lib/kubeedge/edgecore";
const SMALL: &str = "/etc/kubeedge/state";
const CONFIGURATION: &str = "/etc/kubeedge";
/// Bytes.
const LIMIT: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;

    #[test]
    fn flash_is_chosen_where_var_is_in_memory() {
        let host = Host::real(Root::new(Some("/r".into())));
        let choose = |given: Option<&str>, lasting: &[&str]| {
            let lasts = |path: &Path| lasting.iter().any(|it| path.starts_with(it));
            let chosen = Storage::among(&host, given.map(PathBuf::from), lasts);
            (chosen.folder.display().to_string(), chosen.limit)
        };
        let (usual, small) = ("/r/var/lib/kubeedge/edgecore", "/r/etc/kubeedge/state");
        for (given, lasting, folder, limit) in [
            (None, &["/r"][..], usual, None),
            (None, &["/r/etc"], small, Some(LIMIT)),
            (None, &["/r/var"], usual, None),
            // All in memory: a trial, or an image that keeps nothing.
            (None, &[], usual, None),
            (Some(usual), &["/r/etc"], usual, None),
            (Some("/mnt/card"), &["/r"], "/mnt/card", None),
            (
                Some("/r/etc/kubeedge/x"),
                &["/r"],
                "/r/etc/kubeedge/x",
                Some(LIMIT),
            ),
        ] {
            let chosen = choose(given, lasting);
            assert_eq!(chosen, (folder.to_owned(), limit), "{given:?} {lasting:?}");
        }
    }
}

//! Which executable a device gets, by what it says of itself.

use std::path::{Path, PathBuf};

use super::error::BatchError;
use crate::system::host::Host;

/// Where executables are, and which of them are meant.
pub struct Packages {
    folder: Option<PathBuf>,
    /// As dist/ has it, without a `v`.
    version: Option<String>,
    /// KubeEdge's words for machines; all when none is named.
    group: Vec<String>,
    /// What there is: KubeEdge's word for the machine, and the file.
    found: Vec<(&'static str, PathBuf)>,
}

/// KubeEdge's word for a machine, and the targets of dist/ that run there, the best first.
type Machine = (&'static str, &'static [&'static str]);

impl Packages {
    /// Looks for one for each machine of the group.
    pub fn find(
        host: &Host,
        folder: Option<PathBuf>,
        version: Option<String>,
        group: Vec<String>,
    ) -> Result<Packages, BatchError> {
        let mut packages = Packages {
            folder,
            version: version.map(|version| version.trim_start_matches('v').to_owned()),
            group,
            found: Vec::new(),
        };
        let Some(folder) = packages.folder.clone() else {
            return Ok(packages);
        };
        let no_package = |message: String| BatchError::NoPackage {
            place: folder.clone(),
            message,
        };
        for (word, target) in TARGETS {
            match packages.of_target(host, &folder, word, target) {
                Ok(Some(file)) => packages.found.push((target, file)),
                Ok(None) => {}
                Err(message) => return Err(no_package(message)),
            }
        }
        for wanted in &packages.group {
            let runs_there = |target: &str| TARGETS.contains(&(wanted.as_str(), target));
            if !packages.found.iter().any(|(target, _)| runs_there(target)) {
                return Err(no_package(format!(
                    "there is no executable for {wanted}: put kubeedge-VERSION-TARGET there, as ./musl-build.sh makes \
                     it, or {wanted}/kubeedge (KubeEdge's own keadm-…tar.gz is not used)"
                )));
            }
        }
        Ok(packages)
    }

    /// By `uname -m`, and whether the small end comes first; the error is a sentence.
    pub fn choose(&self, machine: &str, is_little: bool) -> Result<PathBuf, String> {
        let (word, targets) = known(machine, is_little)
            .ok_or_else(|| format!("there is no kubeedge for a machine {machine:?}"))?;
        if !self.group.is_empty() && !self.group.iter().any(|it| it == word) {
            return Err(format!(
                "it is {word} ({machine}), which keadm.archGroup does not have"
            ));
        }
        if self.folder.is_none() && targets.contains(&std::env::consts::ARCH) {
            return std::env::current_exe()
                .map_err(|error| format!("this program can't find itself: {error}"));
        }
        let file = targets
            .iter()
            .find_map(|target| self.found.iter().find(|(found, _)| found == target));
        file.map(|(_, file)| file.clone()).ok_or_else(|| {
            format!(
                "it is {machine}, for which there is no executable here: have keadm.offlinePackageDir name a folder \
                 with kubeedge-VERSION-{}",
                targets[0]
            )
        })
    }

    /// The folder of its machine comes before the names of dist/; the error is a sentence.
    fn of_target(
        &self,
        host: &Host,
        folder: &Path,
        word: &str,
        target: &str,
    ) -> Result<Option<PathBuf>, String> {
        let own = folder.join(word);
        for name in ["kubeedge", "keadm"] {
            let path = own.join(name);
            if path.is_file() {
                return Ok(Some(path));
            }
        }
        for folder in [own.as_path(), folder] {
            let names = host.files.list(folder, MAX_NAMES).unwrap_or_default();
            let named = |start: &str| -> Vec<&String> {
                let is_one = |name: &&String| {
                    let version = name
                        .strip_prefix("kubeedge-")
                        .and_then(|it| it.strip_suffix(target))
                        .and_then(|it| it.strip_suffix(start));
                    version.is_some_and(|version| !version.is_empty() && !version.contains("-edge"))
                };
                names.iter().filter(is_one).collect()
            };
            for middle in ["-", "-edge-"] {
                let all = named(middle);
                let of_version = |name: &&&String| {
                    let version = self.version.as_deref();
                    version.is_some_and(|it| ***name == format!("kubeedge-{it}{middle}{target}"))
                };
                let chosen = all.iter().find(of_version).or(match all.len() {
                    1 => all.first(),
                    _ => None,
                });
                match chosen {
                    Some(name) => return Ok(Some(folder.join(name))),
                    None if all.is_empty() => {}
                    None => {
                        return Err(format!(
                            "there are several executables for {target}: have keadm.keadmVersion say which version"
                        ));
                    }
                }
            }
        }
        Ok(None)
    }
}

fn known(machine: &str, is_little: bool) -> Option<Machine> {
    Some(match machine {
        "x86_64" | "amd64" => ("amd64", &["x86_64"]),
        "aarch64" | "arm64" => ("arm64", &["aarch64"]),
        "armv7l" | "armv7" | "armv8l" | "arm32" => ("arm", &["armv7", "armv6"]),
        "armv6l" | "armv6" | "arm" => ("arm", &["armv6"]),
        "riscv64" => ("riscv64", &["riscv64"]),
        "mips" if is_little => ("mipsle", &["mipsel"]),
        "mips" => ("mips", &["mips"]),
        _ => return None,
    })
}

/// KubeEdge's words, and Go's for what KubeEdge does not have.
const TARGETS: &[(&str, &str)] = &[
    ("amd64", "x86_64"),
    ("arm64", "aarch64"),
    ("arm", "armv7"),
    ("arm", "armv6"),
    ("riscv64", "riscv64"),
    ("mipsle", "mipsel"),
    ("mips", "mips"),
];
const MAX_NAMES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    fn packages(
        names: &[&str],
        version: &str,
        group: &[&str],
    ) -> Result<(Packages, Scratch), BatchError> {
        let (scratch, host) = (Scratch::new(), Host::real(Root::new(None)));
        for name in names {
            let path = scratch.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let version = Some(version.to_owned()).filter(|it| !it.is_empty());
        let group = group.iter().map(|it| (*it).to_owned()).collect();
        Packages::find(&host, Some(scratch.path().to_owned()), version, group)
            .map(|packages| (packages, scratch))
    }

    #[test]
    fn a_machine_gets_what_runs_there() {
        let names = [
            "kubeedge-0.1.0-armv6",
            "kubeedge-0.1.0-edge-armv7",
            "arm64/kubeedge",
            "kubeedge-0.1.0-aarch64",
            "kubeedge-0.1.0-mipsel",
            "kubeedge-0.1.0-x86_64",
            "kubeedge-0.1.0-edge-x86_64",
            "SHA256SUMS",
        ];
        let (packages, scratch) = packages(&names, "", &[]).unwrap();
        for (machine, is_little, expected) in [
            ("x86_64", true, "kubeedge-0.1.0-x86_64"),
            ("aarch64", true, "arm64/kubeedge"),
            ("armv7l", true, "kubeedge-0.1.0-edge-armv7"),
            ("armv6l", true, "kubeedge-0.1.0-armv6"),
            ("mips", true, "kubeedge-0.1.0-mipsel"),
        ] {
            let chosen = packages.choose(machine, is_little).unwrap();
            assert_eq!(chosen, scratch.path().join(expected), "{machine}");
        }
        assert!(
            packages
                .choose("mips", false)
                .unwrap_err()
                .contains("kubeedge-VERSION-mips")
        );
        assert!(
            packages
                .choose("s390x", false)
                .unwrap_err()
                .contains("s390x")
        );
    }

    #[test]
    fn versions_and_groups_are_kept_to() {
        let two = ["kubeedge-0.1.0-x86_64", "kubeedge-0.2.0-x86_64"];
        assert!(packages(&two, "", &[]).is_err());
        let (chosen, scratch) = packages(&two, "v0.2.0", &["amd64"]).unwrap();
        assert_eq!(
            chosen.choose("x86_64", true),
            Ok(scratch.path().join(two[1]))
        );
        assert!(
            chosen
                .choose("aarch64", true)
                .unwrap_err()
                .contains("archGroup")
        );
        let theirs = ["amd64/keadm-v1.23.1-linux-amd64.tar.gz"];
        let error = packages(&theirs, "v1.23.1", &["amd64"])
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("no executable for amd64"), "{error}");
    }

    #[test]
    fn without_a_folder_this_program_serves_its_own_kind() {
        let host = Host::real(Root::new(None));
        let packages = Packages::find(&host, None, None, Vec::new()).unwrap();
        let own = std::env::current_exe().unwrap();
        assert_eq!(packages.choose(std::env::consts::ARCH, true), Ok(own));
        assert!(
            packages
                .choose("riscv64", true)
                .unwrap_err()
                .contains("offlinePackageDir")
        );
    }
}

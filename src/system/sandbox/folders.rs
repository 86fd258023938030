//! Landlock: which folders a process may still read and change.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

/// Denies every file and folder but these. What does not exist is left out. Returns what holds
/// now, or why nothing does.
pub fn restrict(reads: &[PathBuf], writes: &[PathBuf]) -> Result<String, String> {
    let failed = |error: RulesetError| error.to_string();
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST) & !BitFlags::from(AccessFs::Execute);
    let write = all & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
    let mut rules = Ruleset::default()
        .handle_access(all)
        .and_then(Ruleset::create)
        .map_err(failed)?;
    for (paths, access) in [(reads, read), (writes, write)] {
        for path in paths {
            rules = allow(rules, path, access).map_err(failed)?;
        }
    }
    match rules.restrict_self().map_err(failed)?.ruleset {
        RulesetStatus::FullyEnforced => Ok("landlock".to_owned()),
        RulesetStatus::PartiallyEnforced => Ok("landlock in part".to_owned()),
        RulesetStatus::NotEnforced => Err("not in this kernel".to_owned()),
    }
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        // A right that belongs to folders can't be given for a file.
        Ok(opened) if path.is_dir() => rules.add_rule(PathBeneath::new(opened, access)),
        Ok(opened) => rules.add_rule(PathBeneath::new(
            opened,
            access & AccessFs::from_file(NEWEST),
        )),
        Err(_) => Ok(rules),
    }
}

/// Of Linux 6.10; older kernels do what they can.
const NEWEST: ABI = ABI::V5;

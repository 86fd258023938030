//! What the hub goes on with once its sockets are bound: its user, its folders, and no rights.

use std::io;
use std::path::{Path, PathBuf};

use super::parent::Parent;
use super::settings::{BOOTSTRAP, Settings};
use crate::config::edge::network::CREDENTIALS;
use crate::system::facts;
use crate::system::host::Host;
use crate::system::processes;
use crate::system::sandbox::{self, Confinement, Plan, User};

/// The hub becomes this user, if the system has it. Not one that it would share with cloudcore:
/// on one machine, the hub must not be able to read the cloud's CA.
pub const USER: &str = "edgecore";

/// Gives up what the hub does not need; to be called before there is any thread. What comes back
/// is what `status` shows.
pub fn enter(
    host: &Host,
    settings: &Settings,
    parent: Option<&Parent>,
    allowed: bool,
) -> Vec<String> {
    if !(settings.sandbox && allowed) {
        log::warn!("the sandbox is switched off: edgecore keeps all its rights");
        return vec!["off".to_owned()];
    }
    let mut plan = Plan {
        // Without a supervisor nobody could erase a token that belongs to root.
        user: parent.and_then(|_| own_user(host, settings)),
        interfaces: settings.way.uplink.interface.is_some() && facts::kernel_is_before(5, 7),
        reads: sandbox::system_reads(),
        writes: Vec::new(),
    };
    if parent.is_none() {
        plan.writes.extend(folder_of(&settings.bootstrap));
        plan.writes.extend(folder_of(&settings.config));
    }
    for folder in folders(host, settings) {
        if let Err(error) = host.files.make_dir(&folder, 0o700) {
            log::warn!("{error}");
        }
        plan.writes.push(nearest(&folder).to_owned());
    }
    plan.reads.extend(folder_of(&settings.bootstrap));
    plan.reads.extend(folder_of(&settings.config));
    plan.reads.push(credentials_place(&settings.credentials));
    plan.reads
        .extend(SYSTEM.iter().map(|path| host.root.at(path)));
    let done: Confinement = sandbox::confine(&plan);
    done.log();
    if let Some(parent) = parent {
        // The kernel has forgotten it with the change of the user. That the parent is gone by
        // now is seen by the connection.
        let _ = parent.die_together();
    }
    done.active
}

/// All that the hub may change while it runs.
fn folders(host: &Host, settings: &Settings) -> Vec<PathBuf> {
    let mut folders = settings.folders();
    folders.push(host.root.at(UNTIL_REBOOT));
    folders
}

/// The user to become, with everything in place that it needs for that.
fn own_user(host: &Host, settings: &Settings) -> Option<User> {
    if !processes::is_root() {
        return None;
    }
    let user = User::find(&host.files, &host.root, USER);
    let folders = folders(host, settings);
    let ours = |folder: &PathBuf| OURS.iter().any(|top| folder.starts_with(host.root.at(top)));
    if let (Some(_), Some(foreign)) = (&user, folders.iter().find(|folder| !ours(folder))) {
        log::warn!(
            "{} is not below {}: it is not given to {USER}, and the hub stays root",
            foreign.display(),
            OURS.join(" or ")
        );
        return None;
    }
    let given = folders
        .iter()
        .filter(|folder| ours(folder))
        .try_for_each(|folder| {
            host.files
                .make_dir(folder, 0o700)
                .map_err(io::Error::other)?;
            sandbox::give_folder(folder, user.as_ref())
        });
    let shared = given.and_then(|()| match &user {
        Some(user) => let_read(host, &settings.config, user),
        None => Ok(()),
    });
    match shared {
        Ok(()) => user,
        // Root without rights can use what belongs to root.
        Err(error) => {
            log::warn!("files can't change their owner ({error}): the hub stays root");
            None
        }
    }
}

/// Lets the user read what root has written for it.
pub fn let_read(host: &Host, config: &Path, user: &User) -> io::Result<()> {
    let top = host.root.at(TOP);
    for file in [config, &host.root.at(BOOTSTRAP), &host.root.at(CREDENTIALS)] {
        sandbox::let_read(&top, file, user)?;
    }
    Ok(())
}

/// The folder, in which the file may be replaced; but not everything there is.
fn credentials_place(file: &Path) -> PathBuf {
    let folder = folder_of(file).filter(|folder| folder.parent().is_some());
    folder.unwrap_or_else(|| file.to_owned())
}

fn folder_of(file: &Path) -> Option<PathBuf> {
    file.parent().map(Path::to_owned)
}

/// The folder itself or, where it could not be made, the nearest one above it.
fn nearest(folder: &Path) -> &Path {
    let there = folder.ancestors().find(|it| it.is_dir());
    there.unwrap_or(folder)
}

const TOP: &str = "/etc/kubeedge";
/// Folders in these may be given to the hub's user.
const OURS: &[&str] = &["/etc/kubeedge", "/run/kubeedge", "/var/lib/kubeedge"];
/// What the next hub of the same boot may want to know.
const UNTIL_REBOOT: &str = "/run/kubeedge/edgecore";
/// Read below the root prefix.
const SYSTEM: &[&str] = &["/etc", "/run"];

//! What the hub goes on with once its sockets are bound: its user, its folders, and no rights.

use std::io;
use std::path::{Path, PathBuf};

use super::identity::Place;
use super::parent::Parent;
use super::settings::{BOOTSTRAP, Settings};
use crate::config::edge::network::CREDENTIALS;
use crate::system::facts;
use crate::system::files::FileError;
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
    let mut user = User::find(&host.files, &host.root, USER);
    let folders = folders(host, settings);
    let state = &settings.state.folder;
    if user.is_some() && settings.place.is_below(state) {
        log::warn!(
            "{} holds more than the cloud's objects: it is not given to {USER}, and the hub stays root; give \
             modules.metaManager.stateDir a folder of its own",
            state.display()
        );
        user = None;
    }
    if let (Some(_), Some(foreign)) = (&user, folders.iter().find(|it| !is_ours(host, it))) {
        log::warn!(
            "{} is not below {}: it is not given to {USER}, and the hub stays root",
            foreign.display(),
            OURS.join(" or ")
        );
        return None;
    }
    let given = folders
        .iter()
        .filter(|folder| is_ours(host, folder))
        .try_for_each(|folder| {
            host.files
                .make_dir(folder, 0o700)
                .map_err(io::Error::other)?;
            give(&settings.place, folder, user.as_ref())
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

/// A folder of the identity in which others have files too, such as the key of a cloud's CA on the same machine, is
/// not given away: the hub may make files in it and change its own.
fn give(place: &Place, folder: &Path, user: Option<&User>) -> io::Result<()> {
    if !place.is_in(folder) {
        return sandbox::give_folder(folder, user);
    }
    let is_own = |name: &str| place.has(folder, name);
    for entry in std::fs::read_dir(folder)? {
        if !entry?.file_name().to_str().is_some_and(is_own) {
            return sandbox::share_folder(folder, user, is_own);
        }
    }
    sandbox::give_folder(folder, user)
}

/// Closes the folders of the identity to others, where these may enter: a firmware upgrade of OpenWrt keeps files alone, and
/// their folders come back as everybody's. Those that the configuration names elsewhere are not edgecore's.
pub fn close_folders(host: &Host, place: &Place) {
    for file in [&place.key, &place.certificate, &place.ca] {
        if let Some(folder) = file.parent().filter(|folder| is_ours(host, folder))
            && let Err(error) = close_folder(host, folder)
        {
            log::warn!("{error}");
        }
    }
}

fn close_folder(host: &Host, folder: &Path) -> Result<(), FileError> {
    let mode = match host.files.mode(folder) {
        // A device that has not enrolled yet.
        Err(error) if error.is_not_found() => return Ok(()),
        mode => mode?,
    };
    // One that was shared with this very user by root.
    let is_shared = mode == sandbox::SHARED && !processes::owns(folder);
    if mode & 0o077 != 0 && !is_shared {
        let name = folder.display();
        log::warn!("{name} had mode {mode:o}, so that others could enter it: it has 700 now");
        host.files.set_mode(folder, 0o700)?;
    }
    Ok(())
}

fn is_ours(host: &Host, folder: &Path) -> bool {
    OURS.iter().any(|top| folder.starts_with(host.root.at(top)))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::system::not_tried::not_tried;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    #[test]
    fn folders_of_the_identity_are_closed_again_and_others_are_left_alone() {
        let scratch = Scratch::new();
        let host = Host::real(Root::new(Some(scratch.path().to_owned())));
        let at = |path| host.root.at(path);
        let place = Place {
            key: at("/etc/kubeedge/certs/server.key"),
            certificate: at("/etc/kubeedge/certs/server.crt"),
            ca: at("/etc/shared/rootCA.crt"),
        };
        for folder in ["/etc/kubeedge/certs", "/etc/shared"] {
            host.files.make_dir(&at(folder), 0o755).unwrap();
        }
        close_folders(&host, &place);
        let modes = ["/etc/kubeedge", "/etc/kubeedge/certs", "/etc/shared"];
        let modes = modes.map(|folder| host.files.mode(&at(folder)).unwrap());
        assert_eq!(modes, [0o755, 0o700, 0o755]);
    }

    #[test]
    fn folders_that_are_not_there_yet_are_no_trouble() {
        let scratch = Scratch::new();
        let host = Host::real(Root::new(Some(scratch.path().to_owned())));
        assert!(close_folder(&host, &host.root.at("/etc/kubeedge/certs")).is_ok());
    }

    /// A Go cloudcore, and ours, keep their CA where edgecore has the certificate of it.
    #[test]
    fn the_key_of_a_cloud_on_the_same_machine_is_not_given_to_the_hub() {
        if !processes::is_root() {
            not_tried("files of another user: only root can make them");
            return;
        }
        let scratch = Scratch::new();
        let host = Host::real(Root::new(Some(scratch.path().to_owned())));
        let at = |path| host.root.at(path);
        let place = Place {
            key: at("/etc/kubeedge/certs/server.key"),
            certificate: at("/etc/kubeedge/certs/server.crt"),
            ca: at("/etc/kubeedge/ca/rootCA.crt"),
        };
        place.make_folders(&host.files).unwrap();
        let ca = at("/etc/kubeedge/ca");
        let names = [
            "rootCA.crt",
            "rootCA.crt.pending",
            ".rootCA.crt.tmp-0123456789abcdef",
            "rootCA.key",
            ".rootCA.key.tmp-0123456789abcdef",
            "streamCA.crt",
        ];
        let user = User {
            name: USER.to_owned(),
            uid: 61_234,
            gid: 61_235,
        };
        let owners = || {
            let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();
            (owner(&ca), names.map(|name| owner(&ca.join(name))))
        };
        for name in names {
            let mode = if name.contains("key") { 0o600 } else { 0o644 };
            host.files.replace(&ca.join(name), b"x", mode).unwrap();
        }
        host.files.replace(&place.key, b"x", 0o600).unwrap();
        let (own, root) = (user.uid, 0);
        // Also where an earlier version has given it away.
        for before in [None, Some(&user)] {
            sandbox::give_folder(&ca, before).unwrap();
            for _ in 0..2 {
                for folder in [&ca, place.key.parent().unwrap()] {
                    give(&place, folder, Some(&user)).unwrap();
                }
                assert_eq!(owners(), (root, [own, own, own, root, root, root]));
                // The hub writes its copy there, and can't take the others' away.
                assert_eq!(host.files.mode(&ca).unwrap(), 0o1770);
                assert_eq!(std::fs::metadata(&ca).unwrap().gid(), user.gid);
            }
        }
        let certs = std::fs::metadata(at("/etc/kubeedge/certs")).unwrap();
        assert_eq!((certs.uid(), certs.mode() & 0o7777), (own, 0o700));
        give(&place, &ca, None).unwrap();
        assert_eq!(owners(), (root, [root; 6]));
        // With nothing else in it, it is the hub's alone.
        for name in &names[3..] {
            std::fs::remove_file(ca.join(name)).unwrap();
        }
        give(&place, &ca, Some(&user)).unwrap();
        assert_eq!(std::fs::metadata(&ca).unwrap().uid(), own);
    }
}

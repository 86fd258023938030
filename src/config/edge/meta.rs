//! `modules.metaManager`: the API for programs on the device, and the folders that objects are delivered to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::read::Reader;
use super::ConfigError;

/// What edgecore does with what the cloud has sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeMeta {
    /// `metaServer.enable` and `metaServer.server`: where programs on the device may ask.
    pub server: Option<SocketAddr>,
    /// `deliver`, a key of ours.
    pub deliver: Vec<Delivery>,
    /// `stateDir`, a key of ours: where the cloud's objects are kept.
    pub state_dir: Option<PathBuf>,
}

/// A folder that objects of the cloud may be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub folder: PathBuf,
    /// A program with its arguments, to be run after every change; none if empty.
    pub hook: Vec<String>,
}

impl EdgeMeta {
    pub(super) fn read(&mut self, reader: &Reader<'_>) -> Result<(), ConfigError> {
        let mut enable = false;
        reader.flag("modules.metaManager.metaServer.enable", &mut enable)?;
        let mut server = ADDRESS.to_owned();
        reader.text(SERVER, &mut server)?;
        if enable {
            let address: Option<SocketAddr> = server.parse().ok();
            let Some(address) = address.filter(|it| it.ip().is_loopback()) else {
                let message = format!(
                    "{server:?}: an address of this device for itself alone, like {}",
                    ADDRESS
                );
                return Err(reader.error(SERVER, message));
            };
            self.server = Some(address);
        }
        let mut state = PathBuf::new();
        reader.read(STATE, "an absolute path", &mut state, |value| {
            let folder = PathBuf::from(value.as_str()?);
            (folder.as_os_str().is_empty() || is_plain(&folder)).then_some(folder)
        })?;
        self.state_dir = Some(state).filter(|state| !state.as_os_str().is_empty());
        reader.read(DELIVER, DELIVERIES, &mut self.deliver, |value| {
            value.as_array()?.iter().map(delivery).collect()
        })
    }
}

fn delivery(value: &Value) -> Option<Delivery> {
    let given = value.as_object()?;
    if given
        .keys()
        .any(|key| !matches!(key.as_str(), "folder" | "hook"))
    {
        return None;
    }
    let folder = PathBuf::from(given.get("folder")?.as_str()?);
    let hook: Option<Vec<String>> = match given.get("hook") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(hook) => hook
            .as_array()?
            .iter()
            .map(|word| word.as_str().map(str::to_owned))
            .collect(),
    };
    let hook = hook?;
    let is_program = hook
        .first()
        .is_none_or(|program| Path::new(program).is_absolute());
    (is_plain(&folder) && is_program).then_some(Delivery { folder, hook })
}

/// Absolute, below the top, and without `.` or `..`.
fn is_plain(folder: &Path) -> bool {
    use std::path::Component::{Normal, RootDir};
    let mut parts = folder.components();
    parts.next() == Some(RootDir)
        && folder.components().count() > 1
        && parts.all(|part| matches!(part, Normal(_)))
}

/// As KubeEdge's.
const ADDRESS: &str = "127.0.0.1:10550";
const SERVER: &str = "modules.metaManager.metaServer.server";
const STATE: &str = "modules.metaManager.stateDir";
const DELIVER: &str = "modules.metaManager.deliver";
const DELIVERIES: &str =
    "a list like [{folder: /etc/app, hook: [/etc/init.d/app, reload]}], with absolute paths";

#[cfg(test)]
mod tests {
    use super::super::EdgeConfig;

    fn load(meta: &str) -> Result<super::EdgeMeta, String> {
        let text = format!("modules:\n  metaManager:\n{meta}");
        let loaded = EdgeConfig::load(&text, "f");
        loaded
            .map(|(config, _)| config.meta)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_api_is_off_and_for_this_device_alone() {
        assert_eq!(load("    enable: true\n").unwrap().server, None);
        let on = load("    metaServer: {enable: true}\n").unwrap();
        assert_eq!(on.server, Some("127.0.0.1:10550".parse().unwrap()));
        let other = load("    metaServer: {enable: true, server: \"[::1]:1\"}\n").unwrap();
        assert_eq!(other.server, Some("[::1]:1".parse().unwrap()));
        for server in ["0.0.0.0:10550", "192.0.2.1:1", "localhost:1", "x"] {
            let error = load(&format!(
                "    metaServer: {{enable: true, server: \"{server}\"}}\n"
            ));
            assert!(error.unwrap_err().contains("for itself alone"), "{server}");
        }
        // What is off may stay as KubeEdge's edgecore had it.
        assert!(load("    metaServer: {server: 192.0.2.1:1}\n").is_ok());
    }

    #[test]
    fn folders_to_deliver_to_are_absolute_and_plain() {
        let given = load(
            "    deliver:\n    - folder: /etc/app\n      hook: [/bin/app, reload]\n    - {folder: /srv/x}\n",
        );
        let given = given.unwrap().deliver;
        assert_eq!(given[0].folder, std::path::Path::new("/etc/app"));
        assert_eq!((given[0].hook.len(), given[1].hook.len()), (2, 0));
        for wrong in [
            "folder: app",
            "folder: /",
            "folder: /etc/../x",
            "hook: [/bin/app]",
            "folder: /a, hook: [app]",
            "folder: /a, hook: app",
            "folder: /a, user: b",
        ] {
            let error = load(&format!("    deliver: [{{{wrong}}}]\n")).unwrap_err();
            assert!(error.contains("a list like"), "{wrong}: {error}");
        }
    }
}

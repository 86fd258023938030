//! A batch file, read and judged: every device, how it is reached, and what is to be done there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::BatchError;
use super::file::Part;
use super::packages::Packages;
use super::template;
use crate::config::Secret;
use crate::pki::hash::Sha256Hash;
use crate::system::files::Files;
use crate::system::host::Host;
use crate::system::names::Host as Name;
use crate::system::yaml::Document;

/// All that a batch file says.
pub struct Plan {
    pub nodes: Vec<Node>,
    /// Devices at a time.
    pub parallel: usize,
    pub packages: Packages,
}

/// One device.
pub struct Node {
    /// What it is called in the log.
    pub name: String,
    pub host: Name,
    pub port: u16,
    pub user: String,
    /// None: an agent, or what ssh finds by itself.
    pub key: Option<PathBuf>,
    /// Files that go with the executable.
    pub files: Vec<PathBuf>,
    /// What keadm is told.
    pub words: Vec<String>,
    /// What it reads from stdin.
    pub token: Option<Secret>,
}

impl Plan {
    pub fn read(host: &Host, path: &Path) -> Result<Plan, BatchError> {
        let text = host.files.read(path, crate::system::yaml::MAX_TEXT)?;
        let text = String::from_utf8_lossy(&text);
        let file = path.display().to_string();
        let document = Document::parse(&text, &file).map_err(BatchError::Syntax)?;
        let whole = Part::whole(&document, &file);
        whole.only(&["keadm", "nodes", "maxRunNum"])?;
        let keadm = whole.get("keadm");
        let packages = packages(host, &keadm)?;
        let values = keadm.get("cmdTplArgs").pairs()?;
        let nodes = whole.get("nodes");
        let mut plan = Plan {
            nodes: Vec::new(),
            parallel: match whole.get("maxRunNum").number(MAX_PARALLEL)? {
                None | Some(0) => PARALLEL,
                Some(number) => number as usize,
            },
            packages,
        };
        let mut names = HashSet::new();
        for part in nodes.items()? {
            let node = node(host, &part, &values)?;
            if !names.insert(node.name.clone()) {
                let message = format!("there are two nodes called {}", node.name);
                return Err(part.get("nodeName").error(&message));
            }
            plan.nodes.push(node);
        }
        match plan.nodes.len() {
            0 => Err(nodes.error("there are no nodes: see `kubeedge batch gen-config`")),
            count if count > MAX_NODES => {
                Err(nodes.error(&format!("there are more than {MAX_NODES} nodes")))
            }
            _ => Ok(plan),
        }
    }
}

fn packages(host: &Host, keadm: &Part<'_>) -> Result<Packages, BatchError> {
    keadm.only(&[
        "download",
        "keadmVersion",
        "archGroup",
        "offlinePackageDir",
        "cmdTplArgs",
    ])?;
    let download = keadm.get("download");
    download.only(&["enable", "url"])?;
    // This program brings itself, or what lies in the folder.
    if download.get("enable").flag()? == Some(true) && download.get("url").text()?.is_some() {
        return Err(download.get("url").error(
            "nothing is downloaded: put the executables into keadm.offlinePackageDir, and leave keadm.download out",
        ));
    }
    let group = keadm.get("archGroup");
    let group: Result<Vec<String>, BatchError> =
        group.items()?.iter().map(|part| part.needed()).collect();
    let folder = keadm.get("offlinePackageDir").text()?.map(PathBuf::from);
    Packages::find(host, folder, keadm.get("keadmVersion").text()?, group?)
}

fn node(host: &Host, part: &Part<'_>, values: &[(String, String)]) -> Result<Node, BatchError> {
    part.only(&["nodeName", "arch", "keadmCmd", "copyFrom", "ssh"])?;
    let name = part.get("nodeName");
    let label = name.needed()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !label.chars().all(is_plain) || label.starts_with('.') || label.len() > MAX_NAME {
        let message = format!("{} is letters, digits, -, _ and .", name.name());
        return Err(name.error(&message));
    }
    let ssh = part.get("ssh");
    ssh.only(&["ip", "username", "port", "auth"])?;
    let ip = ssh.get("ip");
    let address = ip.needed()?;
    // ssh would take it for an option.
    if address.starts_with('-') {
        return Err(ip.error(&format!("{} is no address", ip.name())));
    }
    let address: Result<Name, _> = address.parse();
    let user = ssh.get("username");
    let user_name = user.needed()?;
    if user_name.starts_with('-') || user_name.contains(char::is_control) {
        return Err(user.error(&format!("{} is no name of a user", user.name())));
    }
    let command = part.get("keadmCmd");
    let words = template::filled(&command.needed()?, values)
        .and_then(|text| template::words(&text))
        .map_err(|message| command.error(&format!("{}: {message}", command.name())));
    let mut words = words?;
    if words.is_empty() {
        return Err(command.error(&format!("{} is empty", command.name())));
    }
    let token = template::set_aside(&mut words);
    Ok(Node {
        name: label,
        host: address.map_err(|error| ip.error(&format!("{}: {error}", ip.name())))?,
        port: match ssh.get("port").number(u16::MAX.into())? {
            None | Some(0) => 22,
            Some(port) => port as u16,
        },
        user: user_name,
        key: key(&ssh.get("auth"))?,
        files: files(&host.files, &part.get("copyFrom"))?,
        words,
        token,
    })
}

/// The file of the key, if one is named.
fn key(auth: &Part<'_>) -> Result<Option<PathBuf>, BatchError> {
    auth.only(&["type", "passwordAuth", "privateKeyAuth"])?;
    let kind = auth.get("type");
    let named = auth.get("privateKeyAuth").get("privateKeyPath");
    match kind.text()?.as_deref() {
        Some("privateKey") => {
            let path = PathBuf::from(named.needed()?);
            match path.is_file() {
                true => Ok(Some(path)),
                false => Err(named.error(&format!("there is no key {}", path.display()))),
            }
        }
        Some("agent") | None => Ok(None),
        Some("password") => Err(kind.error(
            "passwords are not used: bring a key to the device by ssh-copy-id, and write type: privateKey with \
             privateKeyAuth.privateKeyPath, or type: agent",
        )),
        Some(_) => Err(kind.error(&format!("{} is privateKey or agent", kind.name()))),
    }
}

/// The files of the folder; not what lies deeper.
fn files(files: &Files, from: &Part<'_>) -> Result<Vec<PathBuf>, BatchError> {
    let Some(folder) = from.text()?.map(PathBuf::from) else {
        return Ok(Vec::new());
    };
    let names = match files.list(&folder, MAX_FILES) {
        Ok(names) => names,
        Err(error) => return Err(from.error(&format!("{}: {error}", from.name()))),
    };
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(&name);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@+=:,".contains(c);
        match path.is_file() {
            true if name == "keadm" => {
                return Err(from.error("a file keadm would stand where the executable goes"));
            }
            true if !name.chars().all(is_plain) || name.starts_with('-') => {
                return Err(from.error(&format!(
                    "{}: the name has more than letters, digits and -_.@+=:,",
                    path.display()
                )));
            }
            true => found.push(path),
            false => {}
        }
    }
    Ok(found)
}

impl Node {
    /// Another one as soon as something else is to be done, or elsewhere; whichever token there is.
    pub fn fingerprint(&self) -> String {
        let what = format!("{}\0{}", self.address(), self.words.join("\0"));
        let hash = Sha256Hash::of(what.as_bytes()).to_string();
        hash.chars().take(FINGERPRINT).collect()
    }

    /// `root@192.0.2.1:22`
    pub fn address(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }

    /// As it is run, without the token.
    pub fn command(&self) -> String {
        let words = self.words.iter().map(|word| template::quoted(word));
        format!("keadm {}", words.collect::<Vec<_>>().join(" "))
    }
}

const PARALLEL: usize = 5;
const MAX_PARALLEL: u64 = 100;
const MAX_NODES: usize = 10_000;
const MAX_FILES: usize = 100;
const MAX_NAME: usize = 100;
/// Digits.
const FINGERPRINT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::root::Root;
    use crate::system::scratch::Scratch;

    fn plan(text: &str) -> Result<Plan, String> {
        let (scratch, host) = (Scratch::new(), Host::real(Root::new(None)));
        let path = scratch.path().join("b.yaml");
        std::fs::write(&path, text).unwrap();
        Plan::read(&host, &path).map_err(|error| {
            let folder = scratch.path().display().to_string();
            error.to_string().replace(&format!("{folder}/"), "")
        })
    }

    fn node(more: &str) -> String {
        format!(
            "nodes:\n- nodeName: a\n  keadmCmd: version\n  ssh:\n    ip: 192.0.2.1\n    username: root\n{more}"
        )
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let plan = plan(&node("")).unwrap();
        assert_eq!((plan.parallel, plan.nodes.len()), (5, 1));
        let node = &plan.nodes[0];
        assert_eq!(node.address(), "root@192.0.2.1:22");
        assert_eq!(node.command(), "keadm version");
        assert!(node.key.is_none() && node.files.is_empty() && node.token.is_none());
    }

    #[test]
    fn the_token_changes_nothing_but_itself() {
        let with = |token: &str| {
            plan(&format!(
                "keadm: {{cmdTplArgs: {{token: {token}, cloud: 'h:1'}}}}\nnodes:\n- nodeName: a\n  \
                 keadmCmd: join --token {{{{.token}}}} -e {{{{.cloud}}}}\n  ssh: {{ip: h, username: u, port: 2222}}\n"
            ))
            .unwrap()
        };
        let (one, two) = (with("one"), with("two"));
        let (one, two) = (&one.nodes[0], &two.nodes[0]);
        assert_eq!(one.command(), "keadm join -e h:1 --token-file -");
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.token.as_ref().unwrap().expose(), "one");
        assert_eq!(one.address(), "u@h:2222");
    }

    #[test]
    fn faults_name_the_line() {
        for (text, expected) in [
            (
                node("    port: 70000\n"),
                "b.yaml:7: nodes[0].ssh.port is a whole number",
            ),
            (
                node("    prot: 22\n"),
                "b.yaml:7: nobody knows nodes[0].ssh.prot",
            ),
            (
                node("maxRunNum: -1\n"),
                "b.yaml:7: maxRunNum is a whole number",
            ),
            (
                node("maxRunNum: 0\nnode: []\n"),
                "b.yaml:8: nobody knows node",
            ),
            (
                node("    auth: {type: password}\n"),
                "b.yaml:7: passwords are not used",
            ),
            (
                node("    auth: {type: privateKey}\n"),
                "privateKeyPath is missing",
            ),
            (
                node("    auth: {type: privateKey, privateKeyAuth: {privateKeyPath: /none}}\n"),
                "there is no key /none",
            ),
            (
                node("- nodeName: a\n  keadmCmd: x\n  ssh: {ip: h, username: u}\n"),
                "two nodes called a",
            ),
            (node("  copyFrom: /none\n"), "nodes[0].copyFrom"),
            (
                node("").replace("version", "'{{.x}}'"),
                "{{.x}} has no value",
            ),
            (node("").replace("version", "'a | b'"), "no shell"),
            (
                node("").replace("nodeName: a", "nodeName: ../a"),
                "letters, digits",
            ),
            (
                node("").replace("root", "-oProxyCommand=x"),
                "no name of a user",
            ),
            (node("").replace("192.0.2.1", "-x"), "nodes[0].ssh.ip"),
            ("nodes: []\n".to_owned(), "there are no nodes"),
            ("nodes: {}\n".to_owned(), "nodes is a list"),
            ("- x\n".to_owned(), "is a map"),
            (
                node("keadm: {download: {enable: true, url: 'https://x'}}\n"),
                "nothing is downloaded",
            ),
        ] {
            match plan(&text) {
                Ok(_) => panic!("{text} is taken"),
                Err(error) => assert!(error.contains(expected), "{expected}\n{error}"),
            }
        }
        // KubeEdge's template has these.
        let theirs = node(
            "  copyFrom: ''\nkeadm: {download: {enable: true, url: ''}, keadmVersion: v1.23.1}\n",
        );
        assert!(plan(&theirs).is_ok());
    }
}

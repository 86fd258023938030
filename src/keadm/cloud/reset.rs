//! `reset cloud`: takes from the cluster what the release owns, and nothing else.

use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use serde_json::Value;

use super::cluster::{Cluster, text};
use super::records::Records;
use super::sweep::Going;
use super::{CloudError, init, install, sweep};
use crate::keadm::chart::bundle::Bundle;
use crate::keadm::chart::rendered::Rendered;
use crate::keadm::chart::{NAMESPACE, RELEASE};
use crate::keadm::out::{Format, Report};
use crate::keadm::{Command, Group};
use crate::kubernetes::release::Status;
use crate::kubernetes::resource::{CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES};
use crate::system::args::{self, Spec};
use crate::system::console;
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    name: "reset cloud",
    group: Group::Cloud,
    summary: "take the cloud side from a cluster",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to take away, and where
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the kubeconfig; default: $KUBECONFIG, the pod's own account, ~/.kube/config
    #[argh(option, arg_name = "file", default = "String::new()")]
    kube_config: String,
    /// the context of the kubeconfig; default: its current one
    #[argh(option, arg_name = "name", default = "String::new()")]
    context: String,
    /// do not ask
    #[argh(switch, short = 'y')]
    yes: bool,
    /// the same as --yes
    #[argh(switch)]
    force: bool,
    /// the custom resource definitions too, with all devices, jobs and rules
    #[argh(switch)]
    crds: bool,
    /// the namespace kubeedge too, with the CA: every device has to join again
    #[argh(switch)]
    namespace: bool,
    /// how long to wait until all is gone; default: 5m
    #[argh(option, arg_name = "duration", default = "String::from(\"5m\")")]
    timeout: String,
    /// say what would go, change nothing
    #[argh(switch, short = 'd')]
    dry_run: bool,
    /// text or json
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let outcome = start(host, &given.flags);
    init::end(SPEC.name, given.verbosity, given.flags.output, outcome)
}

fn start(host: &Host, flags: &Flags) -> Result<Option<Gone>, CloudError> {
    let limit = init::timeout(&flags.timeout)?;
    let cluster = Cluster::find(SPEC.name, host, &flags.kube_config, &flags.context)?;
    let wish = Wish {
        crds: flags.crds,
        namespace: flags.namespace,
    };
    let reset = Reset::look(&cluster, wish)?;
    if flags.dry_run {
        return Ok(Some(reset.would()));
    }
    if reset.is_nothing() {
        cluster.say(
            "the cluster has no cloud side that was installed by keadm or helm: nothing to do",
        );
        return Ok(Some(Gone::default()));
    }
    if !flags.yes && !flags.force && !reset.is_confirmed() {
        return Err(CloudError::NotConfirmed);
    }
    reset.go_on(&cluster, limit).map(Some)
}

/// What goes besides the release.
#[derive(Clone, Copy)]
pub struct Wish {
    pub crds: bool,
    pub namespace: bool,
}

pub struct Reset {
    records: Records,
    /// In the order in which they go: the last to be made is the first.
    going: Vec<Going>,
    /// In a manifest of the release, but not marked as the release's.
    kept: Vec<String>,
    namespace: Option<Going>,
    wish: Wish,
}

impl Reset {
    /// What there is to take away.
    pub fn look(cluster: &Cluster, wish: Wish) -> Result<Reset, CloudError> {
        let records = Records::read(cluster)?;
        let mut objects: Vec<Value> = Vec::new();
        for record in records.all() {
            for object in Rendered::parse(record.release.manifest())?.objects() {
                if !objects
                    .iter()
                    .any(|known| install::key(known) == install::key(object))
                {
                    objects.push(object.clone());
                }
            }
        }
        let found = sweep::find(cluster, objects.iter().rev())?;
        let mut going = found.going;
        if wish.crds {
            for crd in Bundle::open()?.crds()? {
                let name = text(&crd["metadata"], "name");
                going.extend(sweep::one(cluster, &CUSTOM_RESOURCE_DEFINITIONS, name)?);
            }
        }
        let namespace = match wish.namespace {
            true => sweep::one(cluster, &NAMESPACES, NAMESPACE)?,
            false => None,
        };
        Ok(Reset {
            records,
            going,
            kept: found.kept,
            namespace,
            wish,
        })
    }

    fn is_nothing(&self) -> bool {
        self.records.all().is_empty() && self.going.is_empty() && self.namespace.is_none()
    }

    fn names(&self) -> Vec<String> {
        let all = self.going.iter().chain(&self.namespace);
        all.map(|going| going.shown.clone()).collect()
    }

    fn would(&self) -> Gone {
        Gone {
            would: true,
            removed: self.names(),
            kept: self.kept.clone(),
            stays: self.stays(),
        }
    }

    fn is_confirmed(&self) -> bool {
        console::error("This takes from the cluster:");
        for name in self.names() {
            console::error(&format!("  {name}"));
        }
        console::error("Devices lose their cloud until it is installed again.");
        console::confirmed()
    }

    /// Takes it all away, and waits until it is gone. Run again it goes on where it has ended.
    pub fn go_on(self, cluster: &Cluster, limit: Duration) -> Result<Gone, CloudError> {
        if let Some(mut newest) = self.records.newest().cloned() {
            newest.mark(
                cluster,
                Status::Uninstalling,
                "Deletion in progress (or silently failed)",
            )?;
        }
        end(cluster, &self.going, limit)?;
        for record in self.records.all() {
            record.forget(cluster)?;
        }
        end(cluster, self.namespace.as_slice(), limit)?;
        Ok(Gone {
            would: false,
            removed: self.names(),
            stays: self.stays(),
            kept: self.kept,
        })
    }

    fn stays(&self) -> Vec<String> {
        let mut stays = Vec::new();
        if !self.wish.namespace {
            stays.push(format!(
                "the namespace {NAMESPACE} with the CA, so that devices find their way back after another \
                 `keadm init` (--namespace takes it)"
            ));
        }
        if !self.wish.crds {
            stays.push(
                "the custom resource definitions with all devices, jobs and rules (--crds takes them)".to_owned(),
            );
        }
        stays.push("the nodes: kubectl delete node NAME".to_owned());
        stays
    }
}

/// Asks them to go, and waits until they have.
fn end(cluster: &Cluster, going: &[Going], limit: Duration) -> Result<(), CloudError> {
    sweep::go(cluster, going)?;
    let left = sweep::wait(cluster, going, limit)?;
    match left.is_empty() {
        true => Ok(()),
        false => Err(CloudError::Left(left)),
    }
}

/// What became of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// Nothing has been changed.
    #[serde(rename = "dryRun")]
    would: bool,
    removed: Vec<String>,
    /// In the manifest, but not marked as the release's.
    kept: Vec<String>,
    /// Sentences about what was not asked for.
    stays: Vec<String>,
}

impl Report for Gone {
    fn text(&self) -> String {
        let word = if self.would { "would go" } else { "gone" };
        let mut text: String = self
            .removed
            .iter()
            .map(|name| format!("{word}: {name}\n"))
            .collect();
        for name in &self.kept {
            text += &format!("left: {name}, which is not marked as the release's\n");
        }
        for sentence in &self.stays {
            text += &format!("stays: {sentence}\n");
        }
        if !self.would && !self.removed.is_empty() {
            text += &format!("{RELEASE} is taken from the cluster\n");
        }
        text
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge reset cloud",
    about: "Takes the cloud side from a cluster: the objects of the release that carry its marks, and its records, as \
            `helm uninstall` does. Asks before. The namespace with the CA stays, so that devices need not join again, \
            and so do custom resource definitions and nodes. Nothing on this machine is touched. Run again it goes \
            on where it has ended.",
    examples: &[
        "kubeedge reset cloud --dry-run",
        "kubeedge reset cloud --yes --kube-config admin.conf",
    ],
    spellings: &[],
    ignored: &[],
};

//! `init`: installs the cloud side on a cluster, or goes on where an earlier install has ended.

use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::cluster::Cluster;
use super::records::{Record, Records};
use super::report::Deployed;
use super::{CloudError, apply, install, preflight};
use crate::config::duration;
use crate::keadm::chart::ChartError;
use crate::keadm::chart::given::Given;
use crate::keadm::chart::plan::Plan;
use crate::keadm::manifest;
use crate::keadm::out::{self, Format, Report};
use crate::keadm::version::KUBEEDGE;
use crate::keadm::{Command, Group};
use crate::kubernetes::release::Status;
use crate::system::args::{self, Ignored, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "init",
    group: Group::Cloud,
    summary: "install the cloud side on a Kubernetes cluster",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to install, and where
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// the kubeconfig; default: $KUBECONFIG, the pod's own account, ~/.kube/config
    #[argh(option, arg_name = "file", default = "String::new()")]
    kube_config: String,
    /// the context of the kubeconfig; default: its current one
    #[argh(option, arg_name = "name", default = "String::new()")]
    context: String,
    /// addresses that devices dial, separated by commas: they stand in the certificate
    #[argh(option, arg_name = "addresses", default = "String::new()")]
    advertise_address: String,
    /// a value of the chart, in Helm's grammar
    #[argh(option, arg_name = "key=value")]
    set: Vec<String>,
    /// a file of values; later ones count more
    #[argh(option, arg_name = "file")]
    values: Vec<String>,
    /// a file of values, or version=VERSION, iptablesmgr=external, iptablesmgr=internal, controllermanager
    #[argh(option, arg_name = "profile", default = "String::new()")]
    profile: String,
    /// the version of KubeEdge whose images are used; default: the one of this program
    #[argh(option, arg_name = "version", default = "String::new()")]
    kubeedge_version: String,
    /// where all images are fetched from, such as registry.example/kubeedge
    #[argh(option, arg_name = "place", default = "String::new()")]
    image_repository: String,
    /// how long to wait until all works; default: 5m
    #[argh(option, arg_name = "duration", default = "String::from(\"5m\")")]
    timeout: String,
    /// do not wait until it works (by default it waits)
    #[argh(switch)]
    force: bool,
    /// check all, print the objects, change nothing
    #[argh(switch, short = 'd')]
    dry_run: bool,
    /// print the objects too
    #[argh(switch)]
    print: bool,
    /// for templates of one's own: refused, they are written for Helm
    #[argh(option, arg_name = "folder", default = "String::new()", hidden_help)]
    external_helm_root: String,
    /// for further objects: refused, `manifest` prints them
    #[argh(
        option,
        short = 'f',
        arg_name = "files",
        default = "String::new()",
        hidden_help
    )]
    files: String,
    /// text or json
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let outcome = start(host, &flags);
    end(SPEC.name, given.verbosity, flags.output, outcome)
}

fn start(host: &Host, flags: &Flags) -> Result<Option<Deployed>, CloudError> {
    manifest::refuse_helm_root(&flags.external_helm_root)?;
    if !flags.files.is_empty() {
        return Err(CloudError::Chart(ChartError::Flag {
            flag: "--files",
            why: "only objects of the release are installed: apply others with kubectl, or print all with \
                  `keadm manifest --files`"
                .to_owned(),
        }));
    }
    let limit = timeout(&flags.timeout)?;
    let given = Given {
        values: flags.values.clone(),
        profile: flags.profile.clone(),
        version: flags.kubeedge_version.clone(),
        repository: flags.image_repository.clone(),
        addresses: flags.advertise_address.clone(),
        sets: flags.set.clone(),
    };
    let plan = Plan::make(host, &given, serde_json::json!({}))?;
    let cluster = Cluster::find(SPEC.name, host, &flags.kube_config, &flags.context)?;
    for warning in &plan.warnings {
        cluster.say(warning);
    }
    let found = look(&cluster, &plan)?;
    if flags.dry_run || flags.print {
        console::out(&manifest::text(host, &plan, true)?);
    }
    if flags.dry_run {
        cluster.say("nothing was changed: the objects were only printed");
        return Ok(None);
    }
    let limits = Limits {
        steps: limit,
        ready: (!flags.force).then_some(limit),
    };
    go_on(&cluster, &plan, found, &limits).map(Some)
}

/// How long to wait.
pub struct Limits {
    pub steps: Duration,
    /// Until all works; none not to wait for that.
    pub ready: Option<Duration>,
}

pub fn timeout(text: &str) -> Result<Duration, CloudError> {
    let limit = duration::flag(text);
    limit.map_err(|error| {
        CloudError::Chart(ChartError::Flag {
            flag: "--timeout",
            why: format!("\"{text}\" is no duration ({error}): write it as 5m or 90s"),
        })
    })
}

/// What is there before the install.
pub struct Found {
    records: Records,
    /// The very same is deployed already, as this record says.
    same: Option<Record>,
}

/// Everything that can be known before something is changed.
pub fn look(cluster: &Cluster, plan: &Plan) -> Result<Found, CloudError> {
    let version = preflight::version(cluster)?;
    let needs = preflight::needs(cluster, plan.rendered.objects())?;
    preflight::permissions(cluster, &needs)?;
    let records = Records::read(cluster)?;
    let same = records
        .deployed()
        .filter(|record| is_same(record, plan))
        .cloned();
    if same.is_none() {
        may_install(cluster, &records)?;
        preflight::adoption(cluster, plan.rendered.objects())?;
    }
    cluster.say(&format!(
        "the cluster runs Kubernetes {version}; installing KubeEdge {KUBEEDGE}"
    ));
    Ok(Found { records, same })
}

fn may_install(cluster: &Cluster, records: &Records) -> Result<(), CloudError> {
    if let Some(deployed) = records.deployed() {
        let revision = deployed.release.revision();
        return Err(CloudError::AlreadyInstalled { revision });
    }
    let Some(newest) = records.newest() else {
        return Ok(());
    };
    match newest.release.status() {
        Status::PendingUpgrade | Status::PendingRollback => Err(CloudError::Upgrading),
        Status::Uninstalling => Err(CloudError::Leaving),
        status => {
            cluster.say(&format!(
                "an earlier install has not come to its end ({}): going on from there",
                status.as_str()
            ));
            Ok(())
        }
    }
}

fn is_same(record: &Record, plan: &Plan) -> bool {
    record.release.manifest() == plan.rendered.text() && record.release.config() == plan.config
}

/// Makes all of it. What is there already is brought to what it should be.
pub fn go_on(
    cluster: &Cluster,
    plan: &Plan,
    found: Found,
    limits: &Limits,
) -> Result<Deployed, CloudError> {
    let image = &plan.values.cloud_core.image;
    if let Some(record) = found.same {
        install::prepare(cluster, plan, limits.steps)?;
        install::deploy(
            cluster,
            plan.rendered.sources.iter().map(|it| &it.object),
            limits.ready,
        )?;
        cluster.say("it was installed before, with the same values: no new revision");
        return Ok(Deployed::of(&record.release, image, cluster.now()));
    }
    apply::namespace(cluster, &plan.bundle.read("namespace.yaml")?)?;
    let newest = found.records.newest().map(|it| &it.release);
    let revision = newest.map_or(0, |it| it.revision()) + 1;
    let release = install::draft(
        cluster,
        plan,
        revision,
        Status::PendingInstall,
        "Initial install underway",
        None,
    );
    let mut record = Record::begin(cluster, release)?;
    let done = install::prepare(cluster, plan, limits.steps).and_then(|hooks| {
        record.release.set_hooks(hooks);
        install::deploy(
            cluster,
            plan.rendered.sources.iter().map(|it| &it.object),
            limits.ready,
        )
    });
    if let Err(error) = done {
        install::failed(cluster, &mut record, "Release \"cloudcore\"", &error);
        return Err(error);
    }
    install::settle(cluster, &mut record, &found.records, "Install complete")?;
    Ok(Deployed::of(&record.release, image, cluster.now()))
}

/// Shows a result; the same for the commands beside this one.
pub fn end<R: Report>(
    name: &str,
    verbosity: Option<u8>,
    format: Format,
    outcome: Result<Option<R>, CloudError>,
) -> u8 {
    match outcome {
        Ok(report) => {
            if let Some(report) = report {
                out::show(&report, format);
            }
            exit::OK
        }
        Err(error) => out::fail(name, &error, verbosity, format, error.code()),
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge init",
    about: "Installs the cloud side on a Kubernetes cluster, from any machine that has a kubeconfig: custom resource \
            definitions, the namespace kubeedge, roles, configuration, cloudcore and its service. The release is \
            recorded as Helm records it, so that helm and other versions of keadm find it. What failed or was \
            interrupted is finished by running the same command again. On a machine without a cluster, run \
            cloudcore itself.",
    examples: &[
        "kubeedge init --advertise-address 192.0.2.1",
        "kubeedge init --kube-config admin.conf --set cloudCore.replicaCount=2 --dry-run",
    ],
    spellings: &[("manifests", "files")],
    // What is done in any case without --force.
    ignored: &[&[Ignored {
        long: "wait",
        short: None,
        value: false,
        why: "",
    }]],
};

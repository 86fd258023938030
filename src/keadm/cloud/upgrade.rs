//! `upgrade cloud`: another version or other values, with a way back when it does not work.

use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::init::{self, Limits};
use super::records::{Record, Records};
use super::report::Deployed;
use super::{CloudError, apply, install, preflight, sweep};
use crate::keadm::chart::given::{Given, is_release};
use crate::keadm::chart::plan::Plan;
use crate::keadm::chart::rendered::Rendered;
use crate::keadm::chart::{NAMESPACE, RELEASE, tree};
use crate::keadm::manifest;
use crate::keadm::out::Format;
use crate::keadm::version::KUBEEDGE;
use crate::keadm::{Command, Group};
use crate::kubernetes::release::{Release, Status};
use crate::kubernetes::resource::CONFIG_MAPS;
use crate::system::args::{self, Ignored, Spec};
use crate::system::console;
use crate::system::host::Host;

pub static COMMAND: Command = Command {
    name: "upgrade cloud",
    group: Group::Cloud,
    summary: "bring the cloud side on a cluster to this version",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to change, and where
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
    /// drop the values of earlier runs (by default they are kept)
    #[argh(switch)]
    reset_values: bool,
    /// print all that was given, now and before, at the end
    #[argh(switch)]
    print_final_values: bool,
    /// how long to wait until all works; default: 5m
    #[argh(option, arg_name = "duration", default = "String::from(\"5m\")")]
    timeout: String,
    /// do not wait until it works, and so do not go back when it does not
    #[argh(switch)]
    force: bool,
    /// check all, print the objects, change nothing
    #[argh(switch, short = 'd')]
    dry_run: bool,
    /// for templates of one's own: refused, they are written for Helm
    #[argh(option, arg_name = "folder", default = "String::new()", hidden_help)]
    external_helm_root: String,
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

fn start(host: &Host, flags: &Flags) -> Result<Option<Deployed>, CloudError> {
    manifest::refuse_helm_root(&flags.external_helm_root)?;
    let limit = init::timeout(&flags.timeout)?;
    let given = Given {
        values: flags.values.clone(),
        profile: flags.profile.clone(),
        version: flags.kubeedge_version.clone(),
        repository: flags.image_repository.clone(),
        addresses: flags.advertise_address.clone(),
        sets: flags.set.clone(),
    };
    // What is mistyped is said without asking anybody.
    given.read(host, json!({}))?;
    let cluster = Cluster::find(SPEC.name, host, &flags.kube_config, &flags.context)?;
    let upgrade = look(&cluster, &given, flags.reset_values)?;
    if flags.dry_run {
        console::out(&manifest::text(host, &upgrade.plan, true)?);
        cluster.say("nothing was changed: the objects were only printed");
        return Ok(None);
    }
    let limits = Limits {
        steps: limit,
        ready: (!flags.force).then_some(limit),
    };
    let config = flags
        .print_final_values
        .then(|| upgrade.plan.config.clone());
    let deployed = go_on(&cluster, upgrade, &limits)?;
    Ok(Some(match config {
        Some(config) => deployed.with_values(config),
        None => deployed,
    }))
}

/// What is there, and what shall be.
pub struct Upgrade {
    records: Records,
    pub plan: Plan,
    /// Objects of the revisions since the one that works, by kind and name.
    before: Vec<Value>,
    /// cloudcore.yaml as it is, where it is not what the release made of it.
    changed_by_hand: Option<String>,
}

/// Everything that can be known before something is changed.
pub fn look(cluster: &Cluster, given: &Given, forget: bool) -> Result<Upgrade, CloudError> {
    let version = preflight::version(cluster)?;
    let records = Records::read(cluster)?;
    let newest = records.newest().ok_or(CloudError::NotInstalled)?;
    match newest.release.status() {
        Status::Uninstalled => return Err(CloudError::NotInstalled),
        Status::Uninstalling => return Err(CloudError::Leaving),
        status if status.is_pending() => cluster.say(&format!(
            "an earlier change has not come to its end ({}): going on from there",
            status.as_str()
        )),
        _ => {}
    }
    let base = records.deployed().unwrap_or(newest);
    let earlier = match forget {
        true => json!({}),
        false => earlier(cluster, &base.release),
    };
    let plan = Plan::make(&cluster.host, given, earlier)?;
    for warning in &plan.warnings {
        cluster.say(warning);
    }
    let mut before: Vec<Value> = Vec::new();
    for record in records.since_deployed() {
        for object in Rendered::parse(record.release.manifest())?.objects() {
            if !before
                .iter()
                .any(|known| install::key(known) == install::key(object))
            {
                before.push(object.clone());
            }
        }
    }
    let needs = preflight::needs(cluster, plan.rendered.objects().chain(&before))?;
    preflight::permissions(cluster, &needs)?;
    let fresh = plan.rendered.objects().filter(|object| {
        !before
            .iter()
            .any(|known| install::key(known) == install::key(object))
    });
    preflight::adoption(cluster, fresh)?;
    let changed_by_hand = changed_by_hand(cluster, base)?;
    cluster.say(&format!(
        "the cluster runs Kubernetes {version}; KubeEdge v{} becomes {KUBEEDGE}",
        base.release.chart_version().trim_start_matches('v')
    ));
    Ok(Upgrade {
        records,
        plan,
        before,
        changed_by_hand,
    })
}

/// What was given before, and what the chart of that time gave without being asked and this one does not.
fn earlier(cluster: &Cluster, release: &Release) -> Value {
    let config = release.config();
    let had = tree::complete(release.chart_values(), &config);
    let mut earlier = without_tags(config);
    if had["mosquitto"]["enable"] == true && earlier["mosquitto"]["enable"].is_null() {
        cluster.say("the broker on edge nodes stays, as this release has it: --set mosquitto.enable=false takes it away");
        tree::lay_over(&mut earlier, &json!({"mosquitto": {"enable": true}}));
    }
    earlier
}

/// Without the tags of KubeEdge's own versions: every release has those of its version, and Go's keadm writes them
/// down as if they had been given.
fn without_tags(mut config: Value) -> Value {
    for component in [
        "cloudCore",
        "iptablesManager",
        "controllerManager",
        "admission",
    ] {
        let part = config.get_mut(component).and_then(Value::as_object_mut);
        let Some(part) = part else { continue };
        if let Some(image) = part.get_mut("image").and_then(Value::as_object_mut) {
            let tag = image.get("tag").and_then(Value::as_str);
            if tag.is_some_and(is_release) {
                image.remove("tag");
            }
            if image.is_empty() {
                part.remove("image");
            }
        }
        if part.is_empty() {
            config
                .as_object_mut()
                .and_then(|config| config.remove(component));
        }
    }
    config
}

fn changed_by_hand(cluster: &Cluster, base: &Record) -> Result<Option<String>, CloudError> {
    let live = cluster.get(&CONFIG_MAPS, Some(NAMESPACE), RELEASE)?;
    let Some(live) = live.map(Value::Object) else {
        return Ok(None);
    };
    let made = Rendered::parse(base.release.manifest())?;
    let made = made
        .objects()
        .find(|object| install::key(object) == ("ConfigMap", RELEASE));
    let text = |object: &Value| object["data"]["cloudcore.yaml"].as_str().map(str::to_owned);
    let now = text(&live);
    Ok(now.filter(|now| made.and_then(text).as_ref() != Some(now)))
}

/// Changes all of it; goes back when it does not work.
pub fn go_on(cluster: &Cluster, upgrade: Upgrade, limits: &Limits) -> Result<Deployed, CloudError> {
    let Upgrade {
        records,
        plan,
        before,
        changed_by_hand,
    } = upgrade;
    let newest = records.newest().ok_or(CloudError::NotInstalled)?;
    let release = install::draft(
        cluster,
        &plan,
        newest.release.revision() + 1,
        Status::PendingUpgrade,
        "Preparing upgrade",
        newest.release.first_deployed(),
    );
    let mut record = Record::begin(cluster, release)?;
    let done = install::prepare(cluster, &plan, limits.steps).and_then(|hooks| {
        record.release.set_hooks(hooks);
        apply::all(cluster, plan.rendered.objects())?;
        let vanished = before.iter().filter(|old| {
            !plan
                .rendered
                .objects()
                .any(|object| install::key(object) == install::key(old))
        });
        for kept in sweep::all(cluster, vanished)?.kept {
            cluster.say(&format!("{kept} stays: it is not the release's any more"));
        }
        install::deploy(
            cluster,
            plan.rendered.sources.iter().map(|it| &it.object),
            limits.ready,
        )
    });
    if let Err(error) = done {
        install::failed(cluster, &mut record, "Upgrade \"cloudcore\"", &error);
        return Err(match (records.deployed(), limits.ready) {
            (Some(old), Some(limit)) => go_back(cluster, &plan, &record, old, error, limit),
            _ => error,
        });
    }
    install::settle(cluster, &mut record, &records, "Upgrade complete")?;
    let image = &plan.values.cloud_core.image;
    Ok(Deployed::of(&record.release, image, cluster.now()).with_previous(changed_by_hand))
}

/// Puts back what the last revision that worked had, as a revision of its own; gives the error to end with.
fn go_back(
    cluster: &Cluster,
    plan: &Plan,
    failed: &Record,
    old: &Record,
    error: CloudError,
    limit: Duration,
) -> CloudError {
    let to = old.release.revision();
    cluster.say(&format!(
        "it does not work: {}: going back to revision {to}",
        error.brief()
    ));
    match put_back(cluster, plan, failed, old, limit) {
        Ok(()) => CloudError::RolledBack {
            why: Box::new(error),
            to,
        },
        Err(then) => CloudError::RollbackFailed {
            why: Box::new(error),
            then: Box::new(then),
        },
    }
}

fn put_back(
    cluster: &Cluster,
    plan: &Plan,
    failed: &Record,
    old: &Record,
    limit: Duration,
) -> Result<(), CloudError> {
    let objects = Rendered::parse(old.release.manifest())?;
    let description = format!("Rollback to {}", old.release.revision());
    let revision = failed.release.revision() + 1;
    let release = old.release.again(
        revision,
        Status::PendingRollback,
        &description,
        cluster.now(),
    );
    let mut record = Record::begin(cluster, release)?;
    let objects: Vec<Value> = objects.objects().cloned().collect();
    let extra = plan.rendered.objects().filter(|object| {
        !objects
            .iter()
            .any(|known| install::key(known) == install::key(object))
    });
    let done = sweep::all(cluster, extra)
        .and_then(|_| install::deploy(cluster, objects.iter(), Some(limit)));
    if let Err(error) = done {
        install::failed(cluster, &mut record, &description, &error);
        return Err(error);
    }
    let records = Records::read(cluster)?;
    install::settle(
        cluster,
        &mut record,
        &records.without(revision),
        &description,
    )
}

static SPEC: Spec = Spec {
    name: "kubeedge upgrade cloud",
    about: "Brings the cloud side on a cluster to the version of this program, or to other values. What was given \
            before stays, unless it is given anew. Custom resource definitions are brought up to date, objects that \
            are not needed any more go, and the certificate for streams of logs is renewed in time. When it does not \
            work within the time, what was before is put back. Works on a release that was made by helm or by \
            KubeEdge's own keadm.",
    examples: &[
        "kubeedge upgrade cloud",
        "kubeedge upgrade cloud --set cloudCore.replicaCount=3 --print-final-values",
    ],
    spellings: &[],
    // Both are done in any case.
    ignored: &[&[
        Ignored {
            long: "reuse-values",
            short: None,
            value: false,
            why: "",
        },
        Ignored {
            long: "wait",
            short: None,
            value: false,
            why: "",
        },
    ]],
};

//! `manifest`: the objects of the cloud side as YAML, without a cluster.

use std::path::Path;

use argh::{ArgsInfo, FromArgs};

use super::chart::given::Given;
use super::chart::plan::Plan;
use super::chart::rendered::{Rendered, Source, document, documents};
use super::chart::{ChartError, RELEASE, stream};
use super::{Command, Group};
use crate::system::args::{self, Ignored, Spec};
use crate::system::host::Host;
use crate::system::yaml::MAX_TEXT;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    name: "manifest",
    group: Group::Cloud,
    summary: "print the cloud side as objects for kubectl apply",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// what to print
#[derive(FromArgs, ArgsInfo)]
struct Flags {
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
    /// addresses that devices dial, separated by commas: they stand in the certificate
    #[argh(option, arg_name = "addresses", default = "String::new()")]
    advertise_address: String,
    /// where all images are fetched from, such as registry.example/kubeedge
    #[argh(option, arg_name = "place", default = "String::new()")]
    image_repository: String,
    /// files with further objects, separated by commas, to print before the others
    #[argh(option, short = 'f', arg_name = "files", default = "String::new()")]
    files: String,
    /// leave the custom resource definitions out
    #[argh(switch)]
    skip_crds: bool,
    /// for templates of one's own: refused, they are written for Helm
    #[argh(option, arg_name = "folder", default = "String::new()", hidden_help)]
    external_helm_root: String,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    match print(host, &flags) {
        Ok((text, warnings)) => {
            for warning in warnings {
                console::complain(SPEC.name, &warning);
            }
            if !console::out(&text) {
                console::complain(
                    SPEC.name,
                    "nobody read the objects: the rest was not printed",
                );
                return exit::FAILURE;
            }
            exit::OK
        }
        Err(error) => args::fail(SPEC.name, &error, given.verbosity, error.code()),
    }
}

fn print(host: &Host, flags: &Flags) -> Result<(String, Vec<String>), ChartError> {
    let given = Given {
        values: flags.values.clone(),
        profile: flags.profile.clone(),
        version: flags.kubeedge_version.clone(),
        repository: flags.image_repository.clone(),
        addresses: flags.advertise_address.clone(),
        sets: flags.set.clone(),
    };
    refuse_helm_root(&flags.external_helm_root)?;
    let further = further(host, &flags.files)?;
    let plan = Plan::make(host, &given, serde_json::json!({}))?;
    Ok((
        further + &text(host, &plan, !flags.skip_crds)?,
        plan.warnings,
    ))
}

/// Everything that a cluster gets: the namespace, the definitions, the Secret of the stream, the objects.
pub fn text(host: &Host, plan: &Plan, with_crds: bool) -> Result<String, ChartError> {
    let mut text = document(
        "cloudcore/namespace.yaml",
        &plan.bundle.read("namespace.yaml")?,
    );
    if with_crds {
        for crd in plan.bundle.crds()? {
            let plural = crd["spec"]["names"]["plural"].as_str().unwrap_or_default();
            text += &document(&format!("{RELEASE}/crds/{plural}.yaml"), &crd);
        }
    }
    let mut sources = plan.rendered.sources.clone();
    if plan.values.has_stream_certificate() {
        sources.push(Source {
            file: stream::FILE.to_owned(),
            object: stream::secret(&plan.bundle, &plan.values, host.clock.now())?,
        });
    }
    Ok(text + &Rendered::in_order(sources).text())
}

/// Templates of Helm are programs in another language.
pub fn refuse_helm_root(folder: &str) -> Result<(), ChartError> {
    match folder {
        "" => Ok(()),
        _ => Err(ChartError::Flag {
            flag: "--external-helm-root",
            why: "Helm's templates are not run here: change the objects with --values FILE or --set, or \
                  print them with `keadm manifest` and change the text"
                .to_owned(),
        }),
    }
}

/// The documents of the files, as they are.
fn further(host: &Host, names: &str) -> Result<String, ChartError> {
    let mut text = String::new();
    for name in names.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let bytes = host.files.read(Path::new(name), MAX_TEXT)?;
        for part in documents(&String::from_utf8_lossy(&bytes)) {
            let has_content = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
            if part.lines().any(has_content) {
                text += &format!("---\n# Source: {name}\n{}\n", part.trim_end());
            }
        }
    }
    Ok(text)
}

static SPEC: Spec = Spec {
    name: "kubeedge manifest",
    about: "Prints all objects of the cloud side as YAML: namespace, custom resource definitions, roles, \
            configuration, the deployment with its service. Needs no cluster and no network. `init` makes the same \
            objects and records them as a release, as Helm does. The Secret for streams of logs has a new key at \
            each run.",
    examples: &[
        "kubeedge manifest --advertise-address 192.0.2.1 | kubectl apply -f -",
        "kubeedge manifest --image-repository registry.example/kubeedge --set cloudCore.replicaCount=2",
    ],
    spellings: &[("manifests", "files")],
    ignored: &[&[
        Ignored {
            long: "kube-config",
            short: None,
            value: true,
            why: "no cluster is asked",
        },
        Ignored {
            long: "dry-run",
            short: Some('d'),
            value: false,
            why: "nothing is changed in any case",
        },
        Ignored {
            long: "force",
            short: None,
            value: false,
            why: "",
        },
    ]],
};

//! `config images list`: the images of KubeEdge, to fetch them into a registry without a way out.

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use crate::keadm::chart::bundle::Bundle;
use crate::keadm::chart::values::Values;
use crate::keadm::chart::{ChartError, given::Given};
use crate::keadm::out::{self, Format, Report};
use crate::keadm::{Command, Group};
use crate::system::args::{self, Spec};
use crate::system::host::Host;

pub static LIST: Command = Command {
    name: "config images list",
    group: Group::Cloud,
    summary: "list the images of the cloud side",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// which images
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// cloud, edge or all (with what other edges install from); default: all
    #[argh(option, arg_name = "part", default = "String::from(\"all\")")]
    part: String,
    /// the version of KubeEdge; default: the one of this program
    #[argh(option, arg_name = "version", default = "String::new()")]
    kubeedge_version: String,
    /// where they are fetched from, such as registry.example/kubeedge
    #[argh(option, arg_name = "place", default = "String::new()")]
    image_repository: String,
    /// text, which is an image a line, or json; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Format::Text")]
    output: Format,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let flags = given.flags;
    let images = of(
        host,
        &flags.part,
        &flags.kubeedge_version,
        &flags.image_repository,
    );
    let images = images.map(|images| Images { images });
    out::finish(
        SPEC.name,
        given.verbosity,
        flags.output,
        images,
        ChartError::code,
    )
}

/// The images of a part (cloud, edge, all) in a version; empty for the ones of this program.
pub fn of(
    host: &Host,
    part: &str,
    version: &str,
    repository: &str,
) -> Result<Vec<String>, ChartError> {
    let part = part.to_lowercase();
    let with_edge = match part.as_str() {
        "cloud" => false,
        "edge" | "all" => true,
        _ => {
            return Err(ChartError::Flag {
                flag: "--part",
                why: format!("\"{part}\" is none of cloud, edge and all"),
            });
        }
    };
    let bundle = Bundle::open()?;
    let asked = Given {
        version: version.to_owned(),
        repository: repository.to_owned(),
        ..Given::default()
    };
    let asked = asked.read(host, serde_json::json!({}))?;
    let own = bundle.read("values-rust.yaml")?;
    let values = Values::read(&Values::tree(&bundle.read("values.yaml")?, &own, &asked)?)?;
    let mut images = Vec::new();
    if part != "edge" {
        images.extend([
            values.admission.image,
            values.cloud_core.image.clone(),
            values.iptables_manager.image,
            values.controller_manager.image,
        ]);
    }
    if with_edge {
        // It has the programs for devices that are installed by KubeEdge's own keadm.
        images.push(
            values
                .cloud_core
                .image
                .replace("/cloudcore:", "/installation-package:"),
        );
    }
    images.sort();
    Ok(images)
}

#[derive(Serialize)]
struct Images {
    images: Vec<String>,
}

impl Report for Images {
    fn text(&self) -> String {
        self.images
            .iter()
            .map(|image| format!("{image}\n"))
            .collect()
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge config images list",
    about: "Lists the images of KubeEdge's components in this version, to copy them into a registry that the cluster \
            reaches; `--image-repository` of `init` and `manifest` then names that registry. Devices need none of \
            them: they run this executable.",
    examples: &[
        "kubeedge config images list",
        "kubeedge config images list --part cloud --image-repository registry.example/kubeedge",
    ],
    spellings: &[],
    ignored: &[],
};

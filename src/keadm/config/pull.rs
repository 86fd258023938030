//! `config images pull`: images out of registries into a folder or an archive, to carry to where no
//! registry is reached.

use std::fmt;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::images;
use crate::keadm::chart::ChartError;
use crate::keadm::{Command, Group};
use crate::registry::given::{Given, GivenError};
use crate::registry::platform::{Platform, PlatformError};
use crate::registry::progress::{Lines, size};
use crate::registry::reference::{Reference, ReferenceError};
use crate::registry::{Pulled, Puller, RegistryError, Target};
use crate::system::args::{self, Ignored, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static PULL: Command = Command {
    name: "config images pull",
    group: Group::Cloud,
    summary: "fetch images into a folder or an archive",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

/// which images, from where, to where
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// where they go: a folder, or an archive where it ends in .tar
    #[argh(option, short = 'o', arg_name = "path", default = "String::new()")]
    output: String,
    /// for which machines, such as linux/arm/v7; default: machines like this one
    #[argh(
        option,
        arg_name = "platform",
        from_str_fn(platform),
        default = "Platform::here()"
    )]
    platform: Platform,
    /// an image to fetch instead of KubeEdge's, such as registry.example/app:v1
    #[argh(option, arg_name = "name")]
    image: Vec<String>,
    /// cloud, edge or all (with what other edges install from); default: all
    #[argh(option, arg_name = "part", default = "String::from(\"all\")")]
    part: String,
    /// the version of KubeEdge; default: the one of this program
    #[argh(option, arg_name = "version", default = "String::new()")]
    kubeedge_version: String,
    /// where they are fetched from, such as registry.example/kubeedge
    #[argh(option, arg_name = "place", default = "String::new()")]
    image_repository: String,
    /// user and password: docker's config.json, or a line user:password
    #[argh(option, arg_name = "file", default = "String::new()")]
    auth_file: String,
    /// certificates (PEM) of authorities to trust besides those of this machine
    #[argh(option, arg_name = "file", default = "String::new()")]
    ca_file: String,
    /// an HTTP proxy, as http://HOST:PORT; default: HTTPS_PROXY of the environment
    #[argh(option, arg_name = "url", default = "String::new()")]
    proxy: String,
    /// speak to registries without TLS
    #[argh(switch)]
    plain_http: bool,
}

fn run(args: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, args) {
        Ok(given) => given,
        Err(code) => return code,
    };
    match pull(host, &given.flags) {
        Ok(pulled) => {
            for image in &pulled {
                let (platform, size) = (&image.platform, size(image.size));
                console::line(&format!(
                    "{}@{} {platform} {size}",
                    image.image, image.digest
                ));
            }
            exit::OK
        }
        Err(error) => args::fail(SPEC.name, &error, given.verbosity, error.code()),
    }
}

/// One that images are made for, as far as is known; in lists of images there may be others.
fn platform(text: &str) -> Result<Platform, String> {
    let known = |it: &Platform| {
        ["linux", "windows"].contains(&it.os.as_str())
            && ARCHITECTURES.contains(&it.architecture.as_str())
    };
    let read = text.parse().ok().filter(known);
    read.ok_or_else(|| PlatformError.to_string())
}

fn pull(host: &Host, flags: &Flags) -> Result<Vec<Pulled>, PullError> {
    if flags.output.is_empty() {
        return Err(PullError::NoOutput);
    }
    let names = match flags.image.is_empty() {
        false => flags.image.clone(),
        true => images::of(
            host,
            &flags.part,
            &flags.kubeedge_version,
            &flags.image_repository,
        )?,
    };
    let references = names.iter().map(|name| {
        name.parse().map_err(|source| PullError::Name {
            name: name.chars().take(120).collect(),
            source,
        })
    });
    let references = references.collect::<Result<Vec<Reference>, _>>()?;
    let given = Given {
        auth_file: flags.auth_file.clone(),
        ca_file: flags.ca_file.clone(),
        proxy: flags.proxy.clone(),
        plain_http: flags.plain_http,
    };
    let path = PathBuf::from(&flags.output);
    let target = match path.extension().is_some_and(|it| it == "tar") {
        true => Target::Archive(path),
        false => Target::Folder(path),
    };
    let puller = Puller::new(given.options(host)?)?;
    let mut progress = Lines::new(console::error);
    Ok(puller.pull(&references, &flags.platform, &target, &mut progress)?)
}

/// Why nothing was pulled.
#[derive(Debug)]
enum PullError {
    Chart(ChartError),
    Given(GivenError),
    Name {
        name: String,
        source: ReferenceError,
    },
    NoOutput,
    Registry(RegistryError),
}

impl PullError {
    fn code(&self) -> u8 {
        match self {
            PullError::Chart(error) => error.code(),
            PullError::Given(GivenError::Proxy(_)) => exit::USAGE,
            PullError::Given(_) => exit::CONFIG,
            PullError::Name { .. } | PullError::NoOutput => exit::USAGE,
            PullError::Registry(error) => error.code(),
        }
    }
}

impl From<ChartError> for PullError {
    fn from(error: ChartError) -> PullError {
        PullError::Chart(error)
    }
}

impl From<GivenError> for PullError {
    fn from(error: GivenError) -> PullError {
        PullError::Given(error)
    }
}

impl From<RegistryError> for PullError {
    fn from(error: RegistryError) -> PullError {
        PullError::Registry(error)
    }
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PullError::Chart(error) => error.fmt(f),
            PullError::Given(error) => error.fmt(f),
            PullError::Name { name, source } => write!(f, "the image {name:?}: {source}"),
            PullError::NoOutput => f.write_str(
                "say where the images go: --output FOLDER, or --output FILE.tar for one archive",
            ),
            PullError::Registry(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PullError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PullError::Chart(error) => Some(error),
            PullError::Given(error) => Some(error),
            PullError::Name { source, .. } => Some(source),
            PullError::NoOutput => None,
            PullError::Registry(error) => Some(error),
        }
    }
}

static SPEC: Spec = Spec {
    name: "kubeedge config images pull",
    about: "Fetches images by itself, without a container runtime, and checks every byte by its digest. A folder gets OCI's \
            layout, an archive the same in one file, which docker load, ctr images import and skopeo take. If \
            interrupted, run the same command again: it continues where it stopped.",
    examples: &[
        "kubeedge config images pull --part cloud --output kubeedge.tar",
        "kubeedge config images pull --image registry.example/app:v1 --platform linux/arm/v7 --output images",
    ],
    spellings: &[],
    ignored: &[RUNTIME],
};

const RUNTIME: &[Ignored] = &[Ignored {
    long: "remote-runtime-endpoint",
    short: None,
    value: true,
    why: "images are fetched into files, and no container runtime is asked",
}];

/// In Go's words.
const ARCHITECTURES: [&str; 12] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64le",
    "riscv64", "s390x",
];

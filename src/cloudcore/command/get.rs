//! `cloudcore ctl get`: the objects that there are.

use argh::{ArgsInfo, FromArgs};
use serde_json::{Value, json};

use super::output::{self, Form};
use super::{OrderError, PATIENCE, kind};
use crate::protocol::control::{CLOUD_SOCKET, Client, CloudOp, ObjectLine, Request};
use crate::protocol::resource::Kind;
use crate::protocol::selector::Selection;
use crate::system::args::{self, Command, Spec};
use crate::system::host::Host;
use crate::system::{console, exit};

pub static COMMAND: Command = Command {
    summary: "show objects",
    spec: &SPEC,
    info: Flags::get_args_info,
    run,
};

fn run(arguments: &[String], host: &Host) -> u8 {
    let given = match args::enter::<Flags>(&SPEC, arguments) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let form = given.flags.output;
    let fail = |error: &OrderError| form.fail(SPEC.name, error, given.verbosity);
    let wanted = match Wanted::of(given.flags) {
        Ok(wanted) => wanted,
        Err(error) => return fail(&error),
    };
    let found = match wanted.ask(host) {
        Ok(found) => found,
        Err(error) => return fail(&error),
    };
    let missing = wanted.missing(&found);
    if found.is_empty()
        && let Some(missing) = &missing
    {
        return fail(missing);
    }
    show(form, &found, wanted.names.len() == 1);
    match missing {
        // What is missing is said beside what was found.
        Some(missing) => args::fail(SPEC.name, &missing, given.verbosity, missing.code()),
        None => exit::OK,
    }
}

/// An object, and what cloudcore says of it.
type Found = (ObjectLine, Value);

struct Wanted {
    kind: Option<Kind>,
    /// All when empty.
    names: Vec<String>,
    /// All when none.
    namespace: Option<String>,
    selection: Selection,
}

impl Wanted {
    fn of(flags: Flags) -> Result<Wanted, OrderError> {
        let usage = |sentence: &str| Err(OrderError::Usage(sentence.to_owned()));
        let mut words = flags.what.into_iter();
        let kind = words.next().map(|word| kind(&word)).transpose()?;
        let names: Vec<String> = words.collect();
        let mut selection = Selection::default();
        if let Some(text) = &flags.selector {
            let added = selection.add_labels(text);
            added.map_err(|error| OrderError::Usage(error.to_string()))?;
        }
        if flags.all_namespaces && flags.namespace.is_some() {
            return usage("give --namespace or --all-namespaces, not both");
        }
        if !names.is_empty() && flags.all_namespaces {
            return usage("one object lives in one namespace: say which with --namespace");
        }
        if !names.is_empty() && flags.selector.is_some() {
            return usage("give names or --selector, not both");
        }
        let one = kind.is_some() && !flags.all_namespaces;
        let default = one.then(|| DEFAULT.to_owned());
        Ok(Wanted {
            kind,
            names,
            namespace: flags.namespace.or(default),
            selection,
        })
    }

    fn ask(&self, host: &Host) -> Result<Vec<Found>, OrderError> {
        let request = Request {
            kind: self.kind.map(|kind| kind.to_string()),
            names: self.names.clone(),
            namespace: self.namespace.clone(),
            ..Request::new(CloudOp::ObjectGet)
        };
        let client = Client::ask(&host.root.at(CLOUD_SOCKET), &request, PATIENCE);
        let mut client = client.map_err(OrderError::Control)?;
        let mut objects = Vec::new();
        let broken = || OrderError::Refused("the list ends before its end: ask again".to_owned());
        loop {
            let line = client.line::<ObjectLine>().map_err(OrderError::Control)?;
            let line = line.ok_or_else(broken)?;
            if let Some(error) = line.error {
                return Err(OrderError::Refused(error));
            }
            let Some(length) = line.body else {
                return Ok(objects);
            };
            let body = client.body(length).map_err(OrderError::Control)?;
            let object: Value = serde_json::from_slice(&body).map_err(|_| broken())?;
            if self.selection.fits(&object) {
                objects.push((line, object));
            }
        }
    }

    /// The names of which there is no object.
    fn missing(&self, found: &[Found]) -> Option<OrderError> {
        let is_there = |name: &&String| found.iter().any(|(line, _)| parts(line)[2] == **name);
        let missing = self.names.iter().filter(|name| !is_there(name));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        let kind = self.kind.map_or("object", Kind::as_str);
        let sentence = format!("there is no {kind} {}", missing.join(", "));
        (!missing.is_empty()).then_some(OrderError::Refused(sentence))
    }
}

fn show(form: Form, found: &[Found], one: bool) {
    let whole = || match found {
        [(_, object)] if one => object.clone(),
        _ => {
            let items: Vec<&Value> = found.iter().map(|(_, object)| object).collect();
            json!({"kind": "List", "apiVersion": "v1", "items": items})
        }
    };
    match form {
        Form::Text if found.is_empty() => _ = console::line("there are no objects"),
        Form::Text => output::table(&TITLES, found.iter().map(cells)),
        Form::Json => output::json(&whole()),
        Form::Yaml => output::yaml(&whole()),
        Form::Name => found.iter().for_each(|(line, _)| {
            let [_, kind, name] = parts(line);
            console::line(&format!("{kind}/{name}"));
        }),
    }
}

/// Namespace, type and name.
fn parts(line: &ObjectLine) -> [String; 3] {
    let resource = line.resource.as_deref().unwrap_or_default();
    let mut parts = resource.splitn(3, '/').map(str::to_owned);
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

fn cells((line, object): &Found) -> Vec<String> {
    let [namespace, kind, name] = parts(line);
    let of = |outer: &str, key: &str| {
        let text = object.get(outer).and_then(|it| it.get(key));
        text.and_then(Value::as_str).map(str::to_owned)
    };
    let given = line.nodes.iter().cloned();
    let whom = given
        .chain(of("spec", "nodeName"))
        .chain(line.selector.clone());
    vec![
        match namespace.as_str() {
            OF_CLUSTER => "-".to_owned(),
            _ => namespace,
        },
        kind,
        name,
        of("metadata", "resourceVersion").unwrap_or_else(|| "-".to_owned()),
        whom.collect::<Vec<_>>().join(","),
    ]
}

/// which objects to show
#[derive(FromArgs, ArgsInfo)]
struct Flags {
    /// type (configmap, secret, pod, device, devicemodel, node), and names; default: all there is
    #[argh(positional, arg_name = "type-name")]
    what: Vec<String>,
    /// those in this namespace; default: default
    #[argh(option, short = 'n', arg_name = "namespace")]
    namespace: Option<String>,
    /// those in all namespaces
    #[argh(switch, short = 'A')]
    all_namespaces: bool,
    /// those with these labels, such as role=router,!old
    #[argh(option, short = 'l', arg_name = "labels")]
    selector: Option<String>,
    /// text, json, yaml or name; default: text
    #[argh(option, short = 'o', arg_name = "format", default = "Form::Text")]
    output: Form,
}

static SPEC: Spec = Spec {
    name: "cloudcore ctl get",
    about: "Shows the objects that this cloud keeps, and to whom each was given. JSON and YAML have \
            them whole, Secrets too.",
    examples: &[
        "cloudcore ctl get",
        "cloudcore ctl get configmaps -n shop",
        "cloudcore ctl get nodes -l role=router -o name",
        "cloudcore ctl get node router-17 -o json",
    ],
    spellings: &[],
    ignored: &[],
};

const TITLES: [&str; 5] = ["NAMESPACE", "TYPE", "NAME", "VERSION", "GIVEN TO"];
const DEFAULT: &str = "default";
/// Stands for the namespace of what has none.
const OF_CLUSTER: &str = "null";

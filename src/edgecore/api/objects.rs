//! One object, or a list of them, read from the disk while it is sent.

use std::rc::Rc;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Desk;
use super::answer::{Answer, Gone, Pieces, made, refusal, text};
use crate::edgecore::edge::{Edge, Failure};
use crate::protocol::local::Sort;
use crate::protocol::local::request::List;
use crate::protocol::resource::ObjectPath;

pub async fn get(desk: &Desk, sort: &Sort, path: ObjectPath) -> Answer {
    match desk.edge.meta.get(&path).await {
        Ok(Some(object)) => text(format!("{}\n", object.text())),
        Ok(None) => {
            let what = match sort.group {
                "" => sort.plural.to_owned(),
                group => format!("{}.{group}", sort.plural),
            };
            let message = format!("{what} {:?} not found", path.name);
            refusal(StatusCode::NOT_FOUND, "NotFound", &message)
        }
        Err(failure) => unreadable(&failure),
    }
}

pub fn list(desk: &Rc<Desk>, list: List) -> Answer {
    let edge = desk.edge.clone();
    made(move |pieces| async move {
        let _ = send(&edge, &list, &pieces).await;
    })
}

async fn send(edge: &Edge, list: &List, pieces: &Pieces) -> Result<(), Gone> {
    let version = edge.meta.version();
    let head = json!({"kind": format!("{}List", list.sort.object_kind),
        "apiVersion": list.sort.api_version(), "metadata": {"resourceVersion": version}});
    let head = head.to_string();
    let open = head.strip_suffix('}').unwrap_or(&head);
    pieces.send(format!("{open},\"items\":[")).await?;
    let mut between = "";
    for path in paths(edge, list) {
        if let Some(text) = chosen(edge, list, &path).await {
            pieces.send(format!("{between}{text}")).await?;
            between = ",\n";
        }
    }
    pieces.send("]}\n").await
}

/// Those of the type, in the namespace.
pub fn paths(edge: &Edge, list: &List) -> Vec<ObjectPath> {
    edge.meta.paths(|path| is_meant(list, path))
}

pub fn is_meant(list: &List, path: &ObjectPath) -> bool {
    let namespace = list.namespace.as_deref();
    path.kind == list.sort.kind
        && namespace.is_none_or(|namespace| path.namespace.as_str() == Some(namespace))
}

/// The text of an object, if it is there and the selectors mean it.
pub async fn chosen(edge: &Edge, list: &List, path: &ObjectPath) -> Option<String> {
    let object = match edge.meta.get(path).await {
        Ok(object) => object?,
        Err(failure) => {
            log::warn!("{failure}");
            return None;
        }
    };
    let fits = list.selection.is_all()
        || serde_json::from_str(object.text()).is_ok_and(|it: Value| list.selection.fits(&it));
    fits.then(|| object.text().to_owned())
}

fn unreadable(failure: &Failure) -> Answer {
    log::warn!("{failure}");
    let message = "the object can't be read from the disk: see the log of edgecore";
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
}

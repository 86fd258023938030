//! What the Pods of a node need besides themselves: ConfigMaps, Secrets, tokens, volumes, certificates.

use serde_json::{Value, json};

use super::super::answers::about;
use super::super::meta::{self, Object};
use super::desk::Desk;
use crate::kubernetes::resource::{
    CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES,
    SECRETS, SERVICE_ACCOUNTS, VOLUME_ATTACHMENTS,
};
use crate::kubernetes::{Request, object};
use crate::protocol::reply::Status;
use crate::protocol::resource::{Kind, ObjectPath};

/// A ConfigMap or a Secret: as a watch has told it, or else as the cluster has it.
pub async fn kept(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    desk.admit(path).await?;
    let known = desk.asked.cloud.nodes.lock().get(path).cloned();
    if let Some(kept) = known {
        return Ok(kept.object());
    }
    let resource = match path.kind {
        Kind::Secret => SECRETS,
        _ => CONFIG_MAPS,
    };
    let get = Request::get(&resource, path.namespace.as_str(), &path.name);
    desk.call(get)
        .await
        .map_err(|status| match status.is_not_found() {
            true => Status::not_found(about(path.kind.as_str(), &path.name)),
            false => status,
        })
}

/// A token of a service account, for one of the node's own Pods that runs as it.
pub async fn token(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    desk.admit(path).await?;
    let sent = desk.asked.content()?;
    let spec = sent.get("spec").cloned().unwrap_or_default();
    let holder = spec.get("boundObjectRef");
    let word = |key: &str| holder.and_then(|it| it.get(key)).and_then(Value::as_str);
    let bound = word("name").map(|name| ObjectPath {
        kind: Kind::Pod,
        namespace: path.namespace.clone(),
        name: name.to_owned(),
    });
    let is_its_own = {
        let state = desk.asked.cloud.nodes.lock();
        let pod = bound.as_ref().and_then(|bound| state.get(bound));
        pod.is_some_and(|pod| {
            pod.facts.bound.as_ref() == Some(desk.node())
                && word("uid") == Some(&pod.uid)
                && pod.facts.may_ask.contains(&(path.kind, path.name.clone()))
        })
    };
    if word("kind") != Some("Pod") || !is_its_own {
        return Err(desk.denied(path));
    }
    let mut kept = Object::new();
    for key in ["audiences", "expirationSeconds", "boundObjectRef"] {
        kept.extend(spec.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let mut body = meta::typed("TokenRequest", "authentication.k8s.io/v1");
    body.insert("spec".to_owned(), kept.into());
    let namespace = path.namespace.as_str();
    let path = SERVICE_ACCOUNTS.path(namespace, &path.name);
    let request = Request::new(crate::kubernetes::Method::Post, path).part("token");
    let mut made = desk
        .call(request.json("application/json", &body.into()))
        .await?;
    // Edges look for no version on a token.
    if let Some(Value::Object(metadata)) = made.get_mut("metadata") {
        metadata.shift_remove("resourceVersion");
    }
    Ok(made)
}

pub async fn claim(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    desk.admit(path).await?;
    let namespace = path.namespace.as_str();
    let get = Request::get(&PERSISTENT_VOLUME_CLAIMS, namespace, &path.name);
    desk.call(get).await
}

/// A volume whose claim is one that the node's Pods have.
pub async fn volume(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    let get = Request::get(&PERSISTENT_VOLUMES, None, &path.name);
    let volume = desk.call_as_cloudcore(get).await?;
    let holder = volume.get("spec").and_then(|it| it.get("claimRef"));
    let word = |key: &str| holder?.get(key)?.as_str();
    let claim = word("namespace")
        .zip(word("name"))
        .and_then(|(namespace, name)| {
            ObjectPath::new(namespace, Kind::PersistentVolumeClaim, name).ok()
        });
    match claim {
        Some(claim) => desk.admit(&claim).await.map(|()| volume),
        None => Err(desk.denied(path)),
    }
}

pub async fn attachment(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    let get = Request::get(&VOLUME_ATTACHMENTS, None, &path.name);
    let found = desk.call_as_cloudcore(get).await?;
    let node = found
        .get("spec")
        .and_then(|it| it.get("nodeName")?.as_str());
    match node == Some(desk.node().as_str()) {
        true => Ok(found),
        false => Err(desk.denied(path)),
    }
}

/// A certificate by which a kubelet serves. The cluster writes down who asks, and signs for nodes only:
/// so it can be asked only in the name of the node.
pub async fn sign(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    let sent = desk.asked.content()?;
    let spec = sent.get("spec").and_then(Value::as_object);
    let signer = spec
        .and_then(|it| it.get("signerName"))
        .and_then(Value::as_str);
    if !desk.cluster.is_impersonating() || signer != Some(SERVING) {
        desk.asked.cloud.metrics.denied.add();
        return Err(Status::forbidden(
            about("certificatesigningrequests", &path.name),
            "only certificates by which a kubelet serves are asked for, and only where cloudcore \
             speaks in the name of nodes",
        ));
    }
    let mut kept = Object::new();
    for key in ["request", "signerName", "usages", "expirationSeconds"] {
        let value = spec.and_then(|spec| spec.get(key));
        kept.extend(value.map(|value| (key.to_owned(), value.clone())));
    }
    let metadata = match object::name(&sent) {
        "" => json!({"generateName": "csr-"}),
        name => json!({"name": name}),
    };
    let body = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": metadata, "spec": kept});
    desk.call(Request::create(&CERTIFICATE_SIGNING_REQUESTS, None, &body))
        .await
}

pub async fn signed(desk: &Desk<'_>, path: &ObjectPath) -> Result<Object, Status> {
    if !desk.cluster.is_impersonating() {
        return Err(desk.denied(path));
    }
    let get = Request::get(&CERTIFICATE_SIGNING_REQUESTS, None, &path.name);
    let found = desk.call(get).await?;
    let by = found
        .get("spec")
        .and_then(|it| it.get("username")?.as_str());
    match by == Some(&format!("system:node:{}", desk.node())) {
        true => Ok(found),
        false => Err(desk.denied(path)),
    }
}

const SERVING: &str = "kubernetes.io/kubelet-serving";

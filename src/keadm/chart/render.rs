//! Values to objects: which templates are used, and what fills them.

use serde_json::{Value, json};

use super::bundle::Bundle;
use super::rendered::{Rendered, Source};
use super::values::{Component, Implementation, Values};
use super::{ChartError, NAMESPACE, workload};
use crate::kubernetes::rights::{self, Right, Switch};
use crate::system::yaml::emit;

/// All objects of the release in the order in which they are made, without the Secret of the stream.
pub fn render(bundle: &Bundle, values: &Values) -> Result<Rendered, ChartError> {
    let mut maker = Maker {
        bundle,
        made: Vec::new(),
    };
    maker.cloud_core(values)?;
    if values.has_iptables_manager() {
        let manager = &values.iptables_manager;
        maker.account("iptables-manager", manager)?;
        maker.workload("iptables-manager/daemon-set.yaml", manager)?;
    }
    if values.mosquitto.enable {
        maker.workload("mosquitto/daemon-set.yaml", &values.mosquitto)?;
    }
    if values.controller_manager.enable {
        let manager = &values.controller_manager;
        maker.account("controller-manager", manager)?;
        maker.workload("controller-manager/deployment.yaml", manager)?;
    }
    if values.admission.enable {
        maker.admission(values)?;
    }
    Ok(Rendered::in_order(maker.made))
}

struct Maker<'a> {
    bundle: &'a Bundle,
    made: Vec<Source>,
}

impl Maker<'_> {
    fn cloud_core(&mut self, values: &Values) -> Result<(), ChartError> {
        let core = &values.cloud_core;
        self.account("cloudcore", core)?;
        let (own, rest) = match values.implementation {
            Implementation::Go => ("go", &[][..]),
            Implementation::Rust => (
                "rust",
                &[
                    "cloudcore/role-rust.yaml",
                    "cloudcore/role-binding-rust.yaml",
                ][..],
            ),
        };
        // Its labels are what it is found by.
        self.take(
            &format!("cloudcore/cluster-role-common-{own}.yaml"),
            |object| {
                if values.implementation == Implementation::Rust {
                    object["rules"] = rules(values).into();
                }
            },
        )?;
        for file in rest {
            self.take(file, |object| workload::label(object, core))?;
        }
        if values.require_authorization {
            self.take("cloudcore/cluster-role-feature.yaml", |_| {})?;
        }
        let config = emit::readable(&config(self.bundle, values)?);
        self.take("cloudcore/config-map.yaml", |object| {
            workload::label(object, core);
            object["data"] = json!({"cloudcore.yaml": config});
        })?;
        self.take(&format!("cloudcore/deployment-{own}.yaml"), |object| {
            workload::fill(object, core);
            workload::cloud_core(object, values, &config);
        })?;
        if values.service.enable {
            self.take("cloudcore/service.yaml", |object| {
                workload::cloud_core_service(object, values);
            })?;
        }
        Ok(())
    }

    fn admission(&mut self, values: &Values) -> Result<(), ChartError> {
        let admission = &values.admission;
        self.account("admission", admission)?;
        self.take("admission/service.yaml", |object| {
            workload::label(object, admission);
            object["spec"]["selector"] = admission.labels.clone().into();
        })?;
        self.take("admission/deployment.yaml", |object| {
            workload::fill(object, admission);
            object["spec"]["replicas"] = admission.replicas.into();
            if !values.admission_certificates.is_empty() {
                mount_certificates(object, &values.admission_certificates);
            }
        })
    }

    /// A service account with its role.
    fn account(&mut self, folder: &str, component: &Component) -> Result<(), ChartError> {
        for file in ["service-account", "cluster-role", "cluster-role-binding"] {
            self.take(&format!("{folder}/{file}.yaml"), |object| {
                workload::label(object, component)
            })?;
        }
        Ok(())
    }

    fn workload(&mut self, file: &str, component: &Component) -> Result<(), ChartError> {
        self.take(file, |object| workload::fill(object, component))
    }

    fn take(&mut self, file: &str, fill: impl FnOnce(&mut Value)) -> Result<(), ChartError> {
        let mut object = self.bundle.read(file)?;
        if is_namespaced(&object) {
            object["metadata"]["namespace"] = NAMESPACE.into();
        }
        fill(&mut object);
        self.made.push(Source {
            file: file.to_owned(),
            object,
        });
        Ok(())
    }
}

/// What our own cloudcore may do in the cluster: no more than it does with these values.
fn rules(values: &Values) -> Vec<Value> {
    let is_on = |right: &Right| match right.only_with {
        None => true,
        Some(Switch::ImpersonateNodes) => values.hub.impersonate_nodes,
        Some(Switch::ObjectSync) => values.hub.object_sync,
        Some(Switch::TaskManager) => values.task_manager,
    };
    let mut rules = Vec::new();
    for right in rights::CLOUDCORE.iter().filter(|right| is_on(right)) {
        let rule = |resources: &[&str]| json!({"apiGroups": [right.group], "resources": resources, "verbs": right.verbs});
        if right.verbs == ["impersonate"] {
            // Of groups only that of the nodes; users can't be told apart by what they begin with.
            let mut groups = rule(&["groups"]);
            groups["resourceNames"] = json!(["system:nodes"]);
            rules.extend([rule(&["users"]), groups]);
        } else {
            rules.push(rule(right.resources));
        }
    }
    rules
}

/// cloudcore.yaml as the ConfigMap has it.
fn config(bundle: &Bundle, values: &Values) -> Result<Value, ChartError> {
    let mut config = bundle.read("cloudcore/cloudcore.yaml")?;
    let hub = &values.hub;
    config["featureGates"]["requireAuthorization"] = values.require_authorization.into();
    let modules = &mut config["modules"];
    let at = &mut modules["cloudHub"];
    at["advertiseAddress"] = hub.advertise_address.clone().into();
    at["dnsNames"] = hub.dns_names.clone().into();
    at["nodeLimit"] = hub.node_limit.into();
    for (name, listener) in [
        ("websocket", hub.websocket),
        ("quic", hub.quic),
        ("https", hub.https),
    ] {
        at[name]["enable"] = listener.enable.into();
        at[name]["port"] = listener.port.into();
    }
    at["quic"]["maxIncomingStreams"] = hub.quic_streams.into();
    for (name, enable) in [
        ("cloudStream", values.stream),
        ("dynamicController", values.dynamic_controller),
        ("router", values.router),
        ("taskManager", values.task_manager),
        ("iptablesManager", values.iptables_manager.enable),
    ] {
        modules[name]["enable"] = enable.into();
    }
    modules["iptablesManager"]["mode"] = values.iptables_mode.into();
    if values.implementation == Implementation::Rust {
        config["apiVersion"] = "cloudcore.config.kubeedge.io/v1alpha1".into();
        for (key, on) in [
            ("impersonateNodes", hub.impersonate_nodes),
            ("objectSync", hub.object_sync),
        ] {
            config["modules"]["cloudHub"][key] = on.into();
        }
        config["commonConfig"] =
            json!({"monitorServer": {"bindAddress": values.monitor.to_string()}});
    }
    Ok(config)
}

fn mount_certificates(object: &mut Value, secret: &str) {
    let spec = &mut object["spec"]["template"]["spec"];
    spec["volumes"] = json!([{"name": "admission-certs", "secret": {"secretName": secret}}]);
    let container = &mut spec["containers"][0];
    container["volumeMounts"] =
        json!([{"name": "admission-certs", "mountPath": CERTIFICATES, "readOnly": true}]);
    if let Some(args) = container["args"].as_array_mut() {
        for (flag, file) in [
            ("tls-cert-file", "tls.crt"),
            ("tls-private-key-file", "tls.key"),
            ("ca-cert-file", "ca.crt"),
        ] {
            args.push(format!("--{flag}={CERTIFICATES}/{file}").into());
        }
    }
}

/// Of the kinds that are made here.
fn is_namespaced(object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    ![
        "ClusterRole",
        "ClusterRoleBinding",
        "Namespace",
        "CustomResourceDefinition",
    ]
    .contains(&kind)
}

const CERTIFICATES: &str = "/admission.local.config/certificates";

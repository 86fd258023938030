//! Resets: what the release owns, and nothing else.

use super::*;

#[test]
fn a_reset_takes_what_the_release_owns() {
    let site = Site::new();
    site.init(&[]).unwrap();
    // Somebody has taken this one for himself.
    let mut role = site.get(&CLUSTER_ROLES, "iptables-manager").unwrap();
    role["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "me".into();
    site.fake.put(&CLUSTER_ROLES, None, role);
    site.fake.put(
        &SECRETS,
        Some("kubeedge"),
        json!({"metadata": {"name": "casecret"}}),
    );
    let text = site.reset(false, false).unwrap();
    assert!(text.contains("gone: Deployment/cloudcore\n"), "{text}");
    assert!(
        text.contains("left: ClusterRole/iptables-manager, which"),
        "{text}"
    );
    assert!(
        text.contains("stays: the namespace kubeedge with the CA"),
        "{text}"
    );
    assert!(site.history().is_empty());
    assert_eq!(site.get(&DEPLOYMENTS, "cloudcore"), None);
    assert!(site.get(&CLUSTER_ROLES, "iptables-manager").is_some());
    assert!(site.get(&SECRETS, "casecret").is_some());
    assert_eq!(site.fake.all(&CUSTOM_RESOURCE_DEFINITIONS).len(), 13);
    // Nothing is left to do, and all can be made again.
    site.fake.remove(&CLUSTER_ROLES, None, "iptables-manager");
    site.init(&[]).unwrap();
    let text = site.reset(true, true).unwrap();
    assert!(
        text.contains("gone: Namespace/kubeedge\n") && !text.contains("--crds"),
        "{text}"
    );
    assert!(site.fake.all(&CUSTOM_RESOURCE_DEFINITIONS).is_empty());
    assert_eq!(site.fake.get(&NAMESPACES, None, "kubeedge"), None);
}

#[test]
fn a_reset_that_was_cut_goes_on() {
    let site = Site::new();
    site.init(&[]).unwrap();
    site.fake
        .order(Some(Method::Delete), "daemonsets", 1, Act::Refuse(lost()));
    assert!(site.reset(false, false).is_err());
    assert_eq!(site.history(), [(1, Status::Uninstalling)]);
    assert!(matches!(site.init(&[]), Err(CloudError::Leaving)));
    assert!(matches!(site.upgrade(&[]), Err(CloudError::Leaving)));
    site.reset(false, false).unwrap();
    assert!(site.history().is_empty());
}

#[test]
fn what_does_not_go_is_named() {
    let site = Site::new();
    site.init(&[]).unwrap();
    let mut deployment = site.get(&DEPLOYMENTS, "cloudcore").unwrap();
    deployment["metadata"]["finalizers"] = json!(["x/y"]);
    site.fake.put(&DEPLOYMENTS, Some("kubeedge"), deployment);
    let wish = Wish {
        crds: false,
        namespace: false,
    };
    let reset = Reset::look(&site.cluster, wish).unwrap();
    let error = reset
        .go_on(&site.cluster, Duration::from_millis(20))
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("Deployment/cloudcore still there"),
        "{error}"
    );
}

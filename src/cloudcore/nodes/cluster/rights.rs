//! What cloudcore may have to do on a cluster: the table that its ClusterRole is made from.

/// One rule of RBAC.
#[derive(Debug, PartialEq, Eq)]
pub struct Right {
    /// Empty for the core API.
    pub group: &'static str,
    pub resources: &'static [&'static str],
    pub verbs: &'static [&'static str],
    /// Only what an operator has switched on needs it.
    pub only_with: Option<&'static str>,
}

/// docs/security.md has the same table, with the reasons.
pub const RIGHTS: &[Right] = &[
    right("", &["nodes"], &["get", "list", "watch", "create", "patch"]),
    right("", &["nodes/status"], &["patch"]),
    right("", &["pods"], &["get", "list", "watch", "create", "delete"]),
    right("", &["pods/status"], &["patch"]),
    right("", &["configmaps", "secrets"], &["get", "list", "watch"]),
    right("", &["serviceaccounts/token"], &["create"]),
    right(
        "",
        &["persistentvolumes", "persistentvolumeclaims"],
        &["get"],
    ),
    right("", &["events"], &["create", "update", "patch"]),
    right(
        "coordination.k8s.io",
        &["leases"],
        &["get", "create", "update", "patch"],
    ),
    right("storage.k8s.io", &["volumeattachments"], &["get"]),
    right(
        "devices.kubeedge.io",
        &["devices", "devicemodels"],
        &["get", "list", "watch"],
    ),
    Right {
        only_with: Some("impersonateNodes"),
        ..right("", &["users", "groups"], &["impersonate"])
    },
    Right {
        only_with: Some("objectSync"),
        ..right(
            "reliablesyncs.kubeedge.io",
            &["objectsyncs", "clusterobjectsyncs"],
            &["create", "delete"],
        )
    },
    Right {
        only_with: Some("objectSync"),
        ..right(
            "reliablesyncs.kubeedge.io",
            &["objectsyncs/status", "clusterobjectsyncs/status"],
            &["patch"],
        )
    },
];

const fn right(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Right {
    Right {
        group,
        resources,
        verbs,
        only_with: None,
    }
}

//! What cloudcore does with the objects of a cluster: the table that its ClusterRole is made from.

/// One rule of RBAC.
#[derive(Debug, PartialEq, Eq)]
pub struct Right {
    /// Empty for the core API.
    pub group: &'static str,
    pub resources: &'static [&'static str],
    pub verbs: &'static [&'static str],
    /// Only what an operator has switched on needs it.
    pub only_with: Option<Switch>,
}

/// What an operator may switch on in the chart's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    ImpersonateNodes,
    ObjectSync,
    TaskManager,
}

/// Of all namespaces. docs/security.md has the same table, with the reasons.
pub const CLOUDCORE: &[Right] = &[
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
        only_with: Some(Switch::TaskManager),
        ..right(
            "operations.kubeedge.io",
            &["nodeupgradejobs", "configupdatejobs", "imageprepulljobs"],
            &["get", "list", "watch", "patch"],
        )
    },
    Right {
        only_with: Some(Switch::TaskManager),
        ..right(
            "operations.kubeedge.io",
            &[
                "nodeupgradejobs/status",
                "configupdatejobs/status",
                "imageprepulljobs/status",
            ],
            &["patch"],
        )
    },
    Right {
        only_with: Some(Switch::ImpersonateNodes),
        ..right("", &["users", "groups"], &["impersonate"])
    },
    Right {
        only_with: Some(Switch::ObjectSync),
        ..right(
            "reliablesyncs.kubeedge.io",
            &["objectsyncs", "clusterobjectsyncs"],
            &["create", "delete"],
        )
    },
    Right {
        only_with: Some(Switch::ObjectSync),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_the_same_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
        let manual = std::fs::read_to_string(path).unwrap();
        let (_, table) = manual
            .split_once("| API group | resources | verbs |")
            .unwrap();
        let rows = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let told: Vec<Vec<String>> = rows
            .map(|row| {
                let cells = row.trim_matches('|').split('|').take(4);
                cells.map(|cell| cell.trim().replace('`', "")).collect()
            })
            .collect();
        let ours: Vec<Vec<String>> = CLOUDCORE
            .iter()
            .map(|right| {
                let group = if right.group.is_empty() {
                    "core"
                } else {
                    right.group
                };
                let only = match right.only_with {
                    None => "",
                    Some(Switch::ImpersonateNodes) => "impersonateNodes",
                    Some(Switch::ObjectSync) => "objectSync",
                    Some(Switch::TaskManager) => "taskManager",
                };
                let lists = [right.resources.join(", "), right.verbs.join(", ")];
                let [resources, verbs] = lists;
                vec![group.to_owned(), resources, verbs, only.to_owned()]
            })
            .collect();
        assert_eq!(told, ours);
    }
}

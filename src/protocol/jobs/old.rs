//! Jobs of v1alpha1, which asks for each step, and of clouds before v1.16, which ask once for everything.

use serde::Deserialize;

use super::{Action, Address, BadJob, Order, Work, check_items, images, upgrade};
use crate::protocol::resource::JobFamily;

/// A cloud of v1alpha1 names the state that the node is in, and with it what is to be done.
pub fn read(address: Address, content: &str) -> Result<Order, BadJob> {
    let task: Task = serde_json::from_str(content).map_err(|_| BadJob::Shape)?;
    if task.item.is_none() && !task.upgrade_id.is_empty() {
        return at_once(address, content);
    }
    let action = STATES.iter().find(|(state, _)| *state == task.state);
    let (_, action) = *action.ok_or(BadJob::Action(task.state))?;
    let item = task.item.unwrap_or_default();
    let work = match address.family {
        // That is all that is said then.
        _ if action == Action::Check => Work::Check,
        JobFamily::OldUpgrade => work(&item)?,
        _ => images(item.images)?,
    };
    Ok(Order {
        address,
        action,
        history: None,
        checks: check_items(item.check_item)?,
        work,
    })
}

fn at_once(address: Address, content: &str) -> Result<Order, BadJob> {
    let item: Item = serde_json::from_str(content).map_err(|_| BadJob::Shape)?;
    Ok(Order {
        address,
        action: Action::Check,
        work: work(&item)?,
        checks: Vec::new(),
        history: Some(item.history_id),
    })
}

fn work(item: &Item) -> Result<Work, BadJob> {
    let digest = Some(item.image_digest.as_str()).filter(|it| !it.is_empty());
    let confirm = (item.require_confirmation, None);
    upgrade(&item.version, &item.image, digest, confirm)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    /// Not of tasks, but of what came before them.
    #[serde(rename = "UpgradeID", default)]
    upgrade_id: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    item: Option<Item>,
}

/// Of an upgrade, of a check or of images to be pulled.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Item {
    version: String,
    image: String,
    image_digest: String,
    require_confirmation: bool,
    #[serde(rename = "HistoryID")]
    history_id: String,
    images: Vec<String>,
    check_item: Option<Vec<String>>,
}

const STATES: &[(&str, Action)] = &[
    ("", Action::Init),
    ("Init", Action::Init),
    ("Checking", Action::Check),
    ("BackingUp", Action::BackUp),
    ("Upgrading", Action::Upgrade),
    ("Pulling", Action::Pull),
    ("RollingBack", Action::RollBack),
];

//! What `init`, `upgrade cloud` and `reset cloud` say at their end, in the words that people know.

use serde::Serialize;
use serde_json::Value;

use crate::keadm::chart::{NAMESPACE, RELEASE};
use crate::keadm::out::Report;
use crate::kubernetes::release::Release;
use crate::system::clock::Timestamp;
use crate::system::yaml::emit;

/// A release as it is now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployed {
    name: &'static str,
    namespace: &'static str,
    revision: u64,
    status: &'static str,
    last_deployed: Timestamp,
    /// The version of KubeEdge that it is of.
    chart_version: String,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Value>,
    /// cloudcore.yaml before an upgrade, where it was not what the release had made.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_configuration: Option<String>,
}

impl Deployed {
    pub fn of(release: &Release, image: &str, now: Timestamp) -> Deployed {
        Deployed {
            name: RELEASE,
            namespace: NAMESPACE,
            revision: release.revision(),
            status: release.status().as_str(),
            last_deployed: release.last_deployed().unwrap_or(now),
            chart_version: release.chart_version().to_owned(),
            image: image.to_owned(),
            values: None,
            previous_configuration: None,
        }
    }

    pub fn with_values(mut self, values: Value) -> Deployed {
        self.values = Some(values);
        self
    }

    pub fn with_previous(mut self, configuration: Option<String>) -> Deployed {
        self.previous_configuration = configuration;
        self
    }
}

impl Report for Deployed {
    fn text(&self) -> String {
        let mut text = format!(
            "CLOUDCORE started\n\
             =========CHART DETAILS=======\n\
             Name: {}\n\
             LAST DEPLOYED: {}\n\
             NAMESPACE: {}\n\
             STATUS: {}\n\
             REVISION: {}\n",
            self.name,
            ansic(self.last_deployed),
            self.namespace,
            self.status,
            self.revision
        );
        if let Some(values) = &self.values {
            text += &format!("FINAL VALUES:\n{}", emit::readable(values));
        }
        if let Some(previous) = &self.previous_configuration {
            text += &format!(
                "cloudcore.yaml had been changed by hand; before the upgrade it was\n\n{}\n\n\
                 What is missed can be put back: kubectl -n {NAMESPACE} edit configmap {RELEASE}, then \
                 kubectl -n {NAMESPACE} rollout restart deployment {RELEASE}\n",
                previous.trim_end()
            );
        }
        text
    }
}

/// `Sun Nov 22 09:28:49 2026`, in UTC.
fn ansic(time: Timestamp) -> String {
    let text = time.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse::<usize>().unwrap_or(1);
    let month = MONTHS
        .get(month.wrapping_sub(1))
        .copied()
        .unwrap_or_default();
    // 1970 began on a Thursday.
    let days = usize::try_from(time.unix().div_euclid(86_400).rem_euclid(7)).unwrap_or(0);
    let weekday = WEEKDAYS.get(days).copied().unwrap_or_default();
    let day = part(8, 10).trim_start_matches('0');
    format!("{weekday} {month} {day:>2} {} {}", part(11, 19), part(0, 4))
}

const MONTHS: &[&str] = &[
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: &[&str] = &["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_article_has_them() {
        for (time, expected) in [
            ("2026-11-22T09:28:49Z", "Sun Nov 22 09:28:49 2026"),
            ("2026-03-01T00:00:07.5Z", "Sun Mar  1 00:00:07 2026"),
            ("1969-12-31T23:59:59Z", "Wed Dec 31 23:59:59 1969"),
        ] {
            assert_eq!(ansic(time.parse().unwrap()), expected);
        }
    }
}

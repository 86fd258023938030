//! The steps of the tour, by the names under which they are shown, sabotaged and blamed.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Cloud,
    Token,
    Join,
    Certificate,
    Session,
    Node,
    Rotation,
    Status,
    Stop,
}

/// In their order. `Stop` comes after the tour.
pub const TOUR: [Step; 8] = [
    Step::Cloud,
    Step::Token,
    Step::Join,
    Step::Certificate,
    Step::Session,
    Step::Node,
    Step::Rotation,
    Step::Status,
];

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Step::Cloud => "cloud",
            Step::Token => "token",
            Step::Join => "join",
            Step::Certificate => "certificate",
            Step::Session => "session",
            Step::Node => "node",
            Step::Rotation => "rotation",
            Step::Status => "status",
            Step::Stop => "stop",
        }
    }

    /// What happens in it.
    pub fn title(self) -> &'static str {
        match self {
            Step::Cloud => "start a cloudcore",
            Step::Token => "make a join token",
            Step::Join => "join an edge with it",
            Step::Certificate => "look at the certificate that the edge got",
            Step::Session => "look at the tunnel from both sides",
            Step::Node => "see the edge as a node, and hand it a file",
            Step::Rotation => "renew the certificate while the tunnel is up",
            Step::Status => "ask for the status, as on any device",
            Step::Stop => "stop edge and cloud",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Step {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Step, Self::Err> {
        let all = TOUR.into_iter().chain([Step::Stop]);
        let found = all.into_iter().find(|step| step.name() == text);
        found.ok_or(
            "the steps are cloud, token, join, certificate, session, node, rotation, status, stop",
        )
    }
}

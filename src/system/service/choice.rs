//! Which init system to use, as given with `--init`.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    #[default]
    Auto,
    /// BusyBox's init, with a line in /etc/inittab.
    BusyBox,
    None,
    OpenRc,
    Procd,
    /// Scripts `/etc/init.d/S??*`, which something runs once at boot.
    Rcs,
    Systemd,
}

impl Choice {
    pub(super) const ALL: &[Choice] = &[
        Choice::Systemd,
        Choice::Procd,
        Choice::OpenRc,
        Choice::BusyBox,
        Choice::Rcs,
        Choice::None,
    ];
}

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Choice, UnknownChoice> {
        match text {
            "auto" => Ok(Choice::Auto),
            "busybox" => Ok(Choice::BusyBox),
            "none" => Ok(Choice::None),
            "openrc" => Ok(Choice::OpenRc),
            "procd" => Ok(Choice::Procd),
            "rcs" => Ok(Choice::Rcs),
            "systemd" => Ok(Choice::Systemd),
            _ => Err(UnknownChoice),
        }
    }
}

/// An init system that we don't know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownChoice;

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no such init system is known: use auto, systemd, procd, openrc, busybox, rcs or none",
        )
    }
}

impl std::error::Error for UnknownChoice {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        assert_eq!("none".parse(), Ok(Choice::None));
        assert_eq!("systemd".parse(), Ok(Choice::Systemd));
        assert_eq!("auto".parse(), Ok(Choice::default()));
        assert_eq!("upstart".parse::<Choice>(), Err(UnknownChoice));
        let sentence = UnknownChoice.to_string();
        for name in ["busybox", "openrc", "procd", "rcs"] {
            let choice: Choice = name.parse().expect("it is known");
            assert!(Choice::ALL.contains(&choice) && sentence.contains(name));
        }
    }
}

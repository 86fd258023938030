//! What belongs to a cloud: configuration, service, session, time, certificates.

use super::look::{Look, State};
use crate::keadm::certs::check;

pub fn init(look: &mut Look<'_>) {
    let service = &look.status.service;
    let (kind, problem) = (service.init, service.problem.clone());
    let (installed, boot) = (service.installed, service.starts_at_boot);
    if let Some(problem) = problem {
        let found = format!("{kind} does not say");
        return look.failed("edgecore", &found, problem);
    }
    let by_hand = "nothing starts edgecore when this device boots: join again with --init, or have \
                   your boot scripts run `edgecore`";
    match (kind, installed, boot) {
        ("none", _, _) => look.warning("init system", "none that is known".to_owned(), by_hand),
        (_, false, _) if look.config.is_ok() => {
            let found = format!("{kind}: edgecore is not installed");
            look.warning(
                "init system",
                found,
                "`kubeedge service install` makes it a service",
            );
        }
        (_, true, false) => {
            let found = format!("{kind}: edgecore does not start at boot");
            look.failed(
                "init system",
                &found,
                "`kubeedge service enable` has it started".to_owned(),
            );
        }
        _ => look.good("init system", kind.to_owned()),
    }
}

pub fn config(look: &mut Look<'_>) {
    let warnings = match &look.config {
        Ok((_, warnings)) => warnings.clone(),
        Err(error) => {
            let remedy = error.to_string();
            return look.failed("edgecore.yaml", "of no use", remedy);
        }
    };
    let off = matches!(&look.config, Ok((config, _)) if !config.hub.enable);
    match off {
        true => look.failed(
            "edgecore.yaml",
            "edgeHub is off",
            "set modules.edgeHub.enable: true".to_owned(),
        ),
        false => look.good("edgecore.yaml", "good".to_owned()),
    }
    for warning in warnings {
        look.warning("edgecore.yaml", "doubtful".to_owned(), &warning);
    }
}

pub fn edgecore(look: &mut Look<'_>) {
    let connected = look.status.connected;
    let state = match connected {
        true => State::Good,
        false => State::Failed,
    };
    let remedy = look.status.advice.clone().filter(|_| !connected);
    let found = look.status.verdict.trim_end_matches('.').to_owned();
    look.add("session", state, found, remedy);
    let node = look
        .status
        .edgecore
        .as_ref()
        .and_then(|it| it.registration.as_ref());
    if let Some(problem) = node.and_then(|it| it.problem.as_ref()) {
        let remedy = problem.message.clone();
        look.failed("node", "not as it should be", remedy);
    }
}

/// A running edgecore knows of a clock that is wrong, and so do those who have just asked the cloud.
pub fn clock(look: &mut Look<'_>) {
    let clock = &look.host.clock;
    let shown = look.status.clock_shows.or_else(|| clock.shows_wrongly());
    let now = match look.status.clock_shows {
        Some(_) => look.status.now,
        None => clock.now(),
    };
    let compared = look.status.connected || clock.word().is_some();
    match shown {
        Some(shown) => look.failed(
            "time",
            &format!("{shown}, and it is {now}"),
            "set the clock of this device, and have NTP keep it right; if it is right, set the cloud's. \
             Certificates are judged by the second time meanwhile"
                .to_owned(),
        ),
        None if compared => look.good("time", format!("{now}, as the cloud's")),
        None => look.good("time", format!("{now}, with nobody to compare it with")),
    }
}

pub fn identity(look: &mut Look<'_>) {
    let checked = match check::check(look.host, look.wish.config.as_deref()) {
        Ok(checked) => checked,
        Err(error) => return look.failed("certificates", "none", error.to_string()),
    };
    let own = checked.rows.iter().filter(|row| row.side == "edge");
    for row in own {
        let until = row
            .certificate
            .as_ref()
            .map(|it| format!("until {}", it.not_after));
        let until = until.unwrap_or_else(|| row.path.clone());
        match row.faults.is_empty() {
            true => look.good(row.what, until),
            false => look.failed(row.what, &until, row.faults.join("; ")),
        }
    }
}

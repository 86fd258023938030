//! Enrolment and the end of the token, cut and disturbed everywhere.

use super::*;
use crate::system::figures::tried;
use crate::system::files::crash::{Recording, each_fault, is_clear};

/// Where the token lies at first.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Bootstrap,
    Config,
    Both,
    /// Brought there from what a device is asked at its first boot.
    FirstBoot,
}

fn put_token(cloud: &Cloud, root: &Path, at: At) {
    let (files, token) = (Files::real(), cloud.token());
    let configured = Some(&token).filter(|_| matches!(at, At::Config | At::Both));
    let text = config(configured);
    files
        .replace(&root.join("edgecore.yaml"), text.as_bytes(), 0o640)
        .unwrap();
    if at == At::FirstBoot {
        let request = "cloudcore-ipport: a\ntoken-file: /etc/kubeedge/token\n";
        let options = "config edgecore\n\toption token 'x.e30.e30.y'\n\toption server 'a'\n";
        for (path, text) in [
            ("etc/kubeedge/join", request),
            ("etc/kubeedge/token", "x.e30.e30.y"),
            ("etc/config/kubeedge", options),
        ] {
            let path = root.join(path);
            files.make_dir(path.parent().unwrap(), 0o755).unwrap();
            files.replace(&path, text.as_bytes(), 0o600).unwrap();
        }
    }
    if at != At::Config {
        let text = token.secret_string();
        let path = root.join("bootstrap");
        files.replace(&path, text.as_bytes(), 0o600).unwrap();
    }
}

/// Records a start with a token, cuts it everywhere, and starts again.
fn cut(cloud: &Cloud, root: &Path) -> (Recording, usize) {
    let before = std::fs::read_to_string(root.join("edgecore.yaml")).unwrap();
    let mut new = None;
    let recording = Recording::of(root, |recorder| {
        let edge = cloud.edge(recorder.files(), root);
        new = Some(begin(&edge));
        recorder.promise("enrolled");
    });
    let new = new.unwrap();
    in_order(&cloud.edge(Files::real(), root), &new);
    let states = recording.each_state(|state| {
        let edge = cloud.edge(Files::real(), state.root());
        let found = nothing_is_lost(&edge, &[&new]);
        assert!(found.is_some() || !state.promised("enrolled"));
        let text = std::fs::read_to_string(&edge.settings.config).unwrap();
        assert!(text == before || text == config(None), "a mixture: {text}");
        let identity = begin(&edge);
        assert!(found.is_none_or(|found| is(&found, &identity)));
        in_order(&edge, &identity);
    });
    (recording, states)
}

#[test]
fn an_enrolment_may_lose_its_power_at_any_moment() {
    let cloud = Cloud::start();
    let mut states = 0;
    for at in [At::Bootstrap, At::Config, At::Both, At::FirstBoot] {
        let folder = Scratch::new();
        put_token(&cloud, folder.path(), at);
        states += cut(&cloud, folder.path()).1;
    }
    tried(
        "cuts-enroll",
        "states a power cut leaves of an enrolment",
        states,
    );
}

#[test]
fn a_token_may_lose_its_power_while_it_is_erased() {
    let cloud = Cloud::start();
    let mut states = 0;
    for at in [At::Bootstrap, At::Config, At::Both, At::FirstBoot] {
        let folder = Scratch::new();
        put_token(&cloud, folder.path(), At::Bootstrap);
        let edge = cloud.edge(Files::real(), folder.path());
        begin(&edge);
        // As if the power had gone right behind the commit, while a join was writing it anew.
        put_token(&cloud, folder.path(), at);
        let half = folder.path().join(".bootstrap.tmp-0123456789abcdef");
        let secret = cloud.token().secret_string();
        Files::real()
            .replace(&half, secret.as_bytes(), 0o600)
            .unwrap();
        states += cut(&cloud, folder.path()).1;
    }
    tried(
        "cuts-erase",
        "states a power cut leaves of the end of a token",
        states,
    );
}

#[test]
fn an_enrolment_survives_every_fault_of_the_disk() {
    let cloud = Cloud::start();
    let setup = || {
        let folder = Scratch::new();
        put_token(&cloud, folder.path(), At::Both);
        folder
    };
    let enroll = |folder: &Scratch, files| {
        let edge = cloud.edge(files, folder.path());
        let token = match edge.tokens.find() {
            Ok(token) => token.unwrap(),
            Err(error) => return Err(error.to_string()),
        };
        let enrolled = run(&edge, enroll(&edge, &token));
        let identity = enrolled.map_err(|failure| failure.to_string())?;
        // What could not be erased is told of, and nothing else is wrong.
        match edge.state.snapshot().last_error {
            Some(problem) => Err(problem.message),
            None => Ok(identity),
        }
    };
    let faults = each_fault(setup, enroll, |folder, outcome, fault| {
        let edge = cloud.edge(Files::real(), folder.path());
        let found = nothing_is_lost(&edge, &[]);
        match outcome {
            Ok(identity) => assert!(is(&found.unwrap(), &identity)),
            Err(sentence) => assert!(is_clear(&sentence, fault), "{fault}: {sentence}"),
        }
        let identity = begin(&edge);
        in_order(&edge, &identity);
    });
    tried(
        "faults-enroll",
        "faults of the disk during an enrolment",
        faults,
    );
}

#[test]
fn an_enrolment_writes_three_files_and_one_for_a_token_in_the_configuration() {
    let cloud = Cloud::start();
    for (at, more) in [
        (At::Bootstrap, &[][..]),
        (At::Config, &["edgecore.yaml"][..]),
    ] {
        let folder = Scratch::new();
        put_token(&cloud, folder.path(), at);
        let written = cut(&cloud, folder.path()).0.written();
        let mut wanted = vec!["ca/rootCA.crt", "certs/server.crt", "certs/server.key"];
        wanted.extend(more);
        let written: Vec<_> = written.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(written, wanted);
        if more.is_empty() {
            tried(
                "wear-enroll",
                "files written by an enrolment",
                written.len(),
            );
        }
    }
}

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
    /// As `Bootstrap`, a token whose uses are counted.
    Counted,
}

fn put_token(cloud: &Cloud, root: &Path, at: At) {
    let (files, token) = (
        Files::real(),
        match at {
            At::Counted => cloud.counted_token(),
            _ => cloud.token(),
        },
    );
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

/// What the device was before.
#[derive(Clone, Copy, Debug)]
enum Was {
    Nothing,
    /// Of another cloud.
    Whole,
    /// The same, with its key alone in the key's file.
    Split,
}

impl Was {
    /// Puts it there.
    fn lay_out(self, root: &Path) -> Option<Identity> {
        let edge = edge_below(Files::real(), root, "edge-1", 1, &Clock::system());
        let place = &edge.settings.place;
        let (_, old, _) = pair();
        match self {
            Was::Nothing => return None,
            Was::Whole => old.commit(&Files::real(), place).unwrap(),
            Was::Split => {
                old.commit(&Files::real(), place).unwrap();
                split(root, &old);
            }
        }
        Some(old)
    }
}

/// Records a start with a token, cuts it everywhere, and starts again.
fn cut(cloud: &Cloud, root: &Path) -> (Recording, usize) {
    cut_after(cloud, root, None)
}

/// As `cut`, of a device that was this before.
fn cut_after(cloud: &Cloud, root: &Path, old: Option<&Identity>) -> (Recording, usize) {
    let before = std::fs::read_to_string(root.join("edgecore.yaml")).unwrap();
    let mut new = None;
    let recording = Recording::of(root, |recorder| {
        cloud.witness.lock().unwrap().replace(recorder.clone());
        let edge = cloud.edge(recorder.files(), root);
        let is_counted = edge.tokens.find().unwrap().unwrap().is_counted();
        new = Some((begin(&edge), is_counted));
        recorder.promise("enrolled");
        cloud.witness.lock().unwrap().take();
    });
    let (new, is_counted) = new.unwrap();
    let known: Vec<&Identity> = old.into_iter().chain([&new]).collect();
    in_order(&cloud.edge(Files::real(), root), &new);
    let states = recording.each_state(|state| {
        let edge = cloud.edge(Files::real(), state.root());
        let found = nothing_is_lost(&edge, &known);
        assert!(found.is_some() || (old.is_none() && !state.promised("enrolled")));
        let found = found.filter(|found| is(found, &new));
        assert!(found.is_some() || !state.promised("enrolled"));
        let text = std::fs::read_to_string(&edge.settings.config).unwrap();
        assert!(text == before || text == config(None), "a mixture: {text}");
        let identity = begin(&edge);
        assert!(found.is_none_or(|found| is(&found, &identity)));
        // The cloud may have counted the use for this key, and gives it to no other.
        let is_same_key = identity.key.spki_hash() == new.key.spki_hash();
        assert!(is_same_key || !(is_counted && state.promised("asked")));
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
    for was in [Was::Nothing, Was::Whole, Was::Split] {
        let folder = Scratch::new();
        let old = was.lay_out(folder.path());
        put_token(&cloud, folder.path(), At::Counted);
        states += cut_after(&cloud, folder.path(), old.as_ref()).1;
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
    let mut faults = 0;
    for (was, at) in [
        (Was::Nothing, At::Both),
        (Was::Nothing, At::FirstBoot),
        (Was::Nothing, At::Counted),
        (Was::Split, At::Counted),
    ] {
        let setup = || {
            let folder = Scratch::new();
            was.lay_out(folder.path());
            put_token(&cloud, folder.path(), at);
            folder
        };
        faults += each_fault(setup, enroll, |folder, outcome, fault| {
            let edge = cloud.edge(Files::real(), folder.path());
            let found = nothing_is_lost(&edge, &[]);
            match outcome {
                Ok(identity) => assert!(is(&found.unwrap(), &identity)),
                Err(sentence) => assert!(is_clear(&sentence, fault), "{fault}: {sentence}"),
            }
            let identity = begin(&edge);
            in_order(&edge, &identity);
        });
    }
    tried(
        "faults-enroll",
        "faults of the disk during an enrolment",
        faults,
    );
}

#[test]
fn an_enrolment_writes_three_files_and_one_for_a_token_in_the_configuration() {
    let cloud = Cloud::start();
    for (was, at, more) in [
        (Was::Nothing, At::Bootstrap, &[][..]),
        (Was::Nothing, At::Config, &["edgecore.yaml"][..]),
        (Was::Nothing, At::Counted, &[][..]),
        (Was::Whole, At::Counted, &[][..]),
        (Was::Split, At::Counted, &[][..]),
    ] {
        let folder = Scratch::new();
        was.lay_out(folder.path());
        put_token(&cloud, folder.path(), at);
        let recording = Recording::of(folder.path(), |recorder| {
            begin(&cloud.edge(recorder.files(), folder.path()));
        });
        let mut wanted = vec!["ca/rootCA.crt", "certs/server.crt", "certs/server.key"];
        wanted.extend(more);
        let written = recording.written();
        let written: Vec<_> = written.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(written, wanted, "{was:?}");
        let (id, what) = match at {
            At::Counted => (
                "wear-enroll-counted",
                "files written by an enrolment with a token of counted uses",
            ),
            _ => ("wear-enroll", "files written by an enrolment"),
        };
        if more.is_empty() {
            tried(id, what, written.len());
        }
    }
}

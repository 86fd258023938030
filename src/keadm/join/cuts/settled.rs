//! The same with a device that has settings: an operator's edgecore.yaml, which is merged, a proxy with a password, and
//! procd's files.

use super::*;
use crate::keadm::testing::proxy;

const YAML: &str = "etc/kubeedge/config/edgecore.yaml";
const CREDENTIALS: &str = "etc/kubeedge/proxy-credentials";
const UCI: &str = "etc/config/kubeedge";
/// What an operator wrote.
const OF_OPERATOR: &str = "modules:\n  edgeHub: # of the barn\n    heartbeat: 30\n";
const UCI_OF_OPERATOR: &str = "config edgecore\n\toption enabled '0' # of the barn\n";

/// A device with what an operator has there.
fn device() -> Scratch {
    let (folder, files) = (Scratch::new(), Files::real());
    for (path, text, mode) in [(YAML, OF_OPERATOR, 0o640), (UCI, UCI_OF_OPERATOR, 0o600)] {
        let path = folder.path().join(path);
        files.make_dir(path.parent().unwrap(), 0o755).unwrap();
        files.replace(&path, text.as_bytes(), mode).unwrap();
    }
    folder
}

fn words(cloud: &Cloud, proxy: u16, node: &str) -> Vec<String> {
    let url = format!("http://barn:s3cret@127.0.0.1:{proxy}");
    let mut words = cloud.words_for(node, "procd");
    words.extend(["--proxy".to_owned(), url]);
    words
}

/// In every state: what the operator wrote is there, and the file that names the proxy comes behind its password.
fn nothing_is_lost(folder: &Path) {
    let read = |path: &str| std::fs::read_to_string(folder.join(path));
    let (yaml, uci) = (read(YAML).unwrap(), read(UCI).unwrap());
    assert!(
        yaml.contains("edgeHub: # of the barn\n    heartbeat: 30\n"),
        "{yaml}"
    );
    assert!(uci.contains("# of the barn"), "{uci}");
    assert!(!yaml.contains("s3cret"), "{yaml}");
    match read(CREDENTIALS) {
        Ok(text) => assert_eq!(text, "barn:s3cret\n"),
        Err(_) => assert_eq!(yaml, OF_OPERATOR),
    }
}

/// Everything has its place and its mode, and nothing is left half written.
fn all_is_in_order(folder: &Path, proxy: u16) {
    nothing_is_lost(folder);
    let files = Files::real();
    for (path, mode) in [
        (YAML, 0o640),
        (CREDENTIALS, 0o600),
        (UCI, 0o600),
        ("etc/init.d/edgecore", 0o755),
        ("lib/upgrade/keep.d/kubeedge", 0o644),
        ("etc/kubeedge/certs/server.key", 0o600),
        ("usr/local/bin/kubeedge", 0o755),
    ] {
        assert_eq!(files.mode(&folder.join(path)).unwrap(), mode, "{path}");
    }
    let yaml = std::fs::read_to_string(folder.join(YAML)).unwrap();
    assert!(
        yaml.contains(&format!("http://127.0.0.1:{proxy}")),
        "{yaml}"
    );
    let uci = std::fs::read_to_string(folder.join(UCI)).unwrap();
    assert!(uci.contains("option enabled '1'"), "{uci}");
    for path in ["etc/rc.d/S95edgecore", "etc/rc.d/K10edgecore"] {
        let target = std::fs::read_link(folder.join(path)).unwrap();
        assert_eq!(target, Path::new("../init.d/edgecore"));
    }
    for inner in [
        "etc",
        "etc/config",
        "etc/init.d",
        "etc/kubeedge",
        "etc/kubeedge/config",
        "etc/rc.d",
        "lib/upgrade/keep.d",
        "usr/local/bin",
    ] {
        for entry in std::fs::read_dir(folder.join(inner)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name} is left in {inner}");
        }
    }
}

#[test]
fn a_join_of_a_device_with_settings_may_lose_its_power_at_any_moment() {
    let (cloud, folder, node, proxy) = (Cloud::start(), device(), new_name(), proxy());
    let program = cloud.program();
    let recording = record(&words(&cloud, proxy, &node), &program, folder.path());
    let states = recording.each_state(|state| {
        nothing_is_lost(state.root());
        if state.promised("joined") {
            all_is_there(state.root());
        }
        let words = |node: &str| words(&cloud, proxy, node);
        again(words, &program, state.root(), &node).unwrap();
        all_is_in_order(state.root(), proxy);
    });
    tried(
        "cuts-join-settled",
        "states a power cut leaves of a join through a proxy, by procd, into an operator's edgecore.yaml",
        states,
    );
    let written = recording.written();
    let on_flash = written.iter().filter(|path| !path.starts_with("run"));
    let names: Vec<_> = on_flash.map(|path| path.to_str().unwrap()).collect();
    let wanted = [
        UCI,
        "etc/init.d/edgecore",
        "etc/kubeedge/bootstrap-edgecore.conf",
        YAML,
        CREDENTIALS,
        "lib/upgrade/keep.d/kubeedge",
        "usr/local/bin/kubeedge",
    ];
    assert_eq!(names, wanted, "each once");
}

/// All that a join writes, when it has said that it is done.
fn all_is_there(folder: &Path) {
    for path in [
        CREDENTIALS,
        "etc/init.d/edgecore",
        "etc/kubeedge/bootstrap-edgecore.conf",
        "etc/rc.d/S95edgecore",
        "usr/local/bin/edgecore",
    ] {
        assert!(folder.join(path).symlink_metadata().is_ok(), "{path}");
    }
}

#[test]
fn a_join_of_a_device_with_settings_survives_every_fault_of_the_disk() {
    // One would want them slower.
    let clouds = [(); 4].map(|()| Cloud::start());
    let (program, proxy) = (clouds[0].program(), proxy());
    let next = AtomicUsize::new(0);
    let setup = || {
        let cloud = &clouds[next.fetch_add(1, Ordering::SeqCst) % clouds.len()];
        (device(), new_name(), cloud)
    };
    let flow = |(folder, node, cloud): &(Scratch, String, &Cloud), files| {
        let words = words(cloud, proxy, node);
        let joined = attempt_with(&words, &program, files, folder.path());
        kill_edgecore(folder.path());
        joined
    };
    let faults = faults_in_turn(setup, flow, |(folder, node, cloud), outcome, fault| {
        nothing_is_lost(folder.path());
        if let Err(error) = outcome {
            let sentence = error.to_string();
            assert!(is_clear(&sentence, fault), "{fault}: {sentence}");
        }
        let words = words(cloud, proxy, &node);
        attempt_with(&words, &program, Files::real(), folder.path()).unwrap();
        wait_for_end_of_token(folder.path());
        kill_edgecore(folder.path());
        all_is_in_order(folder.path(), proxy);
    });
    tried(
        "faults-join-settled",
        "faults of the disk during such a join",
        faults,
    );
}

//! What the benches share: a cloud and an edge that really run, what /proc says, a table's row.
//!
//! What is measured is always an executable as it is shipped, never the code of this build.
#![allow(dead_code)] // Each bench uses its part.

pub mod cloud;
pub mod edge;
pub mod process;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// `KUBEEDGE_BIN`, else what `./musl-build.sh x86_64` wrote.
pub fn executable() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = format!("dist/kubeedge-{}-x86_64", env!("CARGO_PKG_VERSION"));
    let path = std::env::var_os("KUBEEDGE_BIN").map_or(top.join(built), PathBuf::from);
    let there = path.is_file();
    assert!(
        there,
        "{} is missing: ./musl-build.sh x86_64, or KUBEEDGE_BIN=…",
        path.display()
    );
    path
}

/// Memory is counted as in an executable that is shipped: musl has one heap. In a test's executable each thread of
/// glibc's gets one of its own, of half a megabyte, whenever it meets another at work.
pub const ONE_HEAP: (&str, &str) = ("MALLOC_ARENA_MAX", "1");

/// A name, and what measures the executable and prints rows.
pub type Bench = (&'static str, fn(&Path));

/// The benches that the command line names, or all.
pub fn run(benches: &[Bench]) {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let known = |name: &String| benches.iter().any(|(known, _)| known == name);
    if let Some(unknown) = named.iter().find(|name| !known(name)) {
        let all: Vec<_> = benches.iter().map(|(name, _)| *name).collect();
        panic!("there is no bench {unknown}: there are {}", all.join(", "));
    }
    let executable = executable();
    for (name, bench) in benches {
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            eprintln!("--- {name}");
            bench(&executable);
        }
    }
}

/// A row of the table that `benches/all.sh` puts together.
pub fn row(what: &str, reach: &str, measured: impl Display, method: &str) {
    println!("| {what} | {reach} | {measured} | {method} |");
}

pub fn median(samples: &[Duration]) -> Duration {
    percentile(samples, 50)
}

pub fn percentile(samples: &[Duration], percent: usize) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1).expect("there are samples");
    sorted[(sorted.len() * percent / 100).min(last)]
}

/// `12.3 ms`, or seconds when there are some.
pub fn span(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds => format!("{:.1} ms", seconds * 1e3),
    }
}

/// Asks again and again until there is an answer; `what` is missing when there is none in time.
pub fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            started.elapsed() < patience,
            "no {what} within {patience:?}"
        );
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// A file and the folders above it.
pub fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("it lies in a folder"))
        .and_then(|()| std::fs::write(path, text))
        .expect("the folder is writable");
}

/// An empty folder with a short path, since sockets lie below it; removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kb{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Folder(path)
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

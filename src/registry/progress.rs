//! How far a download is, for people.

/// Is told what happens.
pub trait Progress {
    /// A part of an image is begun: `layer 2 of 5`.
    fn begin(&mut self, what: &str, total: u64);
    /// So many of its bytes are there.
    fn at(&mut self, done: u64);
}

/// Tells nobody.
impl Progress for () {
    fn begin(&mut self, _what: &str, _total: u64) {}
    fn at(&mut self, _done: u64) {}
}

/// Lines such as `layer 2 of 5: 50 % of 12.3 MB`, at most ten for each part.
pub struct Lines<F: FnMut(&str)> {
    say: F,
    what: String,
    total: u64,
    /// Tenths that were told of.
    told: u64,
}

impl<F: FnMut(&str)> Lines<F> {
    pub fn new(say: F) -> Lines<F> {
        Lines {
            say,
            what: String::new(),
            total: 0,
            told: 0,
        }
    }
}

impl<F: FnMut(&str)> Progress for Lines<F> {
    fn begin(&mut self, what: &str, total: u64) {
        what.clone_into(&mut self.what);
        self.total = total;
        self.told = 0;
        (self.say)(&format!("{what}: {}", size(total)));
    }

    fn at(&mut self, done: u64) {
        let tenth = match self.total {
            // What is here in a moment needs no lines.
            0..SMALL => 0,
            total => (u128::from(done) * 10 / u128::from(total)) as u64,
        };
        if tenth > self.told {
            self.told = tenth;
            let line = format!("{}: {} % of {}", self.what, tenth * 10, size(self.total));
            (self.say)(&line);
        }
    }
}

/// `12.3 MB`, in the units of registries.
pub fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit / (unit / 10));
    match bytes {
        0..1000 => format!("{bytes} bytes"),
        1000..1_000_000 => format!("{} kB", tenths(1000)),
        1_000_000.. => format!("{} MB", tenths(1_000_000)),
    }
}

/// Bytes.
const SMALL: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_at_most() {
        let mut lines = Vec::new();
        let mut progress = Lines::new(|line| lines.push(line.to_owned()));
        progress.begin("layer 1 of 2", 12_345_678);
        for done in 0..=1000 {
            progress.at(12_345_678 * done / 1000);
        }
        progress.begin("layer 2 of 2", 12);
        progress.at(12);
        assert_eq!(lines.len(), 12);
        assert_eq!(lines[1], "layer 1 of 2: 10 % of 12.3 MB");
        assert_eq!(lines[10], "layer 1 of 2: 100 % of 12.3 MB");
        assert_eq!(lines[11], "layer 2 of 2: 12 bytes");
    }
}

//! Lengths of time as a person says them.

use std::time::Duration;

use crate::system::counted::counted;

/// The largest unit of which there is more than one: `52 minutes`, `3 hours`, `364 days`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        172_800..157_680_000 => (seconds / 86_400, "day"),
        _ => (seconds / 31_536_000, "year"),
    };
    counted(usize::try_from(count).unwrap_or(usize::MAX), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (7_200, "2 hours"),
            (172_800, "2 days"),
            (364 * 86_400, "364 days"),
            (36_400 * 86_400, "99 years"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }
}

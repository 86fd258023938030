//! The known word nearest to a mistyped one.

/// None when nothing is near enough to be meant.
pub fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given: Vec<char> = given.to_lowercase().chars().take(LONGEST).collect();
    known
        .map(|word| (distance(&given, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(given.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Insertions, deletions, changes and swaps of neighbours that lead from one to the other.
fn distance(given: &[char], word: &str) -> usize {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=word.len()).collect();
    for (i, a) in given.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in word.iter().enumerate() {
            let changed = above[j] + usize::from(a != b);
            let mut best = changed.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == word[j - 1] && given[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = above;
        above = row;
    }
    above[word.len()]
}

/// Bounds the work for what a user may paste.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["token", "token-file", "cloudcore-ipport", "certport"];
        let find = |given| nearest(given, known.into_iter());
        assert_eq!(find("tokn"), Some("token"));
        assert_eq!(find("Token"), Some("token"));
        assert_eq!(find("tokenfile"), Some("token-file"));
        assert_eq!(find("cloudcore_ipport"), Some("cloudcore-ipport"));
        assert_eq!(find("cerptort"), Some("certport"));
        assert_eq!(find("colour"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn counts_a_swap_once() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("jion"), "join"), 1);
        assert_eq!(distance(&chars(""), "join"), 4);
        assert_eq!(distance(&chars("join"), "join"), 0);
    }
}

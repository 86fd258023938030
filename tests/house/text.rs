//! Rust text without what is no code.

/// The same text with comments, strings and character literals blanked out.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => until(&chars, i, |rest| rest[0] == '\n'),
            ('/', '*') => end_of_comment(&chars, i),
            ('r', '"' | '#') if !is_word(code.chars().last()) => end_of_raw_string(&chars, i),
            ('"', _) => end_of_quoted(&chars, i),
            ('\'', '\\') => end_of_quoted(&chars, i),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end > i {
            let lines = chars[i..end].iter().filter(|it| **it == '\n').count();
            code.push_str(if lines > 0 { "\n" } else { " " });
            code.push_str(&"\n".repeat(lines.saturating_sub(1)));
            i = end;
        } else {
            code.push(chars[i]);
            i += 1;
        }
    }
    code
}

/// The text before its unit tests, which stand at the end of a file.
pub fn without_tests(code: &str) -> String {
    let start = code.find("#[cfg(test)]\nmod tests");
    code[..start.unwrap_or(code.len())].to_owned()
}

/// Whether a path or macro is named, not only as the end of a longer word.
pub fn has_call(code: &str, call: &str) -> bool {
    code.match_indices(call)
        .any(|(i, _)| !is_word(code[..i].chars().last()))
}

fn is_word(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn until(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    let rest = from..chars.len();
    rest.into_iter()
        .find(|i| stop(&chars[*i..]))
        .unwrap_or(chars.len())
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut i = start;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

/// The same index when this is no raw string but a name such as `r#type`.
fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = until(chars, start + 1, |rest| rest[0] != '#') - start - 1;
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return start;
    }
    let close: Vec<char> = std::iter::once('"').chain(vec!['#'; hashes]).collect();
    let body = start + 2 + hashes;
    (until(chars, body, |rest| rest.starts_with(&close)) + close.len()).min(chars.len())
}

fn end_of_quoted(chars: &[char], start: usize) -> usize {
    let quote = chars[start];
    let mut i = start + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

#[test]
fn what_is_no_code_goes() {
    let text = "a /* b /* c */ d */ e // f\n\"g\\\"h\" 'i' '\\'' 'j k r#\"l\"m\"# r#n b\"o\" p\n";
    let words: Vec<String> = code_only(text)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(words, ["a", "e", "'j", "k", "r#n", "b", "p"]);
    assert_eq!(code_only("a\n/* b\n c */\nd").lines().count(), 4);
}

/// What a page says of tests: `tests/file.rs::name` or `src/file.rs::name`, in backquotes.
pub fn tests_named(page: &str) -> Vec<(&str, &str)> {
    let words = page.split('`').skip(1).step_by(2);
    words
        .filter(|word| word.starts_with("tests/") || word.starts_with("src/"))
        .filter_map(|word| {
            let end = word.find(".rs::")? + ".rs".len();
            Some((&word[..end], &word[end + "::".len()..]))
        })
        .collect()
}

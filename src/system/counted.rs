//! Numbers of things as a person says them.

/// `1 device`, `0 devices`, `2 devices`.
pub fn counted(count: usize, thing: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let said = [0, 1, 2].map(|count| counted(count, "device"));
        assert_eq!(said, ["0 devices", "1 device", "2 devices"]);
    }
}

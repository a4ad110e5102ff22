//! The kernel's command line: words of the form `KEY=VALUE`. What is not understood is not there.

/// The values of a key, which ends in `=`, as they come.
pub(crate) fn values<'l>(line: &'l [u8], key: &'static str) -> impl Iterator<Item = &'l str> {
    let line = core::str::from_utf8(line).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(move |word| word.strip_prefix(key))
}

/// What is said by `on` or `off`; the last of them counts.
pub fn switch(line: &[u8], key: &'static str) -> Option<bool> {
    values(line, key).fold(None, |before, value| match value {
        "on" => Some(true),
        "off" => Some(false),
        _ => before,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_choice_counts() {
        let vhe = |line: &str| switch(line.as_bytes(), "vhe=");
        assert_eq!(vhe(""), None);
        assert_eq!(vhe("log=5 vhe=on"), Some(true));
        assert_eq!(vhe("vhe=on vhe=off\n"), Some(false));
        assert_eq!(vhe("vhe=off vhe=perhaps xvhe=on"), Some(false));
        assert_eq!(switch(b"\xff vhe=on", "vhe="), None);
    }
}

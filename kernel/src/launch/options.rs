//! The kernel's command line: words of the form `KEY=VALUE`. Unknown words are ignored.

/// The values of `key`, which ends in `=`, in order.
pub(crate) fn values<'l>(line: &'l [u8], key: &'static str) -> impl Iterator<Item = &'l str> {
    let line = core::str::from_utf8(line).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(move |word| word.strip_prefix(key))
}

/// The value `on` or `off` of `key`. The last one counts.
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

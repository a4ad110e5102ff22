//! Comments that answer for a statement: why an `unsafe` is sound, why a panic cannot happen.

/// The comment right above the statement that contains `line`, which counts from 1; its lines joined, the lowest first.
pub(crate) fn comment_above(lines: &[&str], line: usize) -> String {
    let above = lines[..line - 1].iter().rev().map(|line| line.trim());
    above
        .skip_while(|line| is_code(line) && !ends_statement(line))
        .take_while(|line| line.starts_with("//"))
        .collect()
}

fn is_code(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("//")
}

fn ends_statement(line: &str) -> bool {
    line.ends_with([';', '{', '}', ','])
}

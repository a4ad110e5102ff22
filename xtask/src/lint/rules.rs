//! The rules themselves, each a function from a file to its findings.

use std::path::Path;

use super::comment::comment_above;
use super::tokens::{Token, tokens};
use super::{Finding, exit_page};

const MAXIMUM_LINES: usize = 600;
const FORBID: &str = "#![forbid(unsafe_code)]";
/// Put together here so that this file does not break the rule itself.
const LEFT_TO_DO: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// The kernel's ways to the bytes of a frame, and the files that may go them: each holds what keeps the frame from being freed
/// and used for something else meanwhile.
const BYTE_ACCESSES: [&str; 4] = ["read_bytes", "write_bytes", "read_outside", "write_outside"];
const BYTE_ACCESSORS: [&str; 3] = [
    "kernel/src/memory/guest_memory.rs",
    "kernel/src/syscall/user_memory.rs",
    "kernel/src/extension/load.rs",
];

/// Checks one file; `path` is relative to the root.
pub(super) fn check(path: &Path, source: &str) -> Vec<Finding> {
    let Some(tokens) = tokens(source) else {
        return vec![finding(1, "this is not Rust that can be read; let the compiler say why")];
    };
    let mut findings = Vec::from_iter(module_doc(source));
    findings.extend(length(source));
    findings.extend(left_to_do(source));
    findings.extend(safety(source, &tokens));
    findings.extend(exit_page::check(path, &tokens));
    findings.extend(super::waits::check(path, source));
    if path.starts_with("kernel") || path.starts_with("hal") {
        findings.extend(neutral(&tokens));
    }
    if path.starts_with("kernel") {
        findings.extend(safe(path, source, &tokens));
        findings.extend(kept_frames(path, &tokens));
    }
    findings
}

pub(super) fn finding(line: usize, text: impl Into<String>) -> Finding {
    Finding { line, text: text.into() }
}

fn module_doc(source: &str) -> Option<Finding> {
    let first = source.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let missing = !first.starts_with("//!");
    missing.then(|| finding(1, "begin the file with a //! doc that says what it is for, and why"))
}

fn length(source: &str) -> Option<Finding> {
    let lines = source.lines().count();
    let text = || format!("{lines} lines, more than {MAXIMUM_LINES}: split the file by its ideas");
    (lines > MAXIMUM_LINES).then(|| finding(MAXIMUM_LINES, text()))
}

fn left_to_do(source: &str) -> Vec<Finding> {
    let bad = |line: &&str| line.split(|c: char| !c.is_alphanumeric()).any(|word| LEFT_TO_DO.contains(&word));
    let lines = source.lines().enumerate().filter(|(_, line)| bad(line));
    lines.map(|(index, _)| finding(index + 1, "do it now, or leave the note out")).collect()
}

fn neutral(tokens: &[Token]) -> Vec<Finding> {
    let bad = tokens.iter().filter(|token| token.text == "target_arch");
    bad.map(|token| {
        finding(token.line, "no cfg(target_arch) here: it belongs behind a trait, in an arch crate")
    })
    .collect()
}

fn safe(path: &Path, source: &str, tokens: &[Token]) -> Vec<Finding> {
    let bad = tokens.iter().filter(|token| token.text == "unsafe");
    let mut findings: Vec<_> = bad
        .map(|token| finding(token.line, "no unsafe in the kernel: it belongs in an arch crate"))
        .collect();
    if path == Path::new("kernel/src/lib.rs") && !source.lines().any(|line| line.trim() == FORBID) {
        findings.push(finding(1, format!("the kernel must say {FORBID}")));
    }
    findings
}

fn kept_frames(path: &Path, tokens: &[Token]) -> Vec<Finding> {
    let is_accessor = BYTE_ACCESSORS.iter().any(|file| path == Path::new(file));
    let bad = tokens.iter().filter(|token| !is_accessor && BYTE_ACCESSES.contains(&token.text.as_str()));
    bad.map(|token| {
        finding(
            token.line,
            "access a frame by GuestView or user_memory: they hold what keeps it from being freed",
        )
    })
    .collect()
}

fn safety(source: &str, tokens: &[Token]) -> Vec<Finding> {
    let lines: Vec<_> = source.lines().collect();
    let pairs = tokens.windows(2).filter(|pair| pair[0].text == "unsafe");
    let promises = pairs.filter(|pair| pair[1].text == "{" || pair[1].text == "impl");
    let bad = promises.map(|pair| pair[0].line).filter(|&line| !has_safety_comment(&lines, line));
    bad.map(|line| finding(line, "say right above, in a // SAFETY: comment, why this unsafe is sound"))
        .collect()
}

/// Whether the comment above the statement that contains `line`, or one before the `unsafe`, answers for it.
fn has_safety_comment(lines: &[&str], line: usize) -> bool {
    let before = lines[line - 1].split("unsafe").next().unwrap_or_default();
    comment_above(lines, line).contains("SAFETY:") || before.contains("SAFETY:")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that are found wrong when `body` stands below a module doc.
    fn found(path: &str, body: &str) -> Vec<usize> {
        let source = format!("//! Doc.\n{body}");
        check(Path::new(path), &source).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_undocumented_unsafe_block_is_found() {
        assert_eq!(found("arch/src/a.rs", "fn f() {\n    unsafe { g() };\n}\n"), [3]);
        assert_eq!(found("arch/src/a.rs", "unsafe impl Send for A {}\n"), [2]);
    }

    #[test]
    fn one_comment_answers_for_one_block_only() {
        let body = "fn f() {\n    // SAFETY: it is so.\n    unsafe { g() };\n    unsafe { h() };\n}\n";
        assert_eq!(found("arch/src/a.rs", body), [5]);
    }

    #[test]
    fn a_comment_above_the_statement_counts() {
        for body in [
            "fn f() {\n    // SAFETY: it\n    // is so.\n    let x =\n        unsafe { g() };\n}\n",
            "// SAFETY: it is so.\n#[rustfmt::skip]\nunsafe impl Send for A {}\n",
            "fn f() { /* SAFETY: it is so. */ unsafe { g() } }\n",
        ] {
            assert_eq!(found("arch/src/a.rs", body), [0; 0], "{body}");
        }
    }

    #[test]
    fn a_comment_too_far_away_does_not_count() {
        assert_eq!(found("arch/src/a.rs", "fn f() {\n    // SAFETY: x\n\n    unsafe { g() };\n}\n"), [5]);
    }

    #[test]
    fn unsafe_functions_and_attributes_promise_nothing_here() {
        assert_eq!(found("arch/src/a.rs", "#[unsafe(no_mangle)]\nunsafe fn f() {}\n"), [0; 0]);
    }

    #[test]
    fn the_kernel_accesses_frames_where_something_keeps_them() {
        let body = "fn f(m: M) { m.read_bytes(at, &mut buffer); }\n";
        assert_eq!(found("kernel/src/syscall/vm.rs", body), [2]);
        assert_eq!(found("kernel/src/memory/guest_memory.rs", body), [0; 0]);
        assert_eq!(found("arch-x86/src/a.rs", body), [0; 0]);
    }

    #[test]
    fn the_kernel_has_no_unsafe_and_forbids_it() {
        assert_eq!(found("kernel/src/a.rs", "unsafe fn f() {}\n"), [2]);
        assert_eq!(found("kernel/src/lib.rs", "fn f() {}\n"), [1]);
        assert_eq!(found("kernel/src/lib.rs", "#![forbid(unsafe_code)]\n"), [0; 0]);
        assert_eq!(found("kernel/src/a.rs", "/// Not unsafe.\nfn f() {}\n"), [0; 0]);
    }

    #[test]
    fn kernel_and_hal_do_not_ask_for_the_architecture() {
        let body = "#[cfg(any(target_arch = \"x86_64\"))]\nfn f() {}\n";
        assert_eq!(found("hal/src/a.rs", body), [2]);
        assert_eq!(found("kernel/src/a.rs", "fn f() {\n    if cfg!(target_arch = \"x\") {}\n}\n"), [3]);
        assert_eq!(found("arch-x86/src/a.rs", body), [0; 0]);
    }

    #[test]
    fn a_file_begins_with_its_doc_and_is_not_long() {
        assert_eq!(check(Path::new("a.rs"), "use a;\n")[0].line, 1);
        assert_eq!(check(Path::new("a.rs"), "")[0].line, 1);
        assert_eq!(found("a.rs", &"\n".repeat(MAXIMUM_LINES)), [MAXIMUM_LINES]);
    }

    #[test]
    fn notes_of_work_left_are_found_as_words() {
        assert_eq!(found("a.rs", &format!("// {}: later\n", LEFT_TO_DO[0])), [2]);
        assert_eq!(found("a.rs", "// MASTODON\n"), [0; 0]);
    }
}

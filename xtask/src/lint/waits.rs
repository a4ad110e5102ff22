//! The rule about waits: every loop that polls names its bound.
//!
//! A guest, an extension, a device or another processor may never do what is waited for. So a loop that looks at something
//! which others change, and every call that puts the processor to sleep, has a comment `// BOUND: …` right above that says
//! what ends it; or why nobody minds where nothing does.

use std::path::Path;
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::Finding;
use super::comment::comment_above;

/// Where the rule holds: what runs on the machine itself.
const PLACES: [&str; 6] = ["kernel", "arch-x86", "arch-amd", "arch-intel", "arch-armv8", "images"];
/// What is called by those who wait.
const PAUSES: [&str; 9] =
    ["spin_loop", "relax", "park", "pause", "yield_now", "wfe", "wfi", "hlt", "halt_until_nmi"];
/// The same as instructions, each a literal of its own.
const INSTRUCTIONS: [&str; 5] = ["\"hlt\"", "\"wfe\"", "\"wfi\"", "\"pause\"", "\"yield\""];
/// What looks at something that others may change.
const LOOKS: [&str; 8] = [
    "load",
    "swap",
    "compare_exchange",
    "compare_exchange_weak",
    "read_volatile",
    "try_lock",
    "is_locked",
    "is_deaf",
];
/// What does so too, as a condition of `while`: a device's register, most likely.
const READS: [&str; 2] = ["read", "get"];

/// Checks one file.
pub(super) fn check(path: &Path, source: &str) -> Vec<Finding> {
    let in_place = PLACES.iter().any(|place| path.starts_with(place));
    let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("models.rs");
    let Some(stream) = TokenStream::from_str(source).ok().filter(|_| in_place && !is_test) else {
        return Vec::new();
    };
    let lines: Vec<_> = source.lines().collect();
    let mut walk = Walk { lines: &lines, findings: Vec::new() };
    walk.tokens(stream, false);
    walk.instructions();
    walk.findings
}

struct Walk<'s> {
    lines: &'s [&'s str],
    findings: Vec<Finding>,
}

impl Walk<'_> {
    /// `named`: a loop around it names its bound.
    fn tokens(&mut self, stream: TokenStream, named: bool) {
        let tokens: Vec<_> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let line = tokens[at].span().start().line;
            match &tokens[at] {
                TokenTree::Ident(word) if word == "mod" && is_tests(&tokens[..at]) => {
                    at += body(&tokens[at..]).unwrap_or(1);
                }
                TokenTree::Ident(word) if word == "loop" || word == "while" => {
                    if let Some(length) = body(&tokens[at..]) {
                        self.a_loop(&tokens[at..=at + length], named);
                        at += length;
                    }
                }
                TokenTree::Ident(word) if word == "for" && is_covered(self.lines, line) => {
                    if let Some(length) = body(&tokens[at..]) {
                        self.tokens(tokens[at + 1..=at + length].iter().cloned().collect(), true);
                        at += length;
                    }
                }
                TokenTree::Ident(word) if is_one_of(word, &PAUSES) => {
                    let defines = at > 0 && is_word(&tokens[at - 1], "fn");
                    let names = is_path(&tokens[at + 1..]);
                    if !defines && !names && !named && !is_covered(self.lines, line) {
                        self.found(line, &format!("`{word}` waits"));
                    }
                }
                TokenTree::Ident(word)
                    if word == "spin"
                        && at > 0
                        && is_word(&tokens[at - 1], "use")
                        && !is_covered(self.lines, line) =>
                {
                    self.found(line, "the locks of `spin` wait");
                }
                TokenTree::Group(group) => self.tokens(group.stream(), named),
                _ => {}
            }
            at += 1;
        }
    }

    /// A loop, from its keyword to its body.
    fn a_loop(&mut self, tokens: &[TokenTree], named: bool) {
        let line = tokens[0].span().start().line;
        let is_while = is_word(&tokens[0], "while");
        let named = named || is_covered(self.lines, line);
        let (condition, body) = tokens[1..].split_at(tokens.len() - 2);
        let polls = is_while && contains(condition, &[&LOOKS[..], &READS[..]].concat())
            || contains(tokens, &PAUSES)
            || !is_while && contains(body, &LOOKS);
        if polls && !named {
            self.found(line, "the loop polls");
        }
        self.tokens(tokens[1..].iter().cloned().collect(), named || polls);
    }

    fn instructions(&mut self) {
        for (index, text) in self.lines.iter().enumerate() {
            let code = text.split("//").next().unwrap_or_default();
            let waits = INSTRUCTIONS.iter().any(|instruction| code.contains(instruction));
            if waits && !is_covered(self.lines, index + 1) {
                self.found(index + 1, "the instruction waits");
            }
        }
    }

    fn found(&mut self, line: usize, what: &str) {
        let text = format!("{what}: say right above, in a // BOUND: comment, what ends that");
        self.findings.push(Finding { line, text });
    }
}

fn is_covered(lines: &[&str], line: usize) -> bool {
    comment_above(lines, line).contains("BOUND:")
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_one_of(word: &proc_macro2::Ident, words: &[&str]) -> bool {
    words.iter().any(|one| word == one)
}

/// Whether a path goes on with these tokens: the word before was a module's name. Or a field's, or a variable's.
fn is_path(after: &[TokenTree]) -> bool {
    !matches!(after.first(), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
}

/// Whether what comes is the module of tests: `#[cfg(test)]` stands before.
fn is_tests(before: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(attribute)) = before.last() else { return false };
    contains(&[TokenTree::Group(attribute.clone())], &["test"])
}

/// How far the body in braces is from the keyword.
fn body(tokens: &[TokenTree]) -> Option<usize> {
    let is_body =
        |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    tokens.iter().position(is_body)
}

/// Whether one of the words is in there, however deep.
fn contains(tokens: &[TokenTree], words: &[&str]) -> bool {
    tokens.iter().any(|token| match token {
        TokenTree::Ident(word) => is_one_of(word, words),
        TokenTree::Group(group) => contains(&group.stream().into_iter().collect::<Vec<_>>(), words),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that are found wrong in a file of the kernel's.
    fn found(source: &str) -> Vec<usize> {
        check(Path::new("kernel/src/a.rs"), source).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_loop_that_polls_names_its_bound() {
        for polls in [
            "while flag.load(Ordering::SeqCst) {}",
            "while self.read(STATUS) & BUSY != 0 { other(); }",
            "while !done() { core::hint::spin_loop(); }",
            "loop { if flag.swap(true, Relaxed) { break; } }",
            "loop { cpu.relax(); }",
            "while lock.try_lock().is_none() { (|| cpu.relax())() }",
            "'a: loop { if x { cpu.park(|| false); } }",
        ] {
            assert_eq!(found(&format!("fn f() {{\n    {polls}\n}}\n")), [2], "{polls}");
            assert_eq!(found(&format!("fn f() {{\n    // BOUND: x.\n    {polls}\n}}\n")), [0; 0], "{polls}");
        }
    }

    #[test]
    fn one_comment_answers_for_one_loop() {
        let two = "// BOUND: x.\nwhile a.load(R) {}\nwhile b.load(R) {}\n";
        assert_eq!(found(&format!("fn f() {{\n{two}}}\n")), [4]);
        let nested = "// BOUND: x.\nloop {\nlet y = 1;\ncpu.relax();\n}\n";
        assert_eq!(found(&format!("fn f() {{\n{nested}}}\n")), [0; 0]);
    }

    #[test]
    fn a_wait_outside_a_loop_names_it_too() {
        assert_eq!(found("fn f() {\n    cpu.park(|| true);\n}\n"), [2]);
        assert_eq!(
            found("fn f() {\n    let x = 1;\n\n    // BOUND: x.\n    cpu.park(|| true);\n}\n"),
            [0; 0]
        );
        assert_eq!(found("fn f() {\n    asm!(\"cli\", \"hlt\");\n}\n"), [2]);
        assert_eq!(
            found("fn f() {\n    naked_asm!(\n        // BOUND: x.\n        \"wfe\",\n    );\n}\n"),
            [0; 0]
        );
        assert_eq!(found("use spin::Mutex;\n"), [1]);
        assert_eq!(found("// BOUND: x.\nuse spin::{Mutex, Once};\n"), [0; 0]);
    }

    #[test]
    fn what_does_not_wait_needs_no_comment() {
        for quiet in [
            "fn relax(&self) {}",
            "fn f() { while at < end { at += table.step(); } }",
            "fn f() { while let Some(one) = list.next() { use_it(one); } }",
            "fn f() { loop { step(); } }",
            "fn f() { for bit in 0..8 { flag.load(R); } }",
            "fn f() { let pause = limit / 8; g(pause); }",
            "#[cfg(test)]\nmod tests { fn f() { while flag.load(R) {} } }",
            "/// while flag.load() { relax() } \"hlt\"\nfn f() {}",
        ] {
            assert_eq!(found(quiet), [0; 0], "{quiet}");
        }
    }

    #[test]
    fn the_rule_holds_on_the_machine_alone() {
        let polls = "fn f() { while flag.load(R) {} }\n";
        for (path, count) in [
            ("images/x86/src/image.rs", 1),
            ("arch-amd/src/cpu.rs", 1),
            ("kernel/src/ipi/mailbox/models.rs", 0),
            ("kernel/tests/a.rs", 0),
            ("arch-sim/src/cpu.rs", 0),
            ("xtask/src/main.rs", 0),
        ] {
            assert_eq!(check(Path::new(path), polls).len(), count, "{path}");
        }
    }
}

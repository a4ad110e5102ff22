//! Who may read an exit page, and how often.
//!
//! The extension can write an exit page at any time, so what is read there twice may be two values. The types of
//! `hal/src/exit_page.rs` let a decision read once. They cannot say how many decisions a file makes: this table does. A
//! read more is a line more here, with its reason.

use std::path::Path;

use super::tokens::Token;
use super::{Finding, rules};

/// A way to what an exit page holds: the method's name, and by file how often it may be called there, and what for.
struct Way {
    method: &'static str,
    callers: &'static [(&'static str, usize, &'static str)],
}

const WAYS: &[Way] = &[
    Way {
        method: "registers_once",
        callers: &[
            ("kernel/src/pp/passthrough.rs", 2, "an answer as the bare machine's; a hypercall's number"),
            (
                "kernel/src/hypercall/mod.rs",
                2,
                "whether a hypercall may be the kernel's own; its number and arguments",
            ),
            ("kernel/src/pp/trace.rs", 1, "what an ID read or a hypercall is about, for a record"),
            (
                "kernel/src/pp/promotion.rs",
                2,
                "what the bare machine goes on with; whether the OS says that it can",
            ),
            ("kernel/src/pp/cpu_control.rs", 1, "what a guest does to processors"),
            ("kernel/src/pp/mod.rs", 1, "a VS that is put to rest"),
            ("kernel/src/syscall/vs.rs", 1, "a root VS, before it first runs"),
            ("kernel/src/syscall/registers.rs", 1, "a general register for the extension itself"),
            ("arch-amd/src/cpu.rs", 2, "RAX and RSP for the VMCB before an entry; an exit"),
            ("arch-amd/src/fast_path.rs", 1, "CPUID that may have a declared answer"),
            ("arch-intel/src/cpu.rs", 1, "an exit"),
            ("arch-intel/src/fast_path.rs", 1, "RSP for the VMCS before an entry"),
            ("arch-armv8/src/cpu/mod.rs", 1, "the operand of a system instruction"),
            ("arch-armv8/src/cpu/redistributor.rs", 1, "a store to a redistributor: what, and where"),
            ("arch-armv8/src/cpu/single_step.rs", 1, "a write to a debug register of a VS that is stepped"),
            ("arch-armv8/src/deadline.rs", 1, "a write to the interrupt controller's interface"),
            (
                "arch-armv8/src/fast_path.rs",
                2,
                "the number of a call; where that is the firmware's, its other registers",
            ),
            ("arch-sim/src/cpu.rs", 2, "an ID read that may have a declared answer; the end of a program"),
            ("arch-sim/src/execute.rs", 1, "an instruction that reads a register"),
        ],
    },
    Way {
        method: "world_switch_words",
        callers: &[
            ("arch-amd/src/fast_path.rs", 1, "the world switch"),
            ("arch-intel/src/fast_path.rs", 1, "the world switch"),
            ("arch-armv8/src/fast_path.rs", 1, "the world switch"),
        ],
    },
    Way {
        method: "exit_frame_address",
        callers: &[
            ("arch-x86/src/memory.rs", 1, "looks the page up"),
            ("arch-armv8/src/memory.rs", 1, "looks the page up"),
            ("arch-sim/src/ram.rs", 1, "looks the page up"),
        ],
    },
    Way {
        method: "field_for_a_report",
        callers: &[(
            "kernel/src/report/crash.rs",
            1,
            "the last line of a processor that the kernel has lost",
        )],
    },
];

/// Where the ways are defined.
const DEFINITION: &str = "hal/src/exit_page.rs";

/// Finds the uses of a way in a file of the kernel's or a backend's that the table does not list.
pub(super) fn check(path: &Path, tokens: &[Token]) -> Vec<Finding> {
    let privileged = path.starts_with("kernel") || path.starts_with("hal") || is_backend(path);
    if !privileged || path == Path::new(DEFINITION) {
        return Vec::new();
    }
    WAYS.iter().flat_map(|way| beyond(way, path, before_tests(tokens))).collect()
}

fn is_backend(path: &Path) -> bool {
    path.iter().next().is_some_and(|first| first.to_string_lossy().starts_with("arch-"))
}

/// The code without the unit tests at its end, which have exit pages of their own.
fn before_tests(tokens: &[Token]) -> &[Token] {
    let tests = tokens.windows(2).position(|pair| pair[0].text == "mod" && pair[1].text == "tests");
    &tokens[..tests.unwrap_or(tokens.len())]
}

fn beyond(way: &Way, path: &Path, tokens: &[Token]) -> Vec<Finding> {
    let allowed =
        way.callers.iter().find(|(file, ..)| path == Path::new(file)).map_or(0, |(_, count, _)| *count);
    let uses = tokens.iter().filter(|token| token.text == way.method);
    uses.skip(allowed)
        .map(|token| {
            rules::finding(
                token.line,
                format!(
                    "{} reads what the extension can change meanwhile: take it once, and list it in \
                     xtask/src/lint/exit_page.rs",
                    way.method
                ),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    fn found(path: &str, source: &str) -> Vec<usize> {
        check(Path::new(path), &tokens(source).unwrap()).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_file_that_is_not_listed_may_not_read() {
        let source = "fn f(page: P) {\n    page.registers_once();\n    P::world_switch_words(&page);\n}\n";
        for path in [
            "kernel/src/pp/run.rs",
            "hal/src/vs.rs",
            "arch-intel/src/memory_types.rs",
            "arch-armv8/src/vs.rs",
        ] {
            assert_eq!(found(path, source), [2, 3], "{path}");
        }
        assert_eq!(found("xtask/src/main.rs", source), [0; 0]);
    }

    #[test]
    fn a_listed_file_may_not_read_once_more() {
        let once = "fn f(page: P) {\n    page.registers_once();\n}\n";
        let twice = "fn f(page: P) {\n    page.registers_once();\n    page.registers_once();\n}\n";
        assert_eq!(found("kernel/src/pp/cpu_control.rs", once), [0; 0]);
        assert_eq!(found("kernel/src/pp/cpu_control.rs", twice), [3]);
    }

    #[test]
    fn unit_tests_have_pages_of_their_own() {
        let source =
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn t(page: P) { page.registers_once(); }\n}\n";
        assert_eq!(found("arch-x86/src/exit_registers.rs", source), [0; 0]);
    }

    #[test]
    fn every_entry_names_a_file_that_uses_it_so_often() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for way in WAYS {
            for (file, count, _) in way.callers {
                let source = std::fs::read_to_string(root.join(file)).unwrap();
                let tokens = tokens(&source).unwrap();
                let uses = before_tests(&tokens).iter().filter(|token| token.text == way.method).count();
                assert_eq!(uses, *count, "{} in {file}", way.method);
            }
        }
    }
}

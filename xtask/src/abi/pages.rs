//! The specification in `docs/abi/`, as Markdown.

use std::fmt::Write;

use plinth_extension_api::abi::spec::{
    self, CALLBACKS, CONVENTION, Contract, DATA, Ending, PREDECESSOR, Reach, VERSIONS, checks,
};
use plinth_extension_api::abi::{
    Call, Constant, EVENTS, Error, ExitClass, FLAGS, GROUPS, HYPERCALLS, LAYOUTS, LIMITS, Layout, MANIFESTS,
    MEMORY_ACCESS, SERVED, VERSION, register,
};

use super::Made;
use super::tables::{calls_of, failure, one_line};

/// First line of every page.
const NOTICE: &str = "<!-- Made by `cargo xtask abi` from extension-api/src/abi. Change it there. -->\n";

/// Every page.
pub(super) fn all() -> Vec<Made> {
    vec![
        Made { path: "docs/abi/README.md", content: index() },
        Made { path: "docs/abi/calls.md", content: calls() },
        Made { path: "docs/abi/data.md", content: data() },
        Made { path: "docs/abi/changelog.md", content: changelog() },
        Made { path: "docs/abi/predecessor.md", content: predecessor() },
        Made { path: "docs/abi/checks.md", content: conformance() },
    ]
}

fn index() -> String {
    let mut page = format!("{NOTICE}\n# The ABI, version {VERSION}\n\n");
    page += "What the kernel and an extension agree on. It is defined once, in `extension-api/src/abi/`: kernel, Rust \
             API,\nC header (`extension-api/include/plinth.h`), these pages and the conformance tests come from \
             there.\n\n";
    page += "[Calls](calls.md) · [exit page, classes, registers and other data](data.md) · \
             [what each version added](changelog.md) ·\n[conformance checks](checks.md) · \
             [what became of the predecessor's calls](predecessor.md)\n\n";
    page += CONVENTION;
    page += "\n| Error | Name | Meaning |\n| --- | --- | --- |\n";
    for error in Error::ALL {
        let _ = writeln!(page, "| {} | `{}` | {} |", *error as u16, error.name(), one_line(error.meaning()));
    }
    let _ = write!(page, "\n{CALLBACKS}\n## Limits\n\n");
    page + &constants(LIMITS)
}

fn calls() -> String {
    let mut page = format!("{NOTICE}\n# Calls\n\nHow to read errors and ids: [README.md](README.md).\n");
    for group in GROUPS {
        let _ = write!(page, "\n## Group {}: {}\n\n{}\n", group.number, group.name, group.text);
        for call in calls_of(group.number) {
            page += &entry(call);
        }
    }
    page
}

/// The entry of one call.
fn entry(call: Call) -> String {
    let contract = call.contract();
    let mut entry = format!("\n### `{}`\n\n", call.name());
    let ending = match contract.ending {
        Ending::Returns => "",
        Ending::Resumes => " It comes back only if it fails.",
        Ending::Never => " It never comes back.",
    };
    let does = one_line(call.does());
    let _ = writeln!(
        entry,
        "{does}{ending} Number {}.{}, {:#018x}; since version {}.\n",
        call.group(),
        call as u32 & 0xFFFF,
        call.number(),
        call.since()
    );
    let _ = writeln!(entry, "*Why:* {}", contract.why);
    if !contract.details.is_empty() {
        let _ = writeln!(entry, "\n{}", contract.details);
    }
    entry += &registers(contract);
    for note in contract.notes {
        let what = if note.unsupported { "answers `Unsupported`. " } else { "" };
        let _ = writeln!(entry, "\n*{}:* {what}{}", note.machine.name(), note.text);
    }
    entry
}

/// The tables of inputs, outputs and errors.
fn registers(contract: &Contract) -> String {
    let mut text = String::new();
    if !contract.inputs.is_empty() || !contract.outputs.is_empty() {
        text += "\n| | Name | What | |\n| --- | --- | --- | --- |\n";
    }
    for (kind, parameters) in [("in", contract.inputs), ("out", contract.outputs)] {
        for (register, parameter) in parameters.iter().enumerate() {
            let (name, what) = (parameter.name, parameter.kind.name());
            let _ = writeln!(text, "| {kind} REG{register} | `{name}` | {what} | {} |", parameter.text);
        }
    }
    if !contract.errors.is_empty() {
        text += "\n| Error | When |\n| --- | --- |\n";
    }
    for case in contract.errors {
        let _ = writeln!(text, "| `{}` | {} |", failure(case), case.when);
    }
    text
}

fn constants(table: &[Constant]) -> String {
    let mut text = String::from("| Name | Value | |\n| --- | --- | --- |\n");
    for constant in table {
        let about = one_line(constant.text);
        let value =
            if constant.value < 10 { constant.value.to_string() } else { format!("{:#x}", constant.value) };
        let _ = writeln!(text, "| `{}` | {value} | {about} |", constant.name);
    }
    text
}

fn data() -> String {
    let mut page = format!("{NOTICE}\n# What calls and callbacks pass\n");
    for layout in LAYOUTS {
        page += &self::layout(layout);
    }
    let _ = write!(page, "\n{}", constants(MANIFESTS));
    page += "\n## Exit classes\n\n| Number | Class | |\n| --- | --- | --- |\n";
    for class in ExitClass::ALL {
        let text = one_line(class.text());
        let _ = writeln!(page, "| {} | `{}` | {text} |", *class as u8, class.identifier());
    }
    let access = constants(MEMORY_ACCESS);
    let _ = write!(
        page,
        "\n`detail` of a `Memory` exit:\n\n{access}\n## Bits of arguments\n\n{}\n",
        constants(FLAGS)
    );
    let (events, rest) = DATA.split_once("## Registers").unwrap_or((DATA, ""));
    let (registers, hypercalls) = rest.split_once("## Hypercalls").unwrap_or((rest, ""));
    let _ = write!(
        page,
        "{events}{}\n## Registers{registers}{}",
        constants(EVENTS),
        constants(register::REGISTERS)
    );
    let _ = write!(page, "\n## Hypercalls{hypercalls}\n{}", constants(HYPERCALLS));
    let _ = write!(page, "\n## What the kernel tells about itself\n\n{}", constants(SERVED));
    page
}

fn layout(layout: &Layout) -> String {
    let mut text = format!(
        "\n## `{}`\n\n{}\n\n{} bytes, little endian.\n\n",
        layout.name,
        layout.text.trim(),
        layout.size
    );
    text += "| Offset | Field | Type | Holds |\n| --- | --- | --- | --- |\n";
    for field in layout.fields {
        let holds = one_line(field.text);
        let kind = field.kind.replace("GENERAL_REGISTERS", "32");
        let _ = writeln!(text, "| {:#05x} | `{}` | `{kind}` | {holds} |", field.offset, field.name);
    }
    text
}

fn changelog() -> String {
    let mut page = format!("{NOTICE}\n# What each version of the ABI added\n");
    for version in VERSIONS.iter().rev() {
        let state = if version.released { "released" } else { "unreleased" };
        let _ = write!(page, "\n## Version {}, {state}\n\n", version.number);
        for change in version.changes {
            let _ = writeln!(page, "- {change}");
        }
        let new = Call::ALL.iter().filter(|call| call.since() == version.number);
        let names: Vec<_> = new.map(|call| format!("`{}`", call.name())).collect();
        let _ = writeln!(page, "- Calls: {}.", names.join(", "));
    }
    page
}

fn predecessor() -> String {
    let mut page = format!("{NOTICE}\n# The predecessor's calls\n\n");
    page += "Bareflank v3 specified 47 calls (Mk#1). This is what became of each. Numbers with its signature, 0x6642, \
             are\nrefused here.\n\n| Number | Its name | Here | |\n| --- | --- | --- | --- |\n";
    for old in PREDECESSOR {
        let calls: Vec<_> = old.calls.iter().map(|call| format!("`{}`", call.name())).collect();
        let calls = if calls.is_empty() { "none".to_owned() } else { calls.join(", ") };
        let (group, index) = old.number;
        let _ = writeln!(page, "| {group}.{index} | `bf_{}` | {calls} | {} |", old.name, old.text);
    }
    page
}

fn conformance() -> String {
    let mut page = format!("{NOTICE}\n# Conformance checks\n\n");
    page += "The extension `tests/extensions/src/bin/conformance.rs` makes these checks on every board, and arch-sim's \
             tests\nmake the same ones by the same code. Each prints `ABI CALL CASE ok`.\n\n";
    page += "A call of a group that the manifest lacks is another extension's, `denied`, and the tests' in \
             `arch-sim/tests/manifest.rs`.\n\n";
    for check in checks() {
        let _ = writeln!(page, "- `{check}`");
    }
    page += "\n## What no extension can bring about at will\n\n| Case | Why, and what shows it |\n| --- | --- |\n";
    for call in Call::ALL {
        let contract = call.contract();
        if let Reach::Elsewhere(why) = contract.works {
            let _ = writeln!(page, "| `{} works` | {why} |", call.name());
        }
        for case in contract.errors {
            if let spec::Reach::Elsewhere(why) = case.reach {
                let _ = writeln!(page, "| `{} {}` | {why} |", call.name(), failure(case));
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_says_why_it_exists_and_belongs_to_a_group_and_a_version() {
        for call in Call::ALL {
            let contract = call.contract();
            assert!(!contract.why.is_empty() && !call.does().trim().is_empty(), "{call:?}");
            assert!(GROUPS.iter().any(|group| group.number == call.group()), "{call:?}");
            assert!(VERSIONS.iter().any(|version| version.number == call.since()), "{call:?}");
        }
        assert_eq!(VERSIONS.last().map(|version| version.number), Some(VERSION));
        assert!(Call::ALL.is_sorted_by_key(|call| *call as u32));
    }

    #[test]
    fn no_call_of_the_predecessor_is_forgotten() {
        assert_eq!(PREDECESSOR.len(), 47);
        assert!(PREDECESSOR.is_sorted_by_key(|old| old.number));
        assert!(PREDECESSOR.iter().all(|old| !old.calls.is_empty() || !old.text.is_empty()));
    }

    #[test]
    fn checks_are_told_apart_by_their_text() {
        let mut texts: Vec<_> = checks().map(|check| check.to_string()).collect();
        let all = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), all);
    }

    #[test]
    fn an_error_names_an_argument_that_the_call_has() {
        for call in Call::ALL {
            let inputs = call.contract().inputs.len();
            let mut arguments = call.contract().errors.iter().filter_map(|case| case.argument);
            assert!(arguments.all(|argument| usize::from(argument) < inputs), "{call:?}");
        }
    }
}

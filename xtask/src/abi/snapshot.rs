//! The snapshot: one line for each fact of the ABI that an extension may rely on. What was in it once may not
//! change; what is new is added.

use std::collections::BTreeMap;
use std::fmt;

use plinth_extension_api::abi::{
    Call, Constant, EVENTS, Error, ExitClass, FLAGS, HYPERCALLS, LAYOUTS, LIMITS, MANIFESTS, MEMORY_ACCESS,
    SERVED, SIGNATURE, register,
};

use super::tables::{failure, meaning, one_line, signature};

/// Where it is checked in.
pub(super) const PATH: &str = "extension-api/abi.snapshot";

/// What to do about a change.
pub(super) const ADVICE: &str = "A released number, layout or meaning never changes: extensions in the field rely on it. \
    Undo the change and add a new call, error, class or register with a new number and the next version instead. \
    If the version that these lines belong to was never released, or a text was only put more clearly, accept the \
    change with `cargo xtask abi --accept` and say why in the commit.";

/// The snapshot as it would be made now.
pub(super) fn text() -> String {
    let mut lines = vec![format!("signature {SIGNATURE:#x}")];
    lines.extend(Call::ALL.iter().map(|call| self::call(*call)));
    lines.extend(
        Error::ALL.iter().map(|error| {
            format!("error {} {} meaning {}", *error as u16, error.name(), hash(error.meaning()))
        }),
    );
    lines.extend(ExitClass::ALL.iter().map(|class| {
        format!("class {} {} meaning {}", *class as u8, class.identifier(), hash(&one_line(class.text())))
    }));
    for (kind, table) in [
        ("limit", LIMITS),
        ("flag", FLAGS),
        ("event", EVENTS),
        ("access", MEMORY_ACCESS),
        ("register", register::REGISTERS),
        ("hypercall", HYPERCALLS),
        ("served", SERVED),
        ("manifest", MANIFESTS),
    ] {
        lines.extend(table.iter().map(|constant| self::constant(kind, constant)));
    }
    for layout in LAYOUTS {
        lines.push(format!("layout {} {} bytes", layout.name, layout.size));
        lines.extend(layout.fields.iter().map(|field| {
            let hash = hash(&one_line(field.text));
            format!(
                "field {}.{} {} at {:#x} meaning {hash}",
                layout.name, field.name, field.kind, field.offset
            )
        }));
    }
    lines.join("\n") + "\n"
}

fn call(call: Call) -> String {
    let contract = call.contract();
    let errors: Vec<_> = contract.errors.iter().map(failure).collect();
    format!(
        "call {:#x} {} since {} in ({}) out ({}) errors ({}) meaning {}",
        call.number(),
        call.name(),
        call.since(),
        signature(contract.inputs),
        signature(contract.outputs),
        errors.join(" "),
        hash(&meaning(call, contract)),
    )
}

fn constant(kind: &str, constant: &Constant) -> String {
    format!("{kind} {:#x} {} meaning {}", constant.value, constant.name, hash(&one_line(constant.text)))
}

/// FNV-1a, 32 bits: enough to notice a change of words.
fn hash(text: &str) -> String {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    format!("{:08x}", text.bytes().fold(0x811C_9DC5, step))
}

/// What differs between two snapshots.
pub(super) struct Difference {
    gone: Vec<String>,
    changed: Vec<(String, String)>,
}

impl Difference {
    /// Whether something that was there is gone or different.
    pub(super) fn breaks(&self) -> bool {
        !self.gone.is_empty() || !self.changed.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the ABI is not what it was:")?;
        self.gone.iter().try_for_each(|line| writeln!(f, "  gone: {line}"))?;
        self.changed.iter().try_for_each(|(old, new)| writeln!(f, "  was:  {old}\n  now:  {new}"))
    }
}

/// Compares two snapshots. What is only in the new one is an addition and no difference.
pub(super) fn compare(old: &str, new: &str) -> Difference {
    let new: BTreeMap<String, &str> = new.lines().map(|line| (key(line), line)).collect();
    let mut difference = Difference { gone: Vec::new(), changed: Vec::new() };
    for line in old.lines() {
        match new.get(&key(line)) {
            None => difference.gone.push(line.to_owned()),
            Some(now) if *now != line => difference.changed.push((line.to_owned(), (*now).to_owned())),
            Some(_) => {}
        }
    }
    difference
}

/// What a line is about: the first two words; three for registers and flags, whose numbers may coincide.
fn key(line: &str) -> String {
    let words = if line.starts_with("call") || line.starts_with("field") { 2 } else { 3 };
    line.split(' ').take(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_and_an_addition_is_none() {
        let old = text();
        assert!(!compare(&old, &(text() + "call 0x1 New since 9")).breaks());
        for broken in [
            old.replacen("VmMap since 1", "VmMap since 2", 1),
            old.replacen("field ExitPage.code u64 at 0x100", "field ExitPage.code u64 at 0x108", 1),
            old.replacen("error 4 StaleId", "error 4 OldId", 1),
            old.lines().skip(1).collect::<Vec<_>>().join("\n"),
        ] {
            assert!(broken != old, "the test changes something");
            assert!(compare(&old, &broken).breaks());
        }
    }
}

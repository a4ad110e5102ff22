//! Ways to write the ABI's data that several of its outputs share.

use plinth_extension_api::abi::spec::{Contract, ErrorCase, Parameter};
use plinth_extension_api::abi::{Call, Field};

/// A doc comment as one line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

/// A Rust name as C and file names have it: `VmMap` is `vm_map`.
pub(super) fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// How a case is written: `StaleId(1)`.
pub(super) fn failure(case: &ErrorCase) -> String {
    match case.argument {
        Some(argument) => format!("{}({argument})", case.error.name()),
        None => case.error.name().to_owned(),
    }
}

/// The calls of a group.
pub(super) fn calls_of(group: u16) -> impl Iterator<Item = Call> {
    Call::ALL.iter().copied().filter(move |call| call.group() == group)
}

/// `name:kind` of each.
pub(super) fn signature(parameters: &[Parameter]) -> String {
    let each = parameters.iter().map(|parameter| format!("{}:{}", parameter.name, parameter.kind.name()));
    each.collect::<Vec<_>>().join(" ")
}

/// Every text of a contract that a caller relies on, for its hash.
pub(super) fn meaning(call: Call, contract: &Contract) -> String {
    let mut text = one_line(call.does());
    for parameter in contract.inputs.iter().chain(contract.outputs) {
        text.push_str(parameter.text);
    }
    for case in contract.errors {
        text.push_str(&failure(case));
        text.push_str(case.when);
    }
    text + contract.details
}

/// A field's element type and number of elements: `[u64; 2]` is `("u64", Some(2))`.
pub(super) fn element(field: &Field) -> (&'static str, Option<usize>) {
    let Some(inner) = field.kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) else {
        return (field.kind, None);
    };
    let (kind, count) = inner.split_once(';').unwrap_or((inner, "1"));
    let count = match count.trim() {
        "GENERAL_REGISTERS" => plinth_extension_api::abi::GENERAL_REGISTERS,
        number => number.parse().unwrap_or_default(),
    };
    (kind.trim(), Some(count))
}

//! The C header: numbers, layouts and a function for each call, for extensions in C.

use std::fmt::Write;

use plinth_extension_api::abi::spec::{Contract, Ending};
use plinth_extension_api::abi::{
    CPUID_SHOWN, Call, Constant, EVENTS, Error, ExitClass, FLAGS, HYPERCALLS, LAYOUTS, LIMITS, Layout,
    MANIFESTS, MEMORY_ACCESS, SERVED, VERSION, register,
};

use super::tables::{element, failure, one_line, snake};

/// Everything before the numbers.
const TOP: &str = include_str!("top.h");
/// The system call itself.
const CALL: &str = include_str!("call.h");

/// The header.
pub(super) fn text() -> String {
    let mut text = TOP.to_owned();
    let _ = writeln!(text, "\n/* The newest version of the ABI. */\n#define PLINTH_VERSION {VERSION}u");
    for (title, table) in [
        ("Limits and ids", LIMITS),
        ("Bits of arguments", FLAGS),
        ("Events for plinth_vs_inject", EVENTS),
        ("How a guest accessed memory: detail of a memory exit", MEMORY_ACCESS),
        ("Manifests", MANIFESTS),
        ("Hypercalls", HYPERCALLS),
        ("What the kernel tells about itself", SERVED),
        ("What CPUID shows to the root VM, on x86: may differ from version to version", CPUID_SHOWN),
    ] {
        text += &constants(title, "", table);
    }
    text +=
        &constants("Registers of a VS besides the general ones, 0 to 31", "REGISTER_", register::REGISTERS);
    text += &errors();
    text += &classes();
    LAYOUTS.iter().for_each(|layout| text += &structure(layout));
    text += "\n/* Call numbers. */\n";
    for call in Call::ALL {
        let name = snake(call.name()).to_uppercase();
        let _ = writeln!(text, "#define PLINTH_CALL_{name} UINT64_C({:#018x})", call.number());
    }
    text += CALL;
    Call::ALL.iter().for_each(|call| text += &function(*call));
    text + "\n#endif\n"
}

fn constants(title: &str, prefix: &str, table: &[Constant]) -> String {
    let mut text = format!("\n/* {title}. */\n");
    for constant in table {
        let about = one_line(constant.text);
        let _ = writeln!(
            text,
            "/* {about} */\n#define PLINTH_{prefix}{} UINT64_C({:#x})",
            constant.name, constant.value
        );
    }
    text
}

fn errors() -> String {
    let mut text = String::from("\n/* Errors: bits 15:0 of a status. */\n");
    for error in Error::ALL {
        let name = snake(error.name()).to_uppercase();
        let _ = writeln!(
            text,
            "/* {} */\n#define PLINTH_ERROR_{name} {}u",
            one_line(error.meaning()),
            *error as u16
        );
    }
    text
}

fn classes() -> String {
    let mut text = String::from("\n/* Exit classes. */\n");
    for class in ExitClass::ALL {
        let name = snake(class.identifier()).to_uppercase();
        let _ =
            writeln!(text, "/* {} */\n#define PLINTH_EXIT_{name} {}u", one_line(class.text()), *class as u8);
    }
    text
}

fn structure(layout: &Layout) -> String {
    let name = format!("plinth_{}", snake(layout.name));
    let mut text = format!("\n/* {} */\nstruct {name} {{\n", one_line(layout.text));
    let mut checks =
        format!("_Static_assert(sizeof(struct {name}) == {}, \"size of {name}\");\n", layout.size);
    for field in layout.fields {
        let (kind, count) = element(field);
        let kind = format!("uint{}_t", &kind[1..]);
        let count = count.map_or(String::new(), |count| format!("[{count}]"));
        let _ = writeln!(text, "    /* {} */\n    {kind} {}{count};", one_line(field.text), field.name);
        let _ = writeln!(
            checks,
            "_Static_assert(offsetof(struct {name}, {}) == {}, \"offset of {}\");",
            field.name, field.offset, field.name
        );
    }
    text + "};\n" + &checks
}

/// The function of a call: inputs by value, outputs through pointers, the status as its result.
fn function(call: Call) -> String {
    let contract = call.contract();
    let inputs = contract.inputs.iter().map(|input| format!("uint64_t {}", input.name));
    let outputs = contract.outputs.iter().map(|output| format!("uint64_t *{}", out(output.name)));
    let parameters: Vec<_> = inputs.chain(outputs).collect();
    let parameters = if parameters.is_empty() { "void".to_owned() } else { parameters.join(", ") };
    let name = snake(call.name());
    let mut text = format!("\n{}", comment(call, contract));
    let _ = writeln!(text, "static inline plinth_status plinth_{name}({parameters})\n{{");
    let given: Vec<_> = contract.inputs.iter().map(|input| input.name).chain(["0"; 6]).take(6).collect();
    let number = format!("PLINTH_CALL_{}", name.to_uppercase());
    let _ = writeln!(text, "    struct plinth_result result = plinth_call({number}, {});", given.join(", "));
    for (register, output) in contract.outputs.iter().enumerate() {
        let name = out(output.name);
        let _ = writeln!(
            text,
            "    if (result.status == 0 && {name} != 0) {{\n        *{name} = result.output[{register}];\n    }}"
        );
    }
    text + "    return result.status;\n}\n"
}

/// An output's parameter.
fn out(name: &str) -> String {
    format!("out_{name}")
}

fn comment(call: Call, contract: &Contract) -> String {
    let ending = match contract.ending {
        Ending::Returns => "",
        Ending::Resumes => " Comes back only if it fails.",
        Ending::Never => " Never comes back.",
    };
    let mut text = format!("/* {}{ending} Since version {}.\n", one_line(call.does()), call.since());
    for parameter in contract.inputs.iter().skip(usize::from(contract.takes_handle())) {
        let _ = writeln!(text, " * {}: {}", parameter.name, parameter.text);
    }
    for parameter in contract.outputs {
        let _ = writeln!(text, " * {}: {}", out(parameter.name), parameter.text);
    }
    let errors: Vec<_> = contract.errors.iter().map(failure).collect();
    if !errors.is_empty() {
        let _ = writeln!(text, " * Errors: {}", errors.join(", "));
    }
    text + " */\n"
}

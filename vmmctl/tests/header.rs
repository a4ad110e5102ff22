//! The structures here are those of the module's header: the C compiler says where its fields lie.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use vmmctl::device::uapi::{self, Call, Info, Launch, Reserve, Stop};

/// A name of the header's, as a C expression, and its value here.
type Fact = (String, u64);

macro_rules! structure {
    ($facts:ident, $c:literal, $name:ident: $($field:ident)*) => {
        $facts.push((concat!("sizeof(struct ", $c, ")").to_owned(), size_of::<$name>() as u64));
        $($facts.push((
            format!("offsetof(struct {}, {})", $c, stringify!($field)),
            std::mem::offset_of!($name, $field) as u64,
        ));)*
    };
}

fn facts() -> Vec<Fact> {
    let mut facts = Vec::new();
    structure!(facts, "plinth_info", Info: state machine not_now not_now_cpu stopped_by cpus_present cpus_online
        cpus_launched padding present online launched reservation log memory_end module_version reserved);
    structure!(facts, "plinth_reserve", Reserve: size below log_size reservation log reserved);
    structure!(facts, "plinth_launch", Launch: entry info tables flags padding status not_now cpu cpus_launched
        cpus_left padding2 reserved);
    structure!(facts, "plinth_stop", Stop: flags padding status cpu cpus_left reserved);
    structure!(facts, "plinth_call", Call: number arguments results buffer buffer_size buffer_argument cpu padding
        reserved);
    let numbers = [
        ("PLINTH_API_VERSION", u64::from(uapi::VERSION)),
        ("PLINTH_CPU_WORDS", uapi::CPU_WORDS as u64),
        ("PLINTH_NO_CPU", u64::from(uapi::NO_CPU)),
        ("PLINTH_MAP_RESERVATION", uapi::MAP_RESERVATION),
        ("PLINTH_MAP_LOG", uapi::MAP_LOG),
        ("PLINTH_LAUNCH_NESTED", u64::from(uapi::LAUNCH_NESTED)),
        ("PLINTH_STOP_FORCE", u64::from(uapi::STOP_FORCE)),
        ("PLINTH_IDLE", uapi::State::Idle as u64),
        ("PLINTH_RESERVED", uapi::State::Reserved as u64),
        ("PLINTH_RUNNING", uapi::State::Running as u64),
        ("PLINTH_BROKEN", uapi::State::Broken as u64),
        ("PLINTH_MACHINE_AMD", u64::from(uapi::MACHINE_AMD)),
        ("PLINTH_MACHINE_INTEL", u64::from(uapi::MACHINE_INTEL)),
        ("PLINTH_MACHINE_ARM64", u64::from(uapi::MACHINE_ARM64)),
        ("_IOC_NR(PLINTH_IOC_CALL)", 0x44),
        ("_IOC_TYPE(PLINTH_IOC_CALL)", 0xB5),
    ];
    facts.extend(numbers.map(|(name, value)| (name.to_owned(), value)));
    facts
}

#[test]
fn both_sides_have_the_same_structures() {
    let facts = facts();
    let mut probe =
        String::from("#include <stddef.h>\n#include <stdio.h>\n#include \"plinth.h\"\nint main(void)\n{\n");
    for (expression, _) in &facts {
        writeln!(probe, "\tprintf(\"%llu\\n\", (unsigned long long)({expression}));").unwrap();
    }
    probe.push_str("\treturn 0;\n}\n");
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("probe.c"), folder.path().join("probe"));
    std::fs::write(&source, probe).unwrap();
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../loaders/linux");
    let compiler = Command::new("cc").arg("-I").arg(header).arg("-o").arg(&program).arg(&source).status();
    assert!(compiler.expect("a C compiler is there: `apt-get install gcc`").success());
    let output = Command::new(&program).output().unwrap().stdout;
    let values: Vec<u64> =
        String::from_utf8(output).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(values.len(), facts.len());
    for ((expression, here), there) in facts.iter().zip(values) {
        assert_eq!(*here, there, "{expression}");
    }
}

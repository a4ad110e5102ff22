//! The plan of a backend: the same duty has the same file name in each of them, so that whoever knows one finds the way in the
//! others, and two backends can be compared file by file.
//!
//! A duty is `NAME.rs` or the folder `NAME/mod.rs` in the backend's `src`. What both x86 backends share is in `arch-x86`,
//! under the same name. Only one backend has a GIC, a VMCS or PSCI: such a part has a file or a folder of its own, outside of
//! this plan.

use std::path::{Path, PathBuf};

use super::Finding;
use super::rules::finding;

/// A file name that each backend has, and what a reader finds there.
struct Duty {
    name: &'static str,
    what: &'static str,
}

const fn duty(name: &'static str, what: &'static str) -> Duty {
    Duty { name, what }
}

const PLAN: [Duty; 15] = [
    duty("lib", "the backend's entry points and its list of modules"),
    duty("launch", "takes a processor over from the OS, and gives it back"),
    duty("root_state", "the state of the OS at the launch, captured and restored"),
    duty("features", "what the backend needs of the processor, and what it uses where it is there"),
    duty("cpu", "`HostCpu`: the processor as the kernel drives it"),
    duty("vm", "`VmHw`: what all VSs of a VM share"),
    duty("vs", "`VsHw`: the state of one virtual processor"),
    duty("registers", "a guest's registers by their numbers in the ABI"),
    duty("exit", "the hardware's exit reason as an `Exit`"),
    duty("fast_path", "from an exit to the next entry, where the kernel answers"),
    duty("emulate", "carries out an instruction as the bare machine would"),
    duty("deadline", "ends a run of the guest at a time"),
    duty("reset", "the state of a processor after INIT or reset"),
    duty("switch", "the assembly that enters the guest and comes back"),
    duty("kernel_fault", "the report of an exception in the kernel itself"),
];

/// A backend, and the crate that it shares with another one.
struct Backend {
    path: &'static str,
    shared: Option<&'static str>,
}

const BACKENDS: [Backend; 3] = [
    Backend { path: "arch-amd", shared: Some("arch-x86") },
    Backend { path: "arch-intel", shared: Some("arch-x86") },
    Backend { path: "arch-armv8", shared: None },
];

/// A duty that has another file in one backend.
struct Elsewhere {
    backend: &'static str,
    duty: &'static str,
    file: &'static str,
    /// Why there is no file of the duty's name.
    #[expect(dead_code, reason = "for whoever reads the table")]
    why: &'static str,
}

const ELSEWHERE: [Elsewhere; 2] = [
    Elsewhere {
        backend: "arch-armv8",
        duty: "registers",
        file: "arch-armv8/src/el1_context.rs",
        why: "nearly all registers of a guest are those of EL1, by the number that MRS encodes",
    },
    Elsewhere {
        backend: "arch-armv8",
        duty: "reset",
        file: "arch-armv8/src/el1_context.rs",
        why: "a register's value after a reset stands in the list of the registers",
    },
];

/// Finds the duties that have no file; `sources` are paths relative to the workspace's root. Each finding comes with the
/// backend's root module, where the missing module would be declared.
pub(super) fn check(sources: &[PathBuf]) -> Vec<(PathBuf, Finding)> {
    BACKENDS.iter().flat_map(|backend| missing(backend, sources)).collect()
}

fn missing(backend: &Backend, sources: &[PathBuf]) -> impl Iterator<Item = (PathBuf, Finding)> {
    let lacks = |duty: &&Duty| {
        !crates(backend).any(|path| has_module(sources, path, duty.name))
            && !is_elsewhere(backend, duty, sources)
    };
    PLAN.iter().filter(lacks).map(|duty| {
        let text = format!("{} has no module `{}`: {}", backend.path, duty.name, duty.what);
        (Path::new(backend.path).join("src/lib.rs"), finding(1, text))
    })
}

fn is_elsewhere(backend: &Backend, duty: &Duty, sources: &[PathBuf]) -> bool {
    ELSEWHERE
        .iter()
        .filter(|row| row.backend == backend.path && row.duty == duty.name)
        .any(|row| sources.iter().any(|source| source == Path::new(row.file)))
}

fn crates(backend: &Backend) -> impl Iterator<Item = &'static str> {
    [backend.path].into_iter().chain(backend.shared)
}

fn has_module(sources: &[PathBuf], path: &str, name: &str) -> bool {
    let folder = Path::new(path).join("src");
    let (file, room) = (folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs"));
    sources.iter().any(|source| *source == file || *source == room)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a workspace where all backends follow the plan.
    fn planned() -> Vec<PathBuf> {
        let file =
            |backend: &Backend, duty: &Duty| Path::new(backend.path).join(format!("src/{}.rs", duty.name));
        BACKENDS.iter().flat_map(|backend| PLAN.iter().map(move |duty| file(backend, duty))).collect()
    }

    fn without(gone: &str) -> Vec<PathBuf> {
        planned().into_iter().filter(|path| path != Path::new(gone)).collect()
    }

    #[test]
    fn a_workspace_that_follows_the_plan_passes() {
        assert!(check(&planned()).is_empty());
    }

    #[test]
    fn a_duty_without_a_file_is_found() {
        let found = check(&without("arch-armv8/src/deadline.rs"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Path::new("arch-armv8/src/lib.rs"));
        assert!(found[0].1.text.contains("`deadline`"), "{}", found[0].1.text);
    }

    #[test]
    fn a_duty_may_be_in_the_file_that_the_table_names_if_that_exists() {
        let mut sources = without("arch-armv8/src/reset.rs");
        assert_eq!(check(&sources).len(), 1);
        sources.push(PathBuf::from("arch-armv8/src/el1_context.rs"));
        assert!(check(&sources).is_empty());
    }

    #[test]
    fn a_folder_stands_for_a_file() {
        let mut sources = without("arch-armv8/src/vs.rs");
        sources.push(PathBuf::from("arch-armv8/src/vs/mod.rs"));
        assert!(check(&sources).is_empty());
    }

    #[test]
    fn what_the_x86_backends_share_counts_for_both_and_for_no_other() {
        let shared: Vec<_> = planned()
            .into_iter()
            .filter(|path| !path.ends_with("src/reset.rs"))
            .chain([PathBuf::from("arch-x86/src/reset.rs")])
            .collect();
        let found = check(&shared);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Path::new("arch-armv8/src/lib.rs"));
    }
}

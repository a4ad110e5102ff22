//! What a test takes that launches Plinth below a running Linux: the kernel, its module, and a RAM disk with the rest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Bench;
use crate::artifacts;
use crate::board::Board;
use crate::cli::BootOptions;
use crate::linux::{self, Fetched, Linux};
use crate::payload::{self, Extra};
use crate::test::table::{Late, Test};
use crate::workspace::Workspace;

/// The module's name in the archive. Not where every module is loaded from.
const MODULE: &str = "lib/plinth.ko";

fn linux_of(board: &Board, late: &Late) -> Result<&'static Linux> {
    linux::find(late.linux, board.debian_architecture()?)
}

/// Fetches and builds what the test takes, before several run at the same time.
pub(super) fn prepare(workspace: &Workspace, board: &Board, test: &Test) -> Result<()> {
    if let Some(late) = test.late {
        linux::module(workspace, linux_of(board, late)?)?;
        artifacts::build_linux_programs(workspace, board)?;
    }
    Ok(())
}

/// The options that boot this Linux, with a RAM disk that is written to `scratch`.
pub(super) fn options(
    bench: &Bench<'_>,
    test: &Test,
    late: &Late,
    scratch: &Path,
    options: BootOptions,
) -> Result<BootOptions> {
    let (workspace, board) = (bench.workspace, bench.board);
    let linux = linux_of(board, late)?;
    let fetched = linux.fetch(&workspace.shell)?;
    let mut extras = usual_modules(linux, &fetched);
    let small = payload::initramfs(workspace, board, None, &extras)?;
    // What a version has built in is no module.
    let wanted = late.modules.iter().map(|name| extra(&format!("lib/{name}.ko"), fetched.module(name)));
    extras.extend(wanted.filter(|module| module.from.is_file()));
    let module = workspace.target.join("plinth/linux-module");
    let module = module.join(format!("{}-{}/plinth.ko", linux.name, linux.architecture));
    extras.push(extra(MODULE, module));
    extras.extend(programs(bench, test, late, linux, scratch)?);
    if late.second_kernel {
        extras.push(extra("boot/vmlinuz", fetched.image()));
        let initrd = scratch.join("second-initrd");
        fs::write(&initrd, small)?;
        extras.push(extra("boot/initrd", initrd));
    }
    let initrd = scratch.join("initrd");
    fs::write(&initrd, payload::initramfs(workspace, board, None, &extras)?)
        .with_context(|| format!("cannot write {}", initrd.display()))?;
    let (payload, initrd) = (Some(fetched.image()), Some(initrd));
    // With an extension for the board's loader that launches Plinth before this Linux, and the module finds it there.
    let bare = options.extension.is_none();
    Ok(BootOptions { payload, initrd, bare, ..options })
}

/// The modules that every test loads: on x86 those by which programs see CPUID and MSRs.
fn usual_modules(linux: &Linux, fetched: &Fetched) -> Vec<Extra> {
    let names: &[_] = if linux.architecture == "amd64" { &["cpuid", "msr"] } else { &[] };
    names.iter().map(|name| extra(&format!("lib/modules/{name}.ko"), fetched.module(name))).collect()
}

/// The kernel image without its symbols, as a package has it, the extensions, and the programs that launch and try.
fn programs(
    bench: &Bench<'_>,
    test: &Test,
    late: &Late,
    linux: &Linux,
    scratch: &Path,
) -> Result<Vec<Extra>> {
    let (workspace, board) = (bench.workspace, bench.board);
    let kernel = match test.kernel {
        Some(name) => artifacts::test_kernel(workspace, board, name)?,
        None => bench.images.kernel.clone(),
    };
    let stripped = scratch.join("kernel");
    linux::strip(&workspace.shell, linux, &kernel, &stripped)?;
    let mut extras = vec![
        extra("usr/lib/plinth/kernel", stripped),
        extra("usr/lib/plinth/extensions/default", bench.images.extension.clone()),
    ];
    for name in ["vmmctl", "late-launch"] {
        extras.push(extra(&format!("bin/{name}"), artifacts::linux_program(workspace, board, name)?));
    }
    for name in late.extensions {
        let from = artifacts::test_extension(workspace, board, name)?;
        extras.push(extra(&format!("usr/lib/plinth/extensions/{name}"), from));
    }
    Ok(extras)
}

fn extra(name: &str, from: PathBuf) -> Extra {
    Extra { name: name.to_owned(), from }
}

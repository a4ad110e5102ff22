//! Compiles the module's own file of checks, with traps for undefined behaviour, and a probe of its header.

use std::path::{Path, PathBuf};
use std::process::Command;

const FLAGS: &[&str] = &[
    "-std=gnu11",
    "-O1",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=undefined",
    "-fsanitize-undefined-trap-on-error",
];

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let output = PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    let module = root.join("../../loaders/linux");
    let sources = [module.join("request.c"), root.join("src/probe.c")];
    let objects: Vec<_> = sources.iter().map(|source| compile(source, &module, &output)).collect();
    let library = output.join("librequests.a");
    // An archive that is there would keep its old members.
    let _ = std::fs::remove_file(&library);
    run(Command::new("ar").arg("crs").arg(&library).args(&objects));
    println!("cargo::rustc-link-search=native={}", output.display());
    println!("cargo::rustc-link-lib=static=requests");
    println!("cargo::rerun-if-changed=src/probe.c");
    println!("cargo::rerun-if-changed={}", module.display());
}

fn compile(source: &Path, include: &Path, output: &Path) -> PathBuf {
    let object = output.join(source.file_stem().unwrap()).with_extension("o");
    run(Command::new("cc").args(FLAGS).arg("-I").arg(include).arg("-c").arg(source).arg("-o").arg(&object));
    object
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(status.success(), "{command:?} failed");
}

//! Real machines as test inputs: what their processors say by CPUID and in their capability MSRs.
//!
//! The collection is not this project's. It is read where `PLINTH_MACHINES` points, else from `shared/machines` beside the
//! workspace. Without it a test has what this project knows of its own, and says in one line that the rest is left out.

mod processor;

use std::path::PathBuf;
use std::{env, fs};

pub use processor::{Processor, Words};

/// Where the collection is, if it is there.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/machines"));
    let folder = env::var_os("PLINTH_MACHINES").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// The processors of the collection, by name; none without it.
///
/// # Panics
/// Where a file cannot be read, or is no record of a processor: it is named.
#[must_use]
pub fn processors() -> Vec<Processor> {
    let Some(folder) = folder() else {
        eprintln!("real processors are left out: set PLINTH_MACHINES to a folder that has them");
        return Vec::new();
    };
    let files = fs::read_dir(folder.join("cpuid")).expect("the collection has no folder cpuid");
    let mut paths: Vec<_> = files.map(|file| file.expect("the folder can be read").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Processor::parse(&name, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.iter().filter(|path| path.extension().is_some_and(|end| end == "txt")).map(read).collect()
}

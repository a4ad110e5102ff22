//! Extensions as they were built when a version of the ABI was released: the kernel goes on serving them.
//!
//! Each test here is one of the other tables' with the kept program of `tests/abi` in the place of the one that is built
//! now, so that old and new programs are held to the same. The two fall apart when the ABI gets a new version: then what
//! is built now uses it, and the kept program does not.

use std::sync::LazyLock;

use super::{AMD, Test};

/// The released versions whose programs are kept, folders of `tests/abi`.
const VERSIONS: &[u32] = &[2];

/// The machines, one of each backend, and the tests whose extensions are kept.
const ON: &[(&[&str], &[&str])] = &[
    (AMD, GUESTS),
    (
        AMD,
        &[
            "exits-2",
            "kick-2",
            "linux-hostile",
            "example-hello-c",
            "example-cpuid-spoof",
            "example-msr-guard",
        ],
    ),
    (&["qemu-virt"], GUESTS),
    (
        &["qemu-virt"],
        &[
            "exits-4",
            "kick",
            "linux-hostile",
            "example-hello-c",
            "example-cpuid-spoof",
            "example-msr-guard",
            "slices",
        ],
    ),
    (&["bochs-intel-uefi"], GUESTS),
    (&["bochs-intel-uefi"], &["exits-1", "kick-2"]),
    (&["bochs-intel"], &["example-hello-c"]),
];

/// The tests that every backend has, each with a guest of its own that needs no firmware.
const GUESTS: &[&str] =
    &["conformance", "denied", "timer", "crash", "example-guest-vm", "example-page-hook", "example-trace"];

/// The tests, each for one board.
pub(super) static TESTS: LazyLock<Vec<Test>> = LazyLock::new(|| {
    let versions =
        VERSIONS.iter().flat_map(|&version| ON.iter().map(move |&(boards, names)| (version, boards, names)));
    versions
        .flat_map(|(version, boards, names)| names.iter().map(move |name| kept(version, boards, name)))
        .collect()
});

/// The test `name` of the first of `boards`, with the program that was built for `version`.
fn kept(version: u32, boards: &'static [&'static str], name: &str) -> Test {
    let found =
        super::built_now().find(|test| test.name == name && test.boards.iter().any(|it| boards.contains(it)));
    let Some(test) = found else {
        panic!("{boards:?} have no test {name}; correct xtask/src/test/table/released.rs")
    };
    let extension = test.extension.unwrap_or("default");
    Test {
        name: leak(format!("abi-{version}-{name}")),
        boards,
        proves: leak(format!(
            "the extension `{extension}`, as it was built for version {version} of the ABI: {}",
            test.proves
        )),
        extension: Some(extension),
        released: Some(version),
        ..*test
    }
}

/// The table's texts live as long as the program.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::workspace::manifest_folder;

    /// The files below `folder`, with their names from `root` on.
    fn files(root: &Path, folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| match path.is_dir() {
                true => files(root, &path),
                false => vec![path.strip_prefix(root).unwrap().display().to_string()],
            })
            .collect()
    }

    #[test]
    fn a_kept_program_is_what_it_was() {
        let root = manifest_folder().join("../tests/abi");
        let sums = fs::read_to_string(root.join("SHA256SUMS")).unwrap();
        let mut listed = BTreeSet::from(["README.md".to_owned(), "SHA256SUMS".to_owned()]);
        for (sum, name) in sums.lines().map(|line| line.split_once("  ").unwrap()) {
            let found = Sha256::digest(fs::read(root.join(name)).unwrap());
            let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, sum, "tests/abi/{name} is another file than the one that was released");
            listed.insert(name.to_owned());
        }
        assert_eq!(files(&root, &root).into_iter().collect::<BTreeSet<_>>(), listed);
    }

    #[test]
    fn every_kept_program_is_loaded_by_a_test() {
        for architecture in ["x86_64", "aarch64"] {
            let folder = manifest_folder().join("../tests/abi/2").join(architecture);
            let kept: BTreeSet<_> = files(&folder, &folder).into_iter().collect();
            let is_arm = |test: &&Test| test.boards[0] == "qemu-virt";
            let here = TESTS.iter().filter(|test| is_arm(test) == (architecture == "aarch64"));
            let loaded: BTreeSet<_> = here.filter_map(|test| test.extension).map(str::to_owned).collect();
            assert!(loaded.is_subset(&kept), "{architecture}: {:?}", loaded.difference(&kept));
            assert!(
                kept.iter().all(|name| loaded.contains(name)),
                "{architecture}: {:?}",
                kept.difference(&loaded)
            );
        }
    }
}

//! Where things are: the checkout, the build directory, the packages of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};
use xshell::Shell;

/// The checkout this tool was built from, with a shell that stands in its root.
pub(crate) struct Workspace {
    /// The root folder.
    pub(crate) root: PathBuf,
    /// Cargo's build directory.
    pub(crate) target: PathBuf,
    /// A shell whose current directory is the root.
    pub(crate) shell: Shell,
    metadata: Metadata,
}

impl Workspace {
    /// Asks cargo about the workspace.
    pub(crate) fn open() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(manifest_folder().join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("cargo cannot read the workspace; `cargo metadata` in its root says more")?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let target = metadata.target_directory.clone().into_std_path_buf();
        let shell = Shell::new()?;
        shell.change_dir(&root);
        Ok(Self { root, target, shell, metadata })
    }

    /// The workspace's packages below `folder`, in the order of their names.
    pub(crate) fn packages_in(&self, folder: &str) -> Vec<&Package> {
        let folder = self.root.join(folder);
        let mut packages: Vec<_> = self.metadata.packages.iter().collect();
        packages.retain(|package| package.manifest_path.as_std_path().starts_with(&folder));
        packages.sort_by_key(|package| package.name.to_string());
        packages
    }

    /// The package of this name.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.metadata.packages.iter().find(|package| package.name.as_str() == name)
    }

    /// A folder for what this tool makes, created: `target/plinth/NAME`.
    pub(crate) fn output(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join("plinth").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// A folder that is gone when this process is done with it.
    ///
    /// One that an interrupted run left behind is removed by the next run, told by its process number.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir> {
        let parent = self.output("scratch")?;
        remove_orphans(&parent)?;
        let prefix = format!("{}-", std::process::id());
        tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&parent)
            .with_context(|| format!("cannot create a folder in {}", parent.display()))
    }

    /// `path` as the user would write it from the root.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// The folder for what is downloaded once and kept outside the build directory, created.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder =
        base.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set; set one")?.join("plinth");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// The folder of this tool's own Cargo.toml: cargo tells at run time, so that a moved checkout still works.
pub(crate) fn manifest_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn remove_orphans(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner = name.to_string_lossy().split('-').next().unwrap_or_default().to_owned();
        if !Path::new("/proc").join(owner).exists() {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}; remove it by hand", entry.path().display()))?;
        }
    }
    Ok(())
}

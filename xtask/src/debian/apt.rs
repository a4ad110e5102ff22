//! apt for a processor architecture, of this machine or a foreign one.
//!
//! Packages of a foreign architecture are only downloaded, for a guest. For them apt gets lists and a cache of its own,
//! so that the system's configuration stays as it is and nobody need be root. The same goes for packages of the release's
//! backports, which are kept beside the installed ones.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Cmd, Shell, cmd};

use super::{LOCK, has_program, is_root, quietly};
use crate::progress::Step;

/// What `apt-get indextargets` prints of each list of packages: where it comes from, and of which release.
const TARGET: &str = "$(REPO_URI) $(RELEASE)";
const PACKAGE_LISTS: &str = "Created-By: Packages";

/// apt, as it sees one architecture's packages.
pub(crate) struct Apt<'a> {
    shell: &'a Shell,
    /// Options that every command gets.
    options: Vec<String>,
    /// Its lists are this tool's own.
    private: bool,
}

impl<'a> Apt<'a> {
    /// The system's own.
    pub(crate) const fn native(shell: &'a Shell) -> Self {
        Self { shell, options: Vec::new(), private: false }
    }

    /// For `architecture`, as Debian calls it; lists of a foreign one are kept in `cache`.
    pub(crate) fn of(shell: &'a Shell, architecture: &str, cache: &Path) -> Result<Self> {
        if is_native(shell, architecture) {
            return Ok(Self::native(shell));
        }
        let folder = cache.join(format!("apt-{architecture}"));
        let options = private_options(architecture, &folder)?;
        Ok(Self { shell, options, private: true })
    }

    /// For the backports of the Debian release that this machine runs, from where its other packages come; lists are
    /// kept in `cache`. `None` on a machine whose packages come from elsewhere.
    pub(crate) fn backports(shell: &'a Shell, cache: &Path) -> Result<Option<Self>> {
        if !has_program("apt-get") {
            return Ok(None);
        }
        let architecture = native_architecture(shell)?;
        let Some(source) = backports_source(&fs::read_to_string("/etc/os-release")?, &targets(shell)?) else {
            return Ok(None);
        };
        Self::with_sources(shell, &architecture, &cache.join("apt-backports"), &source).map(Some)
    }

    /// For suites of Debian's, such as `bookworm-security`, whatever release this machine runs, from where its own packages
    /// come; lists are kept in `folder`. `None` on a machine whose packages come from elsewhere.
    pub(crate) fn suites(
        shell: &'a Shell,
        architecture: &str,
        folder: &Path,
        suites: &[&str],
    ) -> Result<Option<Self>> {
        let sources = sources(shell, suites)?;
        sources.map(|sources| Self::with_sources(shell, architecture, folder, &sources)).transpose()
    }

    fn with_sources(shell: &'a Shell, architecture: &str, folder: &Path, sources: &str) -> Result<Self> {
        let mut options = private_options(architecture, folder)?;
        let list = folder.join("sources.list");
        fs::write(&list, sources)?;
        for setting in
            [format!("Dir::Etc::SourceList={}", list.display()), "Dir::Etc::SourceParts=-".to_owned()]
        {
            options.extend(["-o".to_owned(), setting]);
        }
        Ok(Self { shell, options, private: true })
    }

    /// What a package depends on.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let options = &self.options;
        let depends =
            cmd!(self.shell, "apt-cache {options...} depends --important {package}").quiet().read()?;
        Ok(dependencies(&depends).map(str::to_owned).collect())
    }

    /// The concrete package behind a meta-package such as `linux-image-cloud-amd64`; others stand for themselves.
    pub(crate) fn resolve(&self, package: &str) -> Result<String> {
        self.know(&[package])?;
        let depends = self.depends(package)?;
        let concrete = depends.into_iter().find(|name| name.starts_with("linux-image-"));
        Ok(concrete.unwrap_or_else(|| package.to_owned()))
    }

    /// Downloads a package into `folder`, without installing it; the path of the `.deb`.
    pub(crate) fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        let options = &self.options;
        let uris = cmd!(self.shell, "apt-get {options...} download --print-uris {package}").quiet().read()?;
        let (name, size) =
            file_and_size(&uris).with_context(|| format!("apt-get knows no file for {package}: {uris:?}"))?;
        let path = folder.join(name);
        let step = Step::bytes(format!("downloading {package}"), size);
        std::thread::scope(|scope| {
            let download = scope.spawn(|| {
                let shell = Shell::new()?;
                shell.change_dir(folder);
                quietly(cmd!(shell, "apt-get {options...} download {package}"))
            });
            while !download.is_finished() {
                step.at(fs::metadata(&path).map_or(0, |file| file.len()));
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            download.join().unwrap_or_else(|_| bail!("the download of {package} ended unexpectedly"))
        })?;
        step.done();
        Ok(path)
    }

    /// Makes sure that apt knows the packages, updating its lists when it does not.
    pub(crate) fn know(&self, packages: &[&str]) -> Result<()> {
        if !has_program("apt-get") {
            bail!(
                "the default guest comes from Debian's packages, and there is no apt-get; name one with --payload FILE"
            );
        }
        if packages.iter().all(|package| self.knows(package)) {
            return Ok(());
        }
        if !self.private && !is_root() {
            bail!(
                "apt knows no {}; only root may update its lists: sudo apt-get update",
                packages.join(", ")
            );
        }
        let step = Step::new("updating apt's package lists");
        quietly(self.update())?;
        step.done();
        match packages.iter().find(|package| !self.knows(package)) {
            Some(package) => {
                bail!("apt knows no package {package}, even after an update; check /etc/apt/sources.list")
            }
            None => Ok(()),
        }
    }

    fn update(&self) -> Cmd<'a> {
        let options = &self.options;
        cmd!(self.shell, "apt-get {options...} update -o {LOCK}")
    }

    fn knows(&self, package: &str) -> bool {
        let options = &self.options;
        let policy = cmd!(self.shell, "apt-cache {options...} policy {package}").env("LC_ALL", "C");
        policy.quiet().ignore_stderr().read().is_ok_and(|text| {
            text.lines().any(|line| line.trim_start().starts_with("Candidate:") && !line.contains("(none)"))
        })
    }
}

/// The architecture of this machine, as Debian calls it.
pub(crate) fn native_architecture(shell: &Shell) -> Result<String> {
    Ok(cmd!(shell, "dpkg --print-architecture").quiet().read()?)
}

/// A source list for suites of Debian's, from where this machine's own packages come. `None` on a machine whose packages come
/// from elsewhere.
pub(super) fn sources(shell: &Shell, suites: &[&str]) -> Result<Option<String>> {
    if !has_program("apt-get") {
        return Ok(None);
    }
    Ok(suite_sources(&fs::read_to_string("/etc/os-release")?, &targets(shell)?, suites))
}

/// Where the machine's lists of packages come from, and of which release each is.
fn targets(shell: &Shell) -> Result<String> {
    let targets = cmd!(shell, "apt-get indextargets --format {TARGET} {PACKAGE_LISTS}");
    Ok(targets.quiet().ignore_stderr().read()?)
}

fn is_native(shell: &Shell, architecture: &str) -> bool {
    let native = cmd!(shell, "dpkg --print-architecture").quiet().ignore_stderr().read();
    native.is_ok_and(|native| native.trim() == architecture)
}

/// Lists, cache and a record of installed packages (none) below `folder`, which is made.
fn private_options(architecture: &str, folder: &Path) -> Result<Vec<String>> {
    for name in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(name))
            .with_context(|| format!("cannot write to {}", folder.display()))?;
    }
    let status = folder.join("status");
    fs::write(&status, "")?;
    let settings = [
        format!("APT::Architecture={architecture}"),
        format!("APT::Architectures={architecture}"),
        format!("Dir::State={}", folder.join("state").display()),
        format!("Dir::State::status={}", status.display()),
        format!("Dir::Cache={}", folder.join("cache").display()),
        // The user that apt downloads as cannot reach somebody's own folder.
        "APT::Sandbox::User=root".to_owned(),
    ];
    Ok(settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect())
}

/// The packages in the output of `apt-cache depends`.
fn dependencies(depends: &str) -> impl Iterator<Item = &str> {
    depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "))
}

/// The line of a source list for the backports of the release that `os_release` names, by the place that its own packages
/// come from.
fn backports_source(os_release: &str, targets: &str) -> Option<String> {
    let codename = codename(os_release)?;
    let uri = uri_of(targets, codename)?;
    Some(format!("deb {uri} {codename}-backports main\n"))
}

/// The lines of a source list for suites of any release, by the places that the machine's own packages come from: those with
/// security fixes lie in a tree of their own.
fn suite_sources(os_release: &str, targets: &str, suites: &[&str]) -> Option<String> {
    let codename = codename(os_release)?;
    let usual = uri_of(targets, codename)?;
    let security = match uri_of(targets, &format!("{codename}-security")) {
        Some(uri) => uri.to_owned(),
        None => format!("{}-security/", usual.trim_end_matches('/')),
    };
    let line = |suite: &&str| {
        let uri = if suite.ends_with("-security") { &security } else { usual };
        format!("deb {uri} {suite} main\n")
    };
    Some(suites.iter().map(line).collect())
}

fn codename(os_release: &str) -> Option<&str> {
    os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))
}

/// Where the lists of a release come from.
fn uri_of<'t>(targets: &'t str, release: &str) -> Option<&'t str> {
    let of_release = |line: &&str| line.split_whitespace().nth(1) == Some(release);
    targets.lines().find(of_release)?.split_whitespace().next()
}

/// `'URI' NAME SIZE HASH`, as `--print-uris` writes it.
fn file_and_size(uris: &str) -> Option<(&str, u64)> {
    let mut words = uris.lines().last()?.split_whitespace().skip(1);
    Some((words.next()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_package_leads_to_the_versioned_kernel() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(dependencies(depends).collect::<Vec<_>>(), ["linux-image-6.1.0-56-cloud-amd64"]);
        assert_eq!(dependencies("busybox-static\n  Suggests: libc6\n").count(), 0);
    }

    #[test]
    fn suites_come_from_where_the_release_and_its_security_fixes_come_from() {
        let os_release = "VERSION_CODENAME=trixie\n";
        let targets = "http://x/security/ trixie-security\nhttp://x/debian/ trixie\n";
        let sources = suite_sources(os_release, targets, &["bookworm", "bookworm-security"]);
        let both = "deb http://x/debian/ bookworm main\ndeb http://x/security/ bookworm-security main\n";
        assert_eq!(sources.as_deref(), Some(both));
        let derived = suite_sources(os_release, "http://x/debian/ trixie\n", &["a-security"]);
        assert_eq!(derived.as_deref(), Some("deb http://x/debian-security/ a-security main\n"));
        assert_eq!(suite_sources("ID=other\n", targets, &["bookworm"]), None);
    }

    #[test]
    fn backports_come_from_where_the_release_comes_from() {
        let os_release = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        let targets = "http://x/security/ bookworm-security\nhttp://x/debian/ bookworm\n";
        let source = backports_source(os_release, targets);
        assert_eq!(source.as_deref(), Some("deb http://x/debian/ bookworm-backports main\n"));
        assert_eq!(backports_source(os_release, "http://x/other/ stable\n"), None);
        assert_eq!(backports_source("ID=other\n", targets), None);
    }

    #[test]
    fn name_and_size_are_read_from_the_uri_list() {
        assert_eq!(file_and_size("'http://x/a_1.deb' a_1.deb 267 SHA256:e7d\n"), Some(("a_1.deb", 267)));
        assert_eq!(file_and_size(""), None);
    }
}

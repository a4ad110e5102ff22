//! What Linux tells of the machine in /proc, /sys and /dev, without the module.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use plinth_launch::Range;

/// Where the package puts the kernel.
const KERNEL: &str = "usr/lib/plinth/kernel";
/// Where it puts the extension that passes everything through.
const EXTENSION: &str = "usr/lib/plinth/extensions/default";
/// What the last start was told.
const LAST_START: &str = "run/plinth/last-start.json";

/// The machine's file system; a test has one of its own.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The machine that this runs on.
    pub fn own() -> Self {
        Self::at(Path::new("/"))
    }

    /// One whose files lie below `root`.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn device(&self) -> PathBuf {
        self.root.join("dev/plinth")
    }

    pub(crate) fn default_kernel(&self) -> PathBuf {
        self.root.join(KERNEL)
    }

    pub(crate) fn default_extension(&self) -> PathBuf {
        self.root.join(EXTENSION)
    }

    pub(crate) fn last_start(&self) -> PathBuf {
        self.root.join(LAST_START)
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// Whether the processor's flags, on any CPU, name one of `flags`.
    pub(crate) fn has_flag(&self, flags: &[&str]) -> bool {
        let text = self.text("proc/cpuinfo").unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("flags"));
        lines.flat_map(str::split_whitespace).any(|word| flags.contains(&word))
    }

    /// The modules of other hypervisors that are loaded.
    pub(crate) fn hypervisor_modules(&self) -> Vec<String> {
        const MODULES: [&str; 4] = ["kvm_amd", "kvm_intel", "vboxdrv", "vmmon"];
        let text = self.text("proc/modules").unwrap_or_default();
        let names = text.lines().filter_map(|line| line.split_whitespace().next());
        names.filter(|name| MODULES.contains(name)).map(str::to_owned).collect()
    }

    /// The running Linux kernel's symbols, as far as it shows them.
    pub(crate) fn kernel_symbols(&self) -> Option<String> {
        self.text("proc/kallsyms")
    }

    /// The kernel's lockdown, if it is on: `integrity` or `confidentiality`.
    pub(crate) fn lockdown(&self) -> Option<String> {
        let text = self.text("sys/kernel/security/lockdown")?;
        let chosen = text.split_once('[')?.1.split_once(']')?.0;
        (chosen != "none").then(|| chosen.to_owned())
    }

    /// Free memory as Linux counts it, in bytes.
    pub(crate) fn available_memory(&self) -> Option<u64> {
        let text = self.text("proc/meminfo")?;
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
    }

    /// Which of the present CPUs are off line.
    pub(crate) fn offline_cpus(&self) -> Vec<u32> {
        let set =
            |name: &str| list(&self.text(&format!("sys/devices/system/cpu/{name}")).unwrap_or_default());
        let online = set("online");
        set("present").into_iter().filter(|cpu| !online.contains(cpu)).collect()
    }

    /// The address of ACPI's root pointer, or 0: as EFI or the boot loader told, else as the BIOS's memory says.
    pub(crate) fn acpi_rsdp(&self) -> u64 {
        self.efi_rsdp().or_else(|| self.boot_rsdp()).or_else(|| self.bios_rsdp()).unwrap_or(0)
    }

    fn efi_rsdp(&self) -> Option<u64> {
        let text = self.text("sys/firmware/efi/systab")?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).and_then(hexadecimal);
        value("ACPI20=").or_else(|| value("ACPI="))
    }

    /// `boot_params.acpi_rsdp_addr`: Linux's Documentation/arch/x86/zero-page, offset 0x70.
    fn boot_rsdp(&self) -> Option<u64> {
        let bytes = fs::read(self.root.join("sys/kernel/boot_params/data")).ok()?;
        let word = bytes.get(0x70..)?.first_chunk()?;
        Some(u64::from_le_bytes(*word)).filter(|address| *address != 0)
    }

    /// ACPI 6.5, 5.2.5.1: the signature lies on a 16-byte boundary in the BIOS's read-only memory, or in the first KiB of the
    /// extended BIOS data area, whose segment is at 0x40E.
    fn bios_rsdp(&self) -> Option<u64> {
        let segment = self.physical(0x40E, 2)?;
        let area = u64::from(u16::from_le_bytes(*segment.first_chunk()?)) << 4;
        let scan = |start: u64, size: usize| {
            let bytes = self.physical(start, size)?;
            let at = (0..bytes.len()).step_by(16).find(|at| is_rsdp(&bytes[*at..]))?;
            Some(start + at as u64)
        };
        scan(0xE_0000, 0x2_0000).or_else(|| (area >= 0x8_0000).then(|| scan(area, 1024))?)
    }

    /// A file's content, if it can be read.
    pub(crate) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(path)).ok()
    }

    /// The memory that Linux has.
    pub(crate) fn banks(&self) -> Vec<Range> {
        let text = self.text("proc/iomem").unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_suffix(" : System RAM"));
        let range = |line: &str| {
            let (first, last) = line.split_once('-')?;
            let [first, last] = [first, last].map(|text| u64::from_str_radix(text, 16).ok());
            let (first, last) = first.zip(last)?;
            // Who is not root is shown zeroes.
            (last > first).then(|| Range { start: first, size: last - first + 1 })
        };
        lines.filter_map(range).collect()
    }

    /// Memory below 1 MiB.
    fn physical(&self, start: u64, size: usize) -> Option<Vec<u8>> {
        let mut file = fs::File::open(self.root.join("dev/mem")).ok()?;
        file.seek(SeekFrom::Start(start)).ok()?;
        let mut bytes = vec![0; size];
        file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Whether a root pointer of ACPI begins there: signature and checksum of its first 20 bytes.
fn is_rsdp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RSD PTR ")
        && bytes
            .get(..20)
            .is_some_and(|head| head.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0)
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// Linux's notation of a set: `0-3,8`.
fn list(text: &str) -> Vec<u32> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|cpu| *cpu < 1 << 16);
    let ranges = text.split(',').filter_map(|part| match part.split_once('-') {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(part).map(|cpu| cpu..=cpu),
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let host = Host::at(folder.path());
        (folder, host)
    }

    #[test]
    fn sets_of_cpus_are_read() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(list("\n"), Vec::<u32>::new());
        assert_eq!(list("3-1,x,7,1-,99999999"), [7]);
    }

    #[test]
    fn efi_goes_before_the_boot_loader_and_that_before_the_bios() {
        let mut boot = vec![0; 4096];
        boot[0x70..0x78].copy_from_slice(&0x1234_5678_u64.to_le_bytes());
        let mut memory = vec![0; 1 << 20];
        let pointer = b"RSD PTR \0BOCHS \0\0\0\0\0";
        memory[0xF_0010..0xF_0024].copy_from_slice(pointer);
        let sum = pointer.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        memory[0xF_0018] = sum.wrapping_neg();
        let systab: &[u8] = b"ACPI20=0x7fffe014\nACPI=0x7fffe000\n";
        let all: [(&str, &[u8]); 3] = [
            ("sys/firmware/efi/systab", systab),
            ("sys/kernel/boot_params/data", &boot),
            ("dev/mem", &memory),
        ];
        for (skip, address) in [(0, 0x7fff_e014), (1, 0x1234_5678), (2, 0xF_0010), (3, 0)] {
            let (_folder, host) = host(&all[skip..]);
            assert_eq!(host.acpi_rsdp(), address, "without the first {skip}");
        }
        memory[0xF_0018] ^= 1;
        let (_folder, host) = host(&[("dev/mem", &memory)]);
        assert_eq!(host.acpi_rsdp(), 0, "the checksum is wrong");
    }

    #[test]
    fn lockdown_modules_and_flags_are_found() {
        let (_folder, host) = host(&[
            ("sys/kernel/security/lockdown", b"none [integrity] confidentiality\n"),
            ("proc/modules", b"kvm_amd 1 0 - Live 0x0\nkvm 1 1 kvm_amd, Live 0x0\n"),
            ("proc/cpuinfo", b"processor\t: 0\nflags\t\t: fpu svm\n"),
            ("proc/meminfo", b"MemTotal: 1 kB\nMemAvailable:   2048 kB\n"),
        ]);
        assert_eq!(host.lockdown().as_deref(), Some("integrity"));
        assert_eq!(host.hypervisor_modules(), ["kvm_amd"]);
        assert!(host.has_flag(&["vmx", "svm"]) && !host.has_flag(&["vmx"]));
        assert_eq!(host.available_memory(), Some(2 << 20));
    }
}

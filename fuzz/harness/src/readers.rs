//! What reads files and tables of firmware, boot loaders and users.

use plinth_device_tree::Tree;
use plinth_launch::image::{Image, Machine};
use plinth_loader_multiboot2::boot_info::BootInfo;
use plinth_loader_multiboot2::linux::Kernel;
use plinth_loader_multiboot2::memory_map::RESERVED;
use plinth_loader_uefi::boot_option::BootOption;
use plinth_loader_uefi::command::Command;
use plinth_loader_uefi::config::Config;

/// Larger images are not loaded: they only cost memory.
const LARGEST: u64 = 1 << 24;

/// An extension's or a kernel's file: refused, or it loads with no segment both writable and executable and nothing
/// outside its span.
pub fn elf(bytes: &[u8]) {
    for machine in [Machine::X86_64, Machine::Aarch64] {
        let Ok(image) = Image::parse(bytes, machine) else { continue };
        let _ = image.number_in_note("Plinth", 1);
        let span = image.span();
        for segment in image.segments() {
            assert!(!(segment.write && segment.execute));
            assert!(segment.vaddr >= span.start && segment.end() <= span.start + span.size);
        }
        assert!(image.relocations().all(|word| image.segment_at(word.vaddr & !4095).is_some()));
        if span.size < LARGEST {
            let _ = image.load_into(&mut vec![0; span.size as usize], 0x1000);
        }
    }
}

/// A device tree from firmware or a card: refused, or everything in it can be asked for.
pub fn device_tree(bytes: &[u8]) {
    let Ok(tree) = Tree::new(bytes) else { return };
    let _ = (tree.console(), tree.gic(), tree.gic_ranges(), tree.firmware(), tree.hypervisor());
    let _ = (tree.banks().count(), tree.reserved().count(), tree.processors().count());
    let _ = (tree.spinning().count(), tree.memory_end());
}

/// What GRUB tells; where the ACPI tables' root is too.
pub fn multiboot2(bytes: &[u8]) {
    let info = BootInfo::new(bytes);
    let _ = (info.command_line(), info.module("kernel"), info.modules_end(), info.rsdp());
    let _ = info.check_modules().map_err(|error| error.to_string());
    let mut map = info.memory_map();
    let place = map.highest(32 << 20, 2 << 20, 1 << 20, 1 << 32);
    if let Some(start) = place {
        assert!(start.is_multiple_of(2 << 20) && start >= 1 << 20 && start + (32 << 20) <= 1 << 32);
        map.set_kind(start, 32 << 20, RESERVED);
    }
    let _ = map.end();
}

/// A Linux kernel's file.
pub fn linux(bytes: &[u8]) {
    if let Ok(kernel) = Kernel::parse(bytes) {
        let _ = (kernel.body().len(), kernel.alignment(), kernel.init_size());
    }
}

/// `plinth.toml`.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = Config::parse(text) {
        assert!(!error.to_string().is_empty());
    }
    let _ = Config::salvage(text);
}

/// A boot entry of UEFI firmware, and the options that a loader is started with.
pub fn boot_entry(bytes: &[u8]) {
    let _ = BootOption::parse(bytes);
    let _ = plinth_loader_uefi::boot_option::numbers(bytes);
    let _ = Command::parse(bytes);
}

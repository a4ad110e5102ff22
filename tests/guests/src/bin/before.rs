//! Runs before the loader and puts the processor into a state that firmware, or another owner of its virtualization, may leave
//! it in. Which one, the file `before.txt` beside it says; then it starts the loader, `loader.efi`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use core::arch::asm;

use plinth_test_guests::{cpu, five_levels, say};
use uefi::boot::{self, LoadImageSource};
use uefi::fs::FileSystem;
use uefi::prelude::*;
use uefi::proto::BootPolicy;
use uefi::proto::device_path::{DevicePath, build};
use uefi::proto::loaded_image::LoadedImage;
use uefi::{CStr16, cstr16};

const WORD: &CStr16 = cstr16!("\\EFI\\BOOT\\before.txt");
const LOADER: &CStr16 = cstr16!("\\EFI\\BOOT\\loader.efi");

/// IA32_FEATURE_CONTROL, its lock and its bit that allows VMXON outside SMX (Intel SDM vol. 3, 24.7).
const FEATURE_CONTROL: u32 = 0x3a;
const LOCKED: u64 = 1 << 0;
const OUTSIDE_SMX: u64 = 1 << 2;
/// IA32_VMX_BASIC: bits 30:0 are the revision that a VMXON region begins with (Intel SDM vol. 3, A.1).
const VMX_BASIC: u32 = 0x480;
const REVISION: u64 = 0x7fff_ffff;
/// CR4.VMXE.
const CR4_VMXE: u64 = 1 << 13;

/// What VMXON is given.
#[repr(C, align(4096))]
struct Region([u8; 4096]);

#[entry]
fn main() -> Status {
    match prepare().and_then(|()| start()) {
        Ok(()) => Status::SUCCESS,
        Err(error) => {
            say!("TEST before FAILED: {error}");
            error.status()
        }
    }
}

fn prepare() -> uefi::Result {
    let word = read_word()?;
    // SAFETY: This runs on the bare machine in ring 0, on a processor that has the registers of the word's vendor.
    let done = unsafe {
        match word.as_str() {
            "vmx-locked-off" => {
                write_msr(FEATURE_CONTROL, LOCKED);
                read_msr(FEATURE_CONTROL) == LOCKED
            }
            "vmx-in-use" => switch_vmx_on(),
            "five-levels" => five_levels::switch_on(),
            "svm-in-use" => {
                write_msr(cpu::EFER, read_msr(cpu::EFER) | cpu::EFER_SVME);
                read_msr(cpu::EFER) & cpu::EFER_SVME != 0
            }
            _ => false,
        }
    };
    say!("TEST before {word} {}", if done { "ok" } else { "FAILED" });
    if done { Ok(()) } else { Err(Status::UNSUPPORTED.into()) }
}

fn read_word() -> uefi::Result<String> {
    let mut volume = FileSystem::new(boot::get_image_file_system(boot::image_handle())?);
    volume.read_to_string(WORD).map_err(|_| Status::NOT_FOUND.into())
}

/// Starts the loader from the same volume.
fn start() -> uefi::Result {
    let device = {
        let own = boot::open_protocol_exclusive::<LoadedImage>(boot::image_handle())?;
        own.device().ok_or(Status::NOT_FOUND)?
    };
    let mut storage = Vec::new();
    let path = {
        let mut builder = build::DevicePathBuilder::with_vec(&mut storage);
        let volume = boot::open_protocol_exclusive::<DevicePath>(device)?;
        for node in volume.node_iter() {
            builder = builder.push(&node).map_err(|_| Status::OUT_OF_RESOURCES)?;
        }
        let file = build::media::FilePath { path_name: LOADER };
        let built = builder.push(&file).and_then(build::DevicePathBuilder::finalize);
        built.map_err(|_| Status::OUT_OF_RESOURCES)?
    };
    let source = LoadImageSource::FromDevicePath { device_path: path, boot_policy: BootPolicy::ExactMatch };
    boot::start_image(boot::load_image(boot::image_handle(), source)?)
}

/// Enters VMX operation for good, as another hypervisor's owner would; whether it did.
///
/// # Safety
/// The processor must have VMX, and this must be ring 0.
unsafe fn switch_vmx_on() -> bool {
    let Ok(page) = boot::allocate_pages(
        boot::AllocateType::AnyPages,
        boot::MemoryType::RUNTIME_SERVICES_DATA,
        size_of::<Region>() / boot::PAGE_SIZE,
    ) else {
        return false;
    };
    let region = page.as_ptr() as u64;
    let failed: u8;
    // SAFETY: The caller vouches for the processor; the page is ours for ever, and firmware maps memory one to one.
    unsafe {
        write_msr(FEATURE_CONTROL, LOCKED | OUTSIDE_SMX);
        page.cast::<Region>().write(Region([0; 4096]));
        page.cast::<u32>().write((read_msr(VMX_BASIC) & REVISION) as u32);
        cpu::write_cr4(cpu::read_cr4() | CR4_VMXE);
        asm!("vmxon [{}]", "setbe {}", in(reg) &region, out(reg_byte) failed);
    }
    failed == 0
}

/// # Safety
/// The processor must have the register.
unsafe fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: The caller vouches for the register; reading it changes nothing.
    unsafe { asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack)) }
    u64::from(high) << 32 | u64::from(low)
}

/// # Safety
/// The processor must have the register and take the value.
unsafe fn write_msr(number: u32, value: u64) {
    // SAFETY: The caller vouches for register and value.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

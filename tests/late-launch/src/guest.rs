//! A VM of Linux's own KVM, on arm64: it runs only where KVM has EL2, on every CPU.

use std::fs::{File, OpenOptions};
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

/// Requests of include/uapi/linux/kvm.h.
const CREATE_VM: u64 = 0xAE01;
const VCPU_MMAP_SIZE: u64 = 0xAE04;
const CREATE_VCPU: u64 = 0xAE41;
const SET_USER_MEMORY_REGION: u64 = 0x4020_AE46;
const RUN: u64 = 0xAE80;
const SET_ONE_REG: u64 = 0x4010_AEAC;
const ARM_VCPU_INIT: u64 = 0x4020_AEAE;
const ARM_PREFERRED_TARGET: u64 = 0x8020_AEAF;
/// KVM_REG_ARM64, 64 bits, KVM_REG_ARM_CORE_REG(regs.pc).
const PC: u64 = 0x6030_0000_0010_0040;
/// KVM_EXIT_MMIO, and where struct kvm_run has the reason, the address and the data.
const EXIT_MMIO: u32 = 6;
const REASON: usize = 8;
const ADDRESS: usize = 32;
const DATA: usize = 40;

/// Where the guest's one page of memory lies, and where it writes to.
const MEMORY: u64 = 0x1_0000;
const DEVICE: u64 = 0x8000_0000;
/// What it writes.
const SIGN: u64 = 0x42;
/// `mov x0, #SIGN; mov x1, #DEVICE; str w0, [x1]`
const PROGRAM: [u32; 3] = [0xD280_0840, 0xD2B0_0001, 0xB900_0020];

/// struct kvm_userspace_memory_region.
#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest: u64,
    size: u64,
    user: u64,
}

/// A mapping of this process's, of one page at least.
struct Mapping(*mut u8);

impl Mapping {
    /// Of a file, or of fresh memory.
    fn new(size: usize, file: Option<&File>) -> Result<Self, String> {
        let (kind, file) = match file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: A new mapping at an address that Linux picks, which stays until this process ends.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, kind, file, 0) };
        if place == libc::MAP_FAILED {
            Err(format!("mmap: {}", Error::last_os_error()))
        } else {
            Ok(Self(place.cast()))
        }
    }

    /// A field of the mapping's first page.
    fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: The mapping is a page at least, and the offsets above are aligned and in it; Linux writes there only while the
        // guest runs, which this thread waits for.
        unsafe { self.0.add(offset).cast::<T>().read_volatile() }
    }
}

/// A request with a number or the address of a structure as its argument.
fn ask(what: &str, file: &File, request: u64, argument: u64) -> Result<RawFd, String> {
    // SAFETY: Linux reads and writes at most the structure that the request is defined with, which the callers give.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, argument) };
    if result < 0 { Err(format!("{what}: {}", Error::last_os_error())) } else { Ok(result) }
}

fn create(what: &str, file: &File, request: u64) -> Result<File, String> {
    let descriptor = ask(what, file, request, 0)?;
    // SAFETY: Linux has just made it, for nobody else.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

fn kvm() -> Result<File, String> {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").map_err(|error| format!("/dev/kvm: {error}"))
}

/// Runs a VM until it writes to a device.
pub(crate) fn run() -> Result<String, String> {
    let kvm = kvm()?;
    let vm = create("KVM_CREATE_VM", &kvm, CREATE_VM)?;
    let memory = Mapping::new(4096, None)?;
    for (index, word) in PROGRAM.into_iter().enumerate() {
        // SAFETY: The mapping is a page, and the program is shorter.
        unsafe { memory.0.cast::<u32>().add(index).write_volatile(word) };
    }
    let region = Region { slot: 0, flags: 0, guest: MEMORY, size: 4096, user: memory.0 as u64 };
    ask("KVM_SET_USER_MEMORY_REGION", &vm, SET_USER_MEMORY_REGION, &raw const region as u64)?;
    let vcpu = create("KVM_CREATE_VCPU", &vm, CREATE_VCPU)?;
    let mut target = [0_u32; 8];
    ask("KVM_ARM_PREFERRED_TARGET", &vm, ARM_PREFERRED_TARGET, target.as_mut_ptr() as u64)?;
    ask("KVM_ARM_VCPU_INIT", &vcpu, ARM_VCPU_INIT, target.as_ptr() as u64)?;
    let start = MEMORY;
    let register = [PC, &raw const start as u64];
    ask("KVM_SET_ONE_REG", &vcpu, SET_ONE_REG, register.as_ptr() as u64)?;
    let size = ask("KVM_GET_VCPU_MMAP_SIZE", &kvm, VCPU_MMAP_SIZE, 0)?;
    let run = Mapping::new(size as usize, Some(&vcpu))?;
    ask("KVM_RUN", &vcpu, RUN, 0)?;
    let (reason, address, data) = (run.read::<u32>(REASON), run.read::<u64>(ADDRESS), run.read::<u64>(DATA));
    if (reason, address, data) != (EXIT_MMIO, DEVICE, SIGN) {
        return Err(format!("the guest ended with {reason}, at {address:#x}, and wrote {data:#x}"));
    }
    Ok("a guest of KVM has run".to_owned())
}

/// Keeps a VM, so that KVM keeps EL2, until it is killed.
pub(crate) fn hold() -> Result<String, String> {
    let _vm = create("KVM_CREATE_VM", &kvm()?, CREATE_VM)?;
    println!("late-launch: there is a VM");
    loop {
        std::thread::park();
    }
}

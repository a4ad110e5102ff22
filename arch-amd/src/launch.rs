//! From the loader's call to the kernel's loop on this processor, and the ways out of it.

use core::arch::{asm, naked_asm};

use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::per_cpu::{PER_CPU_PAGES, PerCpu};
use plinth_arch_x86::root_state::{EntryFrame, RootState};
use plinth_arch_x86::{HostFormat, IdentityMemory, NptFormat, PAT, msr};
use plinth_hal::{Spa, SpaRange, UserVa};
use plinth_kernel::{Departure, Kernel, Platform, PpResources};
use plinth_launch::image::Machine;
use plinth_launch::{LaunchError, LaunchInfo, LaunchStatus};
use spin::Once;

use crate::cpu::SvmCpu;
use crate::features::{self, Features};
use crate::permission_maps::VM_HSAVE_PA;
use crate::vmcb::{EFER_SVME, Vmcb};
use crate::{Svm, switch};

/// Lowest address of the extension's part of the address space: above all physical memory that is mapped.
const USER_BASE: u64 = 0x6000_0000_0000;

/// CR0 in the kernel: PE, MP, EM, TS, ET, NE, WP, PG. EM and TS keep the extension off the guest's FPU registers.
const HOST_CR0: u64 = 0x8001_003F;
/// CR4 in the kernel besides hardening: PAE; and MCE as the firmware has it.
const CR4_PAE: u64 = 1 << 5;
const CR4_MCE: u64 = 1 << 6;
/// EFER in the kernel: SCE, LME, LMA, NXE, SVME.
const HOST_EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11 | EFER_SVME;

static FEATURES: Once<Features> = Once::new();

impl Features {
    /// What was found when the first processor launched; nothing optional before that.
    pub(crate) fn current() -> Self {
        FEATURES.get().copied().unwrap_or(Self::NONE)
    }
}

/// The state of an OS on this processor when Plinth launched.
#[derive(Debug)]
pub struct SvmRoot {
    /// What MOV, RDMSR and the like can read.
    pub(crate) state: RootState,
    /// The page into which VMSAVE put the rest.
    pub(crate) hidden: u64,
}

/// The pages that the kernel gave this backend for one processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendPages(u64);

impl BackendPages {
    /// How many they are.
    const COUNT: usize = PER_CPU_PAGES + 3;

    pub(crate) fn per_cpu(self) -> *mut PerCpu {
        self.0 as *mut PerCpu
    }

    fn host_save(self) -> u64 {
        self.0 + PER_CPU_PAGES as u64 * 4096
    }

    /// The VMCB that holds the kernel's own hidden state.
    pub(crate) fn host_state(self) -> u64 {
        self.host_save() + 4096
    }

    fn root_hidden(self) -> u64 {
        self.host_save() + 2 * 4096
    }
}

/// Launches this processor. Comes back only if it was refused, with the processor as it was; else the entry
/// point returns to its caller by itself, as the root VM or with the reason why not.
///
/// # Safety
/// 1. `info` is a checked launch contract that stays, and what it says is true.
/// 2. The processor is in 64-bit mode at privilege level 0 with interrupts off, all memory identity mapped, and
///    `frame` is what the image's entry point has left on the caller's stack.
pub unsafe fn launch(
    kernel: &'static Kernel<Svm>,
    info: &LaunchInfo,
    pp: u64,
    frame: &EntryFrame,
) -> LaunchStatus {
    let features = match features::probe() {
        Ok(features) => *FEATURES.call_once(|| features),
        Err(refused) => return refused,
    };
    if pp == 0
        // SAFETY: forwarded to the caller.
        && let Err(error) = kernel.prepare(unsafe { platform(info, features) })
    {
        return error.into();
    }
    let resources = match kernel.prepare_pp(pp as usize, BackendPages::COUNT) {
        Ok(resources) => resources,
        Err(error) => return error.into(),
    };
    log::debug!("pp {pp}: SVM {features:x?}");
    // SAFETY: forwarded to the caller; the resources are this processor's alone.
    unsafe { take_over(kernel, resources, features, memory(info), frame) }
}

/// # Safety
/// As [`launch`].
unsafe fn platform(info: &LaunchInfo, features: Features) -> Platform<Svm> {
    let apic = Spa::new(LocalApic::current().page());
    Platform {
        info: *info,
        // SAFETY: the contract says that the extension's file is there, outside the pool, and stays.
        extension: unsafe {
            core::slice::from_raw_parts(info.extension.start as *const u8, info.extension.size as usize)
        },
        // SAFETY: forwarded to the caller.
        memory: unsafe { memory(info) },
        host_format: HostFormat::new(features.giant_leaves, features.physical_bits),
        nested_format: NptFormat::new(features.giant_leaves, features.physical_bits),
        elf_machine: Machine::X86_64,
        physical_end: 1 << features.physical_bits,
        device_pages: [Some(apic), None, None],
        trapped_page: Some(apic),
        user_base: UserVa::new(USER_BASE),
    }
}

/// # Safety
/// As [`launch`].
unsafe fn memory(info: &LaunchInfo) -> IdentityMemory {
    let pool = SpaRange::new(Spa::new(info.pool.start), info.pool.size);
    // SAFETY: all memory is identity mapped, by the firmware now and by the kernel later; the pool is the kernel's.
    unsafe { IdentityMemory::new(pool, info.memory_end) }
}

/// What goes from the caller's stack to the kernel's.
struct Handover {
    kernel: &'static Kernel<Svm>,
    resources: PpResources,
    pages: BackendPages,
    root: Option<SvmRoot>,
    memory: IdentityMemory,
}

/// # Safety
/// As [`launch`].
unsafe fn take_over(
    kernel: &'static Kernel<Svm>,
    resources: PpResources,
    features: Features,
    memory: IdentityMemory,
    frame: &EntryFrame,
) -> LaunchStatus {
    let pages = BackendPages(resources.backend.raw());
    // SAFETY: the caller vouches for the mode; the pages are fresh and this processor's alone; turning SVM on
    // changes nothing yet, and from CLGI on nothing interrupts.
    let state = unsafe {
        let state = RootState::capture(frame);
        msr::write(msr::index::EFER, state.efer | EFER_SVME);
        switch::clgi();
        msr::write(VM_HSAVE_PA, pages.host_save());
        switch::vmsave(pages.root_hidden());
        PerCpu::place(pages.per_cpu());
        state
    };
    let hardening = features.hardening;
    let cr4 = CR4_PAE | state.cr4 & CR4_MCE | hardening;
    let root = SvmRoot { state, hidden: pages.root_hidden() };
    let mut handover = Handover { kernel, resources, pages, root: Some(root), memory };
    // SAFETY: the kernel's tables map this code, both stacks and all memory at the same addresses; `resources` holds a fresh stack.
    unsafe {
        load_host_registers(resources.host_root.raw(), cr4);
        PerCpu::load(pages.per_cpu());
        PerCpu::load_system_calls(pages.per_cpu());
        switch::vmsave(pages.host_state());
        call_on_stack(resources.stack_top.raw(), &mut handover)
    }
}

/// # Safety
/// The tables at `cr3` map the running code and all memory in use at the same addresses.
unsafe fn load_host_registers(cr3: u64, cr4: u64) {
    // SAFETY: NX and system calls are enabled before tables with NX are used; CR4 loses PCIDE while CR3's low bits
    // are 0; the PAT is the one that the formats encode for.
    unsafe {
        msr::write(msr::index::EFER, HOST_EFER);
        asm!("mov cr3, {}", in(reg) cr3, options(nostack, preserves_flags));
        asm!("mov cr4, {}", in(reg) cr4, options(nostack, preserves_flags));
        asm!("mov cr0, {}", in(reg) HOST_CR0, options(nostack, preserves_flags));
        msr::write(msr::index::PAT, PAT);
    }
}

/// Goes on in [`run`] on another stack.
///
/// # Safety
/// `stack` is the top of a mapped stack that nobody uses; everything [`run`] needs is loaded.
#[unsafe(naked)]
unsafe extern "sysv64" fn call_on_stack(stack: u64, handover: &mut Handover) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "mov rdi, rsi",
        "xor ebp, ebp",
        "call {run}",
        "ud2",
        run = sym run,
    )
}

/// The kernel's whole life on this processor.
extern "sysv64" fn run(handover: &mut Handover) -> ! {
    // SAFETY: `take_over` has loaded everything.
    let cpu = unsafe { SvmCpu::new(handover.pages, handover.memory) };
    let Some(root) = handover.root.take() else { unreachable!("`take_over` puts it there") };
    let Handover { kernel, resources, .. } = *handover;
    match kernel.run_pp(resources, cpu, root) {
        Departure::Abandon(status, mut root) => {
            root.state.registers[0] = status.raw();
            // SAFETY: the OS is as it was captured; its tables mapped all of this when it called.
            unsafe { depart(root.hidden, &root.state) }
        }
        Departure::Promote(vs) => {
            let vmcb = vs.physical();
            let state = vs.to_root_state(resources.exit_page);
            // SAFETY: `can_promote` has looked at the OS's tables.
            unsafe { depart(vmcb, &state) }
        }
    }
}

/// Turns SVM off and goes on as the OS.
///
/// # Safety
/// `hidden` is the physical address of a VMCB with the OS's hidden state; else as [`RootState::resume`].
unsafe fn depart(hidden: u64, state: &RootState) -> ! {
    // SAFETY: SVM is still on; an NMI that was held back ends in the kernel's handler; clearing VM_HSAVE_PA is allowed
    // once no VMRUN follows. The rest is forwarded to the caller.
    unsafe {
        switch::vmload(hidden);
        switch::stgi();
        msr::write(VM_HSAVE_PA, 0);
        state.resume()
    }
}

/// Copies what VMSAVE put into one block to another.
pub(crate) fn copy_hidden_state(from: u64, to: &mut Vmcb) {
    // SAFETY: `from` is the page that `take_over` saved into: mapped, and written by nobody any more.
    let from = unsafe { &(*(from as *const Vmcb)).save };
    let to = &mut to.save;
    (to.fs, to.gs, to.ldtr, to.tr) = (from.fs, from.gs, from.ldtr, from.tr);
    (to.star, to.lstar, to.cstar, to.sfmask) = (from.star, from.lstar, from.cstar, from.sfmask);
    to.kernel_gs_base = from.kernel_gs_base;
    (to.sysenter_cs, to.sysenter_esp, to.sysenter_eip) =
        (from.sysenter_cs, from.sysenter_esp, from.sysenter_eip);
}

/// The reason why a processor that is not launched cannot be: for callers that look before they launch.
pub fn refusal() -> Option<LaunchError> {
    features::probe().err().and_then(LaunchStatus::error)
}

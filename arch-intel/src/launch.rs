//! From the loader's call to the kernel's loop on this processor, and the ways out of it.

use plinth_arch_x86::ap_startup::SecondaryCpus;
use plinth_arch_x86::apic::LocalApic;
use plinth_arch_x86::cpu::Cpu;
use plinth_arch_x86::departure::{Way, WayPage};
use plinth_arch_x86::extended_state;
use plinth_arch_x86::kpti::{KptiRoots, has_pcids};
use plinth_arch_x86::launch::{self, Call, HOST_EFER};
use plinth_arch_x86::launch_stack;
use plinth_arch_x86::mtrr::Mtrrs;
use plinth_arch_x86::per_cpu::{PER_CPU_PAGES, PerCpu};
use plinth_arch_x86::root_state::{EntryFrame, RootState};
use plinth_arch_x86::{EptFormat, msr, msr_access};
use plinth_kernel::{Departure, Kernel, PpResources};
use plinth_launch::{LaunchError, LaunchStatus};

use crate::Vmx;
use crate::cpu::VmxCpu;
use crate::features::{self, CR4_VMXE, Features};
use crate::memory_types;
use crate::msr_table::QUIET;
use crate::nmi;
use crate::root_state::VmxRoot;
use crate::switch;
use crate::vmcs::setup::HostState;
use crate::vmx::{self, Scope};

const EFER_NXE: u64 = 1 << 11;

/// The pages that the kernel gave this backend for one processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendPages(u64);

impl BackendPages {
    /// How many they are: descriptor tables and stacks, the VMXON region, the tables for leaving.
    const COUNT: usize = PER_CPU_PAGES + 2;

    fn per_cpu(self) -> *mut PerCpu {
        self.0 as *mut PerCpu
    }

    fn vmxon_region(self) -> u64 {
        self.0.wrapping_add(PER_CPU_PAGES as u64 * 4096)
    }

    /// The page of the [`Way`].
    pub(crate) fn way(self) -> u64 {
        self.vmxon_region().wrapping_add(4096)
    }

    /// Those whose first ones are these.
    pub(crate) fn of(per_cpu: *const PerCpu) -> Self {
        Self(per_cpu as u64)
    }
}

/// Launches this processor. Comes back only if it was refused, with the processor as it was; else the entry
/// point returns to its caller by itself, as the root VM or with the reason why not.
///
/// # Safety
/// 1. The contract of `call` is checked and stays, and what it says is true.
/// 2. The processor is in 64-bit mode at privilege level 0 with interrupts off, all memory identity mapped, the stack too, and
///    the call's frame is what the image's entry point has left on the caller's.
pub unsafe fn launch(kernel: &'static Kernel<Vmx>, call: &Call<'_>) -> LaunchStatus {
    // SAFETY: forwarded to the caller.
    let status = unsafe { try_launch(kernel, call) }.unwrap_or_else(|refused| refused);
    kernel.refuse_pp(call.pp as usize, status);
    status
}

/// # Safety
/// As [`launch`].
unsafe fn try_launch(kernel: &'static Kernel<Vmx>, call: &Call<'_>) -> Result<LaunchStatus, LaunchStatus> {
    let features = features::probe()?;
    let features = features.keep();
    launch::check_levels(launch::has_five_levels(), features.five_levels)?;
    if call.pp == 0 {
        memory_types::start(Mtrrs::read(features.physical_bits))?;
        // SAFETY: forwarded to the caller.
        unsafe { prepare(kernel, call, features)? };
    }
    let resources = kernel.prepare_pp(call.pp as usize, BackendPages::COUNT)?;
    log::debug!("pp {}: VMX {:x?} ept {:?} vpid {}", call.pp, features.controls, features.ept, features.vpid);
    // SAFETY: forwarded to the caller; the resources are this processor's alone.
    Ok(unsafe { take_over(kernel, resources, features, call.frame) })
}

/// Prepares what all processors need.
///
/// # Safety
/// As [`launch`]; this is the boot processor.
#[inline(never)]
unsafe fn prepare(
    kernel: &'static Kernel<Vmx>,
    call: &Call<'_>,
    features: &Features,
) -> Result<(), LaunchStatus> {
    let bits = features.physical_bits;
    let nested_format = EptFormat::new(features.ept, bits);
    // SAFETY: forwarded to the caller. Where the loader launches one processor alone, the others run nothing that is
    // needed.
    unsafe {
        let cold = SecondaryCpus::find(call.info, &launch::memory(call.info));
        kernel.prepare(launch::platform(call.info, features.giant_leaves, nested_format, bits, &cold)?)?;
        cold.install(kernel, BackendPages::COUNT, call)?;
    }
    Ok(())
}

/// What goes from the launch stack to the kernel's.
struct Handover {
    kernel: &'static Kernel<Vmx>,
    resources: PpResources,
    pages: BackendPages,
    host: HostState,
    root: Option<VmxRoot>,
    /// Where the call's frame is, by which it has the launch stack.
    frame: u64,
}

/// # Safety
/// As [`launch`].
unsafe fn take_over(
    kernel: &'static Kernel<Vmx>,
    resources: PpResources,
    features: &Features,
    frame: &EntryFrame,
) -> LaunchStatus {
    let pages = BackendPages(resources.backend.raw());
    let tables = KptiRoots::new(&resources, has_pcids());
    // SAFETY: the caller vouches for the mode; the pages are fresh and this processor's alone.
    let mut root = unsafe {
        let root = VmxRoot::capture(RootState::capture(frame));
        PerCpu::place(pages.per_cpu());
        PerCpu::set_nmi_handler(pages.per_cpu(), nmi::handler as *const () as u64);
        PerCpu::set_tables(pages.per_cpu(), tables);
        (pages.vmxon_region() as *mut u32).write_volatile(features.revision);
        root
    };
    // SAFETY: interrupts are off, the tables are this processor's, and this is the kernel's image.
    unsafe { PerCpu::load(pages.per_cpu()) };
    // Some records of branches and events go to addresses of the OS's page tables, which are about to go.
    root.capture_rest();
    msr_access::make_quiet(&QUIET);
    features::allow_vmx();
    let more = CR4_VMXE | features.host_cr4 | features.cr4_must | tables.cr4();
    let cr4 = launch::host_cr4(root.state.cr4, more);
    let (bases, rip) = (PerCpu::bases(pages.per_cpu()), switch::exit_address());
    let host = HostState { cr3: resources.host_root.raw(), cr4, bases, rip };
    let mut handover =
        Handover { kernel, resources, pages, host, root: Some(root), frame: &raw const *frame as u64 };
    // SAFETY: the kernel's tables map this code, both stacks and all memory at the same addresses; `resources` holds a
    // fresh stack.
    unsafe {
        launch::load_host_registers(host.cr3, cr4, HOST_EFER);
        PerCpu::load_system_calls(pages.per_cpu());
        launch::call_on_stack(resources.stack_top.raw(), &mut handover, run)
    }
}

/// The kernel's whole life on this processor.
extern "sysv64" fn run(handover: &mut Handover) -> ! {
    // PANIC: `take_over` alone calls this, and puts it there.
    let Some(root) = handover.root.take() else { unreachable!("`take_over` puts it there") };
    extended_state::prepare();
    let Handover { kernel, resources, pages, host, frame, .. } = *handover;
    launch_stack::release(frame);
    // SAFETY: CR0, CR4 and IA32_FEATURE_CONTROL are as VMXON wants them; the region has the revision.
    if unsafe { vmx::vmxon(pages.vmxon_region()) }.is_err() {
        let status = LaunchStatus::failed(LaunchError::AlreadyInUse, 0);
        kernel.refuse_pp(resources.pp, status);
        // SAFETY: the OS is as it was captured.
        unsafe { abandon(pages, status, root) }
    }
    // SAFETY: `take_over` has loaded everything, and VMX is on; the NMI stack is this processor's.
    let cpu = unsafe {
        forget_all();
        Cpu(VmxCpu::new(pages.per_cpu(), host, PerCpu::nmi_note(pages.per_cpu())))
    };
    match kernel.run_pp(resources, cpu, root) {
        Departure::Abandon(status, root) => {
            // SAFETY: VMX is on with no VMCS active: a VS at rest is clear. The OS is as it was captured.
            unsafe {
                vmx::vmxoff();
                abandon(pages, status, root)
            }
        }
        Departure::Promote(mut vs, registers) => {
            // SAFETY: the VS has run here, or the one that did has been put to rest.
            unsafe { vs.extended.load() };
            let root = vs.to_root(registers);
            vs.put_to_rest();
            // SAFETY: no VMCS is active any more; `can_promote` has looked at the OS's tables.
            unsafe {
                vmx::vmxoff();
                depart(pages, &root)
            }
        }
    }
}

/// Forgets what an earlier user of VMX has left in the TLB.
///
/// # Safety
/// VMX is on.
unsafe fn forget_all() {
    let features = Features::current();
    // SAFETY: VMX is on, and `probe` has seen that one of the two scopes of INVEPT is there; each VS forgets its own
    // translations before it first runs.
    unsafe {
        if features.vpid {
            vmx::invvpid(Scope::All, 0);
        }
    }
}

/// Gives the processor back with the reason why it was not launched.
///
/// # Safety
/// As [`depart`].
unsafe fn abandon(pages: BackendPages, status: LaunchStatus, mut root: VmxRoot) -> ! {
    root.state.registers[0] = status.raw();
    // SAFETY: forwarded to the caller; the OS's tables mapped all of this when it called.
    unsafe { depart(pages, &root) }
}

/// Goes on as the OS.
///
/// # Safety
/// VMX is off; else as [`RootState::resume_from_vmx`].
unsafe fn depart(pages: BackendPages, root: &VmxRoot) -> ! {
    // SAFETY: forwarded to the caller; the page is this processor's own, and nothing else is in it. NX stays on until the OS's own
    // tables are loaded.
    unsafe {
        let efer = msr::read(msr::index::EFER);
        msr::write(msr::index::EFER, efer | EFER_NXE);
        root.load();
        let (page, note) = (&mut *(pages.way() as *mut WayPage), PerCpu::nmi_note(pages.per_cpu()));
        let way = Way::new(page, root.state.cs.selector, &root.segments, note, LocalApic::current());
        root.state.resume_from_vmx(&way)
    }
}

/// The reason why a processor that is not launched cannot be: for callers that look before they launch.
pub fn refusal() -> Option<LaunchError> {
    features::probe().err().and_then(LaunchStatus::error)
}

//! From the loader's call to the kernel's loop on this processor, and the ways out of it.

use plinth_arch_x86::ap_startup::SecondaryCpus;
use plinth_arch_x86::cpu::Cpu;
use plinth_arch_x86::extended_state;
use plinth_arch_x86::kpti::{KptiRoots, has_pcids};
use plinth_arch_x86::launch::{self, Call, HOST_EFER};
use plinth_arch_x86::launch_stack;
use plinth_arch_x86::nmi::{self, NmiNote};
use plinth_arch_x86::per_cpu::{PER_CPU_PAGES, PerCpu};
use plinth_arch_x86::root_state::{EntryFrame, RootState};
use plinth_arch_x86::speculation::Processor;
use plinth_arch_x86::{NptFormat, msr, msr_access};
use plinth_kernel::{Departure, Kernel, PpResources};
use plinth_launch::{LaunchError, LaunchStatus};

use crate::cpu::SvmCpu;
use crate::features::{self, Features};
use crate::msr_table::QUIET;
use crate::root_state::SvmRoot;
use crate::vm::{VM_CR, VM_CR_R_INIT, VM_HSAVE_PA};
use crate::vmcb::EFER_SVME;
use crate::{Svm, memory_types, spec_ctrl, switch};

/// The pages that the kernel gave this backend for one processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackendPages(u64);

impl BackendPages {
    /// How many they are: descriptor tables and stacks, the host save area, two VMCBs.
    const COUNT: usize = PER_CPU_PAGES + 3;

    pub(crate) fn per_cpu(self) -> *mut PerCpu {
        self.0 as *mut PerCpu
    }

    fn host_save(self) -> u64 {
        self.0.wrapping_add(PER_CPU_PAGES as u64 * 4096)
    }

    /// The VMCB that holds the kernel's own hidden state.
    pub(crate) fn host_state(self) -> u64 {
        self.host_save().wrapping_add(4096)
    }

    fn root_hidden(self) -> u64 {
        self.host_save().wrapping_add(2 * 4096)
    }

    /// What the NMI handler writes.
    pub(crate) fn nmi_note(self) -> &'static NmiNote {
        // SAFETY: the pages are zeroed, mapped and this processor's own for ever.
        unsafe { PerCpu::nmi_note(self.per_cpu()) }
    }
}

/// Launches this processor. Comes back only if it was refused, with the processor as it was; else the entry
/// point returns to its caller by itself, as the root VM or with the reason why not.
///
/// # Safety
/// 1. The contract of `call` is checked and stays, and what it says is true.
/// 2. The processor is in 64-bit mode at privilege level 0 with interrupts off, all memory identity mapped, the stack too, and
///    the call's frame is what the image's entry point has left on the caller's.
pub unsafe fn launch(kernel: &'static Kernel<Svm>, call: &Call<'_>) -> LaunchStatus {
    // SAFETY: forwarded to the caller.
    let status = unsafe { try_launch(kernel, call) }.unwrap_or_else(|refused| refused);
    kernel.refuse_pp(call.pp as usize, status);
    status
}

/// # Safety
/// As [`launch`].
unsafe fn try_launch(kernel: &'static Kernel<Svm>, call: &Call<'_>) -> Result<LaunchStatus, LaunchStatus> {
    let features = features::probe()?;
    let features = features.keep();
    launch::check_levels(launch::has_five_levels(), features.five_levels)?;
    if call.pp == 0 {
        // SAFETY: forwarded to the caller.
        unsafe { prepare(kernel, call, features)? };
    }
    let resources = kernel.prepare_pp(call.pp as usize, BackendPages::COUNT)?;
    log::debug!("pp {}: SVM {features:x?}", call.pp);
    // SAFETY: forwarded to the caller; the resources are this processor's alone.
    Ok(unsafe { take_over(kernel, resources, features, call.frame) })
}

/// Prepares what all processors need.
///
/// # Safety
/// As [`launch`]; this is the boot processor.
#[inline(never)]
unsafe fn prepare(
    kernel: &'static Kernel<Svm>,
    call: &Call<'_>,
    features: Features,
) -> Result<(), LaunchStatus> {
    let bits = features.physical_bits;
    memory_types::start(&features);
    let nested_format = NptFormat::new(features.giant_leaves, bits).with_five_levels(features.five_levels);
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
    kernel: &'static Kernel<Svm>,
    resources: PpResources,
    pages: BackendPages,
    root: Option<SvmRoot>,
    /// Where the call's frame is, by which it has the launch stack.
    frame: u64,
}

/// # Safety
/// As [`launch`].
unsafe fn take_over(
    kernel: &'static Kernel<Svm>,
    resources: PpResources,
    features: Features,
    frame: &EntryFrame,
) -> LaunchStatus {
    let pages = BackendPages(resources.backend.raw());
    let tables = KptiRoots::new(&resources, has_pcids());
    // SAFETY: the caller vouches for the mode; the pages are fresh and this processor's alone; turning SVM on
    // changes nothing yet, and from CLGI on nothing interrupts.
    let state = unsafe {
        let mut state = RootState::capture(frame);
        state.spec_ctrl = spec_ctrl::take(features.virtual_spec_ctrl);
        msr::write(msr::index::EFER, state.efer | EFER_SVME);
        switch::clgi();
        msr::write(VM_HSAVE_PA, pages.host_save());
        // Else one that a device sends would reset the processor out of the hypervisor while GIF is set here.
        msr::write(VM_CR, msr::read(VM_CR) | VM_CR_R_INIT);
        switch::vmsave(pages.root_hidden());
        PerCpu::place(pages.per_cpu());
        PerCpu::set_nmi_handler(pages.per_cpu(), nmi::handler as *const () as u64);
        PerCpu::set_tables(pages.per_cpu(), tables);
        state
    };
    let cr4 = launch::host_cr4(state.cr4, features.hardening | tables.cr4());
    let root = SvmRoot { state, hidden: pages.root_hidden() };
    let mut handover =
        Handover { kernel, resources, pages, root: Some(root), frame: &raw const *frame as u64 };
    // SAFETY: the kernel's tables map this code, both stacks and all memory at the same addresses; `resources` holds a fresh stack.
    unsafe {
        launch::load_host_registers(
            resources.host_root.raw(),
            cr4,
            HOST_EFER | EFER_SVME | Processor::current().efer(),
        );
        PerCpu::load(pages.per_cpu());
        PerCpu::load_system_calls(pages.per_cpu());
        switch::vmsave(pages.host_state());
        launch::call_on_stack(resources.stack_top.raw(), &mut handover, run)
    }
}

/// The kernel's whole life on this processor.
extern "sysv64" fn run(handover: &mut Handover) -> ! {
    extended_state::prepare();
    msr_access::make_quiet(&QUIET);
    // SAFETY: `take_over` has loaded everything.
    let cpu = unsafe { Cpu(SvmCpu::new(handover.pages)) };
    // PANIC: `take_over` alone calls this, and puts it there.
    let Some(root) = handover.root.take() else { unreachable!("`take_over` puts it there") };
    let Handover { kernel, resources, frame, .. } = *handover;
    launch_stack::release(frame);
    match kernel.run_pp(resources, cpu, root) {
        Departure::Abandon(status, mut root) => {
            root.state.registers[0] = status.raw();
            // SAFETY: the OS is as it was captured; its tables mapped all of this when it called.
            unsafe { depart(root.hidden, &root.state) }
        }
        Departure::Promote(mut vs, registers) => {
            // SAFETY: the VS has run here, or the one that did has been put to rest.
            unsafe { vs.extended.load() };
            let vmcb = vs.physical();
            let state = vs.to_root_state(registers);
            // SAFETY: `can_promote` has looked at the OS's tables.
            unsafe { depart(vmcb, &state) }
        }
    }
}

/// Turns SVM off and goes on as the OS.
///
/// # Safety
/// `hidden` is the physical address of a VMCB with the OS's hidden state; else as [`RootState::resume_from_svm`].
unsafe fn depart(hidden: u64, state: &RootState) -> ! {
    // SAFETY: SVM is still on, and the global interrupt flag clear. VM_CR is as it was before the launch: no firmware uses R_INIT.
    // Clearing VM_HSAVE_PA is allowed once no VMRUN follows. The rest is forwarded to the caller.
    unsafe {
        switch::vmload(hidden);
        spec_ctrl::give_back(Features::current().virtual_spec_ctrl, state.spec_ctrl);
        msr::write(VM_CR, msr::read(VM_CR) & !VM_CR_R_INIT);
        msr::write(VM_HSAVE_PA, 0);
        #[cfg(feature = "fault-injection")]
        plinth_arch_x86::fault_injection::inject_nmi();
        state.resume_from_svm()
    }
}

/// The reason why a processor that is not launched cannot be: for callers that look before they launch.
pub fn refusal() -> Option<LaunchError> {
    features::probe().err().and_then(LaunchStatus::error)
}

//! The launch: from the loader's call to the kernel's main loop on the boot CPU, and the way back if the launch fails.
//!
//! A caller at EL2 returns from its call at EL1, as the root VM, on the same stack and with the translation that it had at
//! EL2. Its other CPUs are still off: the root VM starts them, and they arrive in [`crate::power::secondary`]. A caller that
//! is an OS at EL1 continues where it is, and calls on each of its CPUs.

use core::arch::naked_asm;

use plinth_device_tree::{Processor, Startup};
use plinth_hal::{PAGE_SIZE, Spa, SpaRange, UserVa};
use plinth_kernel::{Departure, Entry, Kernel, Platform, PpResources};
use plinth_launch::image::Machine as ImageMachine;
use plinth_launch::{CONSOLE_NONE, LaunchError, LaunchInfo, LaunchStatus, Range};

use crate::cpu::El2Cpu;
use crate::el2::HostRegisters;
use crate::el2::probe;
use crate::features::Features;
use crate::gic::hyp_timer::HypTimer;
use crate::handover::Handover;
use crate::machine::device_tree::{GicKind, Machine, PrivateRegisters};
use crate::machine::ram_map::RAM_MAP;
use crate::machine::spin_table::Spinning;
use crate::memory::IdentityMemory;
use crate::paging::formats::{HostFormat, RootShape, Stage2Format};
use crate::power::secondary::{self, Arrival};
use crate::power::{firmware, pen};
use crate::psci::power_state::{POWER_STATES, Start};
use crate::root_state::{Caller, El2Root, Frame};
use crate::stage2::shootdown::Root;
use crate::{El2, gic::redistributors, mpidr, options, switch};

/// The extension's lowest address, where the extension has an address space of its own.
const USER_BASE: u64 = 2 << 20;
/// The extension's lowest address in the shared EL2&0 regime: the kernel's addresses lie below.
const SHARED_USER_BASE: u64 = 1 << 47;

/// Launches this CPU. Returns only if the launch was refused, with the CPU as it was.
///
/// # Safety
/// 1. `info` is a checked launch contract that stays, and what it says is true.
/// 2. The processor is at EL2 with interrupts masked, all memory that the contract speaks of identity mapped, the contract's memory
///    clean to the point of coherency, and `frame` is what the image's entry point has left.
pub unsafe fn launch(
    kernel: &'static Kernel<El2>,
    info: &LaunchInfo,
    pp: u64,
    frame: Frame<'_>,
) -> LaunchStatus {
    let handover = match (pp, frame) {
        // SAFETY: forwarded to the caller.
        (0, _) => unsafe { prepare_first(kernel, info, frame) },
        // The others start by PSCI.
        (_, Frame::El2(_)) => Err(LaunchStatus::failed(LaunchError::AlreadyLaunched, pp)),
        (_, Frame::El1(_)) => next(),
    };
    // SAFETY: forwarded to the caller.
    let root = |gic| unsafe { El2Root::of_caller(frame, gic) };
    let with_root = |handover: Handover| match root(handover.gic) {
        Ok(root) => Ok((handover, root)),
        Err(refused) => {
            POWER_STATES.give_up(handover.resources.pp);
            Err(refused)
        }
    };
    match handover.and_then(with_root) {
        // SAFETY: forwarded to the caller.
        Ok((handover, root)) => unsafe { take_over(handover, root) },
        Err(refused) => refused,
    }
}

/// # Safety
/// As [`launch`].
unsafe fn prepare_first(
    kernel: &'static Kernel<El2>,
    info: &LaunchInfo,
    frame: Frame<'_>,
) -> Result<Handover, LaunchStatus> {
    // SAFETY: the contract's command line is there.
    let line = unsafe { options::command_line(info.command_line) };
    let features = probe::probe(options::shared_regime(line))?;
    let features = features.make_current();
    // SAFETY: forwarded to the caller.
    let handover = unsafe { prepare(kernel, info, features, matches!(frame, Frame::El1(_))) }?;
    log::debug!("{features:?}, {:?}, {} processors", handover.gic, POWER_STATES.count());
    Ok(handover)
}

/// What was prepared for another processor, which an OS at EL1 runs on.
fn next() -> Result<Handover, LaunchStatus> {
    let own = mpidr::own_affinity();
    let refused = |error| LaunchStatus::failed(error, own);
    let first = POWER_STATES.find(own).ok_or(refused(LaunchError::UnknownStartup))?;
    let handover = secondary::handover(first).ok_or(refused(LaunchError::NotPrepared))?;
    match POWER_STATES.begin(own, 0, 0) {
        Ok(Start::Cold(pp)) => POWER_STATES.arrive(pp),
        Ok(Start::Warm) | Err(_) => return Err(refused(LaunchError::AlreadyLaunched)),
    };
    Ok(handover)
}

/// Prepares the state that all CPUs share.
///
/// # Safety
/// As [`launch`].
unsafe fn prepare(
    kernel: &'static Kernel<El2>,
    info: &LaunchInfo,
    features: Features,
    from_el1: bool,
) -> Result<Handover, LaunchStatus> {
    let bad_tree = LaunchStatus::failed(LaunchError::BadContract, info.fdt);
    // SAFETY: the contract's device tree is there and stays.
    let machine = unsafe { device_tree(info.fdt) }.and_then(Machine::new).ok_or(bad_tree)?;
    let own = mpidr::own_affinity();
    let others = || machine.processors().filter(|processor| processor.affinity != own);
    if let Some(other) = others().find(|other| other.startup == Startup::Unknown) {
        return Err(LaunchStatus::failed(LaunchError::UnknownStartup, other.affinity));
    }
    POWER_STATES.fill(own, machine.processors().map(|processor| processor.affinity));
    if !RAM_MAP.fill(machine.banks(), || machine.kept_by_firmware(), info.memory_end, info.reservation) {
        log::warn!(
            "the device tree does not name the memory that the hypervisor lies in: the kernel reads no memory of the OS's, \
             and an extension cannot; check the tree's memory nodes"
        );
    }
    firmware::note(machine.has_firmware());
    let (gic, private) = (machine.gic(), machine.private_interrupts());
    // An OS at EL1 calls on the processors that it runs on; else the boot processor starts all others.
    let pp_count = if from_el1 { info.pp_count } else { POWER_STATES.count() as u64 };
    let info = &LaunchInfo { pp_count, ..*info };
    // SAFETY: forwarded to the caller.
    let platform = unsafe { platform(info, features, gic, &private) };
    let memory = platform.memory;
    kernel.prepare(platform)?;
    let mut boot = None;
    for pp in 0..POWER_STATES.count() {
        let resources = kernel.prepare_pp(pp, nested_root(&features).pages())?;
        let emergency_stack = kernel.stack()?;
        let handover = Handover { kernel, memory, resources, emergency_stack, gic, private };
        let waits = !from_el1 && spinning(others()).any(|other| other.pp == pp);
        secondary::prepare(pp, handover, host_registers(&features, &resources), waits, started);
        boot = boot.or(Some(handover));
    }
    let boot = boot.ok_or(bad_tree)?;
    let outside = |affinity| LaunchStatus::failed(LaunchError::StaysInSpinTable, affinity);
    if from_el1 {
        // One that runs has left its spin table; which of them one stays in that does not run, nobody knows.
        let is_left_out = pp_count < POWER_STATES.count() as u64;
        return match spinning(others()).next().filter(|_| is_left_out) {
            Some(other) => Err(outside(other.affinity)),
            None => Ok(boot),
        };
    }
    let has_word = |other: &Spinning| other.has_word(info.memory_end, info.reservation);
    if let Some(other) = spinning(others()).find(|other| !has_word(other)) {
        return Err(outside(other.affinity));
    }
    // SAFETY: the device tree says that processors wait so, in memory, as was just seen; arrivals are prepared.
    unsafe { pen::collect(|| spinning(others())) }.map_err(outside)?;
    Ok(boot)
}

/// Those that wait in a spin table, of these processors.
fn spinning(processors: impl Iterator<Item = Processor>) -> impl Iterator<Item = Spinning> {
    processors.filter_map(|Processor { affinity, startup, failed }| match startup {
        Startup::SpinTable(release) => {
            Some(Spinning { pp: POWER_STATES.find(affinity)?, affinity, release, failed })
        }
        Startup::Psci | Startup::Unknown => None,
    })
}

/// # Safety
/// If `address` is not 0, a device tree is there and stays.
unsafe fn device_tree(address: u64) -> Option<&'static [u8]> {
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: the caller vouches for a tree, whose header is longer than this.
    let header = unsafe { &*(address as *const [u8; 8]) };
    let size = plinth_device_tree::total_size(header)?;
    // SAFETY: the caller vouches for the tree, which says its own length.
    Some(unsafe { core::slice::from_raw_parts(address as *const u8, size) })
}

/// What the roots of nested tables look like.
fn nested_root(features: &Features) -> RootShape {
    Stage2Format::new(features.physical_bits()).root()
}

fn host_registers(features: &Features, resources: &PpResources) -> HostRegisters {
    HostRegisters::kernel(features, resources.host_root.raw(), switch::vectors())
}

/// # Safety
/// As [`launch`].
unsafe fn platform(
    info: &LaunchInfo,
    features: Features,
    gic: GicKind,
    private: &PrivateRegisters,
) -> Platform<El2> {
    let pool = SpaRange::new(Spa::new(info.pool.start), info.pool.size);
    let reservation = SpaRange::new(Spa::new(info.reservation.start), info.reservation.size);
    let bits = features.physical_bits();
    let shared = features.shared_regime;
    let page = |base| Some(SpaRange::new(Spa::new(base).page(), PAGE_SIZE));
    let console = (info.console_kind != CONSOLE_NONE).then(|| page(info.console_base)).flatten();
    let [first, second, third] = private.map(whole_pages);
    let interrupts = match gic {
        GicKind::V2(base) => [page(base), first, None],
        GicKind::Bcm2836 { local, shared } => [page(local), page(shared), None],
        GicKind::None | GicKind::V3 => [first, second, third],
    };
    Platform {
        info: *info,
        // SAFETY: the contract's command line is there, and stays while the kernel is prepared.
        command_line: unsafe { options::command_line(info.command_line) },
        // SAFETY: the contract says that the extension's file is there, outside the pool, and stays.
        extension: unsafe {
            core::slice::from_raw_parts(info.extension.start as *const u8, info.extension.size as usize)
        },
        // SAFETY: what `RAM_MAP` has, and the contract's end of memory covers, is identity mapped by the kernel's tables, and
        // looked at by nobody before; the pool is the kernel's, and mapped by the loader now.
        memory: unsafe { IdentityMemory::new(pool, reservation) },
        host_format: if shared { HostFormat::shared(bits) } else { HostFormat::new(bits) },
        nested_format: Stage2Format::new(bits),
        elf_machine: ImageMachine::Aarch64,
        physical_end: if shared { SHARED_USER_BASE.min(1 << bits) } else { 1 << bits },
        devices: [console, interrupts[0], interrupts[1], interrupts[2]],
        // SAFETY: forwarded to the caller, whose tables map the machine's devices too.
        trapped: unsafe { redistributors::find(gic, private) },
        start_page: None,
        user_base: UserVa::new(if shared { SHARED_USER_BASE } else { USER_BASE }),
        entry: Entry::NONE,
    }
}

/// The pages that a range of registers lies in.
fn whole_pages(range: Range) -> Option<SpaRange> {
    let start = Spa::new(range.start).page();
    let end = range.start.checked_add(range.size)?.checked_next_multiple_of(PAGE_SIZE)?;
    let size = end.checked_sub(start.raw())?;
    (range.size != 0).then(|| SpaRange::new(start, size))
}

/// # Safety
/// As [`launch`].
unsafe fn take_over(handover: Handover, root: El2Root) -> LaunchStatus {
    let features = Features::current();
    let mut life = Life { handover, root: Some(root) };
    // SAFETY: the kernel's tables map this code, both stacks and all memory at the same addresses; the stack is fresh.
    // Both callers and this processor's caches see the same memory before and after.
    unsafe {
        host_registers(&features, &handover.resources).load();
        call_on_stack(handover.resources.stack_top.raw(), &mut life)
    }
}

/// What goes from the caller's stack to the kernel's.
struct Life {
    handover: Handover,
    root: Option<El2Root>,
}

/// Goes on in [`live`] on another stack.
///
/// # Safety
/// `stack` is the top of a mapped stack that nobody uses.
#[unsafe(naked)]
unsafe extern "C" fn call_on_stack(stack: u64, life: &mut Life) -> ! {
    naked_asm!("mov sp, x0", "mov x0, x1", "mov x29, xzr", "mov x30, xzr", "b {live}", live = sym live)
}

extern "C" fn live(life: &mut Life) -> ! {
    // PANIC: `take_over` alone gets here, and puts it there.
    let Some(root) = life.root.take() else { unreachable!("`take_over` puts it there") };
    run(life.handover, root)
}

/// Continues on a CPU that the root VM has started, with the kernel's tables and stack.
extern "C" fn started(arrival: &Arrival) -> ! {
    // PANIC: no processor is started before `prepare` has put it there.
    let Some(handover) = arrival.handover() else { unreachable!("`prepare` puts it there") };
    let (entry, context) = POWER_STATES.arrive(arrival.pp as usize);
    run(handover, El2Root::started(entry, context))
}

/// Runs the kernel on this CPU until the CPU is given back.
fn run(handover: Handover, root: El2Root) -> ! {
    let Handover { kernel, memory, resources, emergency_stack, gic, private } = handover;
    // SAFETY: `prepare` has made it for this processor.
    unsafe { switch::set_emergency_stack(emergency_stack.raw()) };
    let features = Features::current();
    let nested = Root::new(resources.pp, memory, resources.backend, nested_root(&features));
    let way_back = root.way_back();
    // SAFETY: the kernel's registers are loaded, and the interrupt controller is mapped by its tables.
    let cpu = unsafe {
        El2Cpu::new(&features, resources.user_root, nested, gic, HypTimer::new(gic, &private), way_back)
    };
    let is_called = root.caller.is_none();
    let departure = match is_called {
        true => kernel.run_called_pp(resources, cpu, root),
        false => kernel.run_pp(resources, cpu, root),
    };
    // SAFETY: nothing of the kernel's is under way here any more, and it promotes root VSs alone.
    unsafe {
        match (departure, way_back) {
            (Departure::Abandon(status, root), _) => abandon(resources.pp, status, root),
            (Departure::Promote(vs, registers), Some(Caller::El1(caller))) => {
                caller.give_back(&vs, registers)
            }
            (Departure::Promote(vs, registers), Some(Caller::El2(caller))) => {
                caller.give_back(&vs, registers)
            }
            // The firmware has started this CPU: it turns off, and can be started again.
            (Departure::Promote(..), None) => secondary::turn_off(resources.pp),
        }
    }
}

/// Gives this CPU back after its launch has failed.
///
/// # Safety
/// Nothing of the kernel's is under way on it any more.
unsafe fn abandon(pp: usize, status: LaunchStatus, root: El2Root) -> ! {
    match root.caller {
        // SAFETY: forwarded to the caller.
        Some(Caller::El2(caller)) => unsafe { caller.refuse(&root, status) },
        Some(Caller::El1(caller)) => {
            POWER_STATES.give_up(pp);
            // SAFETY: forwarded to the caller.
            unsafe { caller.refuse(status) }
        }
        // SAFETY: forwarded to the caller.
        None => unsafe { secondary::turn_off(pp) },
    }
}

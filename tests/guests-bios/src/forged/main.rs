//! A program without any rights forges what only a kernel may do: it makes hypercalls, executes the instructions of the
//! virtualization extensions and the privileged ones, and touches the hypervisor's memory. Each is refused as on the bare
//! machine, and the hypervisor is there afterwards.

#![no_std]
#![no_main]

mod ring3;

use plinth_extension_api::abi::{HYPERCALL_COUNT, HYPERCALL_REPORT, HYPERCALL_STOP};
use plinth_test_extensions::random::Random;
use plinth_test_guests::trap::Fault;
use plinth_test_guests::{Report, check, cpu, plinth, probe, trap, virtualization};
use plinth_test_guests_bios::boot_parameters::BootParameters;

/// Hypercalls at random.
const HYPERCALLS: usize = 2_000;

/// #UD, #GP.
const UNDEFINED: u64 = 6;
const GENERAL_PROTECTION: u64 = 13;

/// Where the entry code arrives in 64-bit mode, interrupts off.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main(parameters: u64) -> ! {
    // SAFETY: the loader's parameters, which nothing has overwritten yet.
    let memory = unsafe { BootParameters::at(parameters) };
    trap::install();
    let mut report = Report::new("forged");
    let reservation = memory.reservation().filter(|_| plinth::is_there());
    report.check("machine-has-plinth", reservation.is_some());
    check!(report, "hypercall-of-the-kernel", plinth::hypercall(HYPERCALL_COUNT, 0).is_ok());
    // SAFETY: this kernel uses no other descriptor tables, and one processor runs.
    unsafe { ring3::enter(program, report, reservation.map_or(0, |(start, _)| start)) }
}

/// What runs without rights, but with ports for the report. The argument is where the hypervisor's memory begins.
fn program(mut report: Report, reservation: u64) -> ! {
    check!(report, "in-ring-3", ring3::level(), 3);
    hypercalls(&mut report);
    instructions(&mut report);
    privileged(&mut report);
    if reservation != 0 {
        memory(&mut report, reservation + 0x2000);
    }
    report.check("plinth-is-there", plinth::is_there());
    report.done()
}

fn hypercalls(report: &mut Report) {
    for number in [HYPERCALL_COUNT, HYPERCALL_REPORT, HYPERCALL_STOP] {
        let results = [plinth::vmcall(number, 0), plinth::vmmcall(number, 0)];
        check!(report, "hypercall-forged", results, [Err(Fault::undefined(3)); 2]);
    }
    let mut random = Random::new(0x504C);
    let wrong = (0..HYPERCALLS).filter(|_| {
        let (number, argument) = (random.next(), random.next());
        plinth::hypercall(number, argument) != Err(Fault::undefined(3))
    });
    check!(report, "hypercalls-at-random", wrong.count(), 0);
}

/// On AMD the processor itself refuses them for want of rights, before it looks whether they are intercepted (AMD64 APM vol. 2,
/// 15.9, "Instruction Intercepts").
fn instructions(report: &mut Report) {
    for instruction in virtualization::instructions() {
        let (fault, unchanged) = instruction.run();
        let vector = fault.map(|fault| fault.vector);
        let refused = vector == Some(UNDEFINED) || cpu::is_amd() && vector == Some(GENERAL_PROTECTION);
        check!(report, instruction.name, (refused, unchanged), (true, true));
    }
}

fn privileged(report: &mut Report) {
    macro_rules! refused {
        ($($text:literal),*) => {$(
            // SAFETY: it must fault, for want of rights.
            let fault = unsafe { probe!($text; inout("rax") 0u64 => _, inout("rcx") 0xC000_0080u64 => _, inout("rdx") 0u64 => _) };
            check!(report, $text, fault.map(|fault| fault.vector), Some(GENERAL_PROTECTION));
        )*};
    }
    refused!(
        "rdmsr",
        "wrmsr",
        "mov rax, cr0",
        "mov cr4, rax",
        "mov cr3, rax",
        "mov dr7, rax",
        "clts",
        "hlt",
        "invd",
        "wbinvd",
        "invlpg [rax]",
        "lmsw ax"
    );
}

/// The hypervisor's memory, mapped for programs: zeroes, and nothing stays.
fn memory(report: &mut Report, at: u64) {
    let read = || {
        let value: u64;
        // SAFETY: reading changes nothing.
        let fault = unsafe { probe!("mov {value}, [{at}]"; value = out(reg) value, at = in(reg) at) };
        (fault, value)
    };
    check!(report, "reservation-reads-zero", read(), (None, 0));
    // SAFETY: it is the hypervisor's, and vanishes.
    let fault = unsafe { probe!("mov [{at}], {at}"; at = in(reg) at) };
    check!(report, "reservation-takes-a-write", fault, None);
    check!(report, "reservation-keeps-none", (read(), cpu::flags() & 1 << 8), ((None, 0), 0));
}

//! Every system call: what it refuses, and that a refusal changes nothing.

mod common;

use common::{Guest, in_vmexit, refuses, refuses_call, returning_calls};
use plinth_arch_sim::cpu::{DENIED_REGISTERS, IMPOSSIBLE_CR0, WRITABLE_REGISTERS};
use plinth_arch_sim::extension::{Slot, User};
use plinth_arch_sim::machine::{MEMORY_END, RESERVATION, USER_BASE};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_arch_sim::state::EFER_FIXED;
use plinth_extension_api::abi::{
    Call, EXIT_CLASSES, Error, Failure, ROOT_VM, SIGNATURE, Status, VERSION, register,
};

/// Addresses that no argument may point to.
const BAD_POINTERS: [u64; 9] = [
    0,
    8,
    0x1000,
    RESERVATION.start + 0x2_0000,
    MEMORY_END - 8,
    USER_BASE - 8,
    1 << 47,
    1 << 63,
    u64::MAX - 7,
];

/// Ids that never name anything.
const BAD_IDS: [u64; 6] = [1 << 16, 0xFFFF, 77, u64::MAX, 1 << 63, 0xFFFF_0000_0000_0001];

fn error_of(user: &User, number: u64, arguments: [u64; 6]) -> Option<Error> {
    Status::from_raw(user.raw_call(number, arguments).0).result().err().map(|failure| failure.error)
}

#[test]
fn numbers_that_are_no_calls() {
    in_vmexit(|standard, user, _| {
        let good = Call::HandleOpen.number();
        let foreign = [good & 0xFFFF_FFFF, 0x6642 << 48 | good & 0xFFFF_FFFF, !0, 0, good ^ 1 << 63];
        let flagged = (32..48).map(|bit| good | 1 << bit);
        let unknown = [0x0000_0003, 0x0001_0002, 0x0006_000F, 0x0008_0004, 0x000B_0000, 0xFFFF_FFFF];
        let unknown = unknown.map(|opcode| SIGNATURE << 48 | opcode);
        for number in foreign.into_iter().chain(flagged).chain(unknown) {
            let arguments = [standard.handle(), 0, 0, 0, 0, 0];
            assert_eq!(error_of(user, number, arguments), Some(Error::UnknownCall), "{number:#x}");
        }
    });
}

#[test]
fn every_call_with_a_handle_checks_it() {
    in_vmexit(|standard, user, _| {
        for call in returning_calls().filter(|call| call.contract().takes_handle()) {
            for handle in [0, 1, !0, standard.handle() ^ 2] {
                refuses(user.call(call, &[handle]), 0, Error::InvalidHandle);
            }
        }
    });
}

#[test]
fn handles_open_once_and_close() {
    in_vmexit(|standard, user, _| {
        for version in [0, VERSION + 1, u64::MAX] {
            refuses(user.call(Call::HandleOpen, &[version]), 0, Error::Unsupported);
        }
        refuses_call(user.call(Call::HandleOpen, &[VERSION]), Error::Busy);
        let old = standard.handle();
        standard.expect(user, Call::HandleClose, &[]);
        refuses(standard.call(user, Call::VmCreate, &[]), 0, Error::InvalidHandle);
        standard.open(user);
        assert_ne!(standard.handle(), old, "the old one is worth nothing");
        refuses(user.call(Call::VmCreate, &[old]), 0, Error::InvalidHandle);
    });
}

#[test]
fn callbacks_are_registered_in_start_only() {
    in_vmexit(|standard, user, _| {
        let calls =
            [Call::CallbackRegisterBootstrap, Call::CallbackRegisterVmexit, Call::CallbackRegisterFail];
        for call in calls {
            let address = user.address_of(Slot::Vmexit, Slot::Fail);
            refuses_call(standard.call(user, call, &[address]), Error::WrongState);
        }
    });
}

#[test]
fn callbacks_are_code_and_registered_once() {
    let standard = Standard::new();
    let own = standard.clone();
    let extension = standard.extension().on(Slot::Start, move |user, _| {
        own.open(user);
        let register = |address| own.call(user, Call::CallbackRegisterFail, &[address]);
        for address in BAD_POINTERS.into_iter().chain([USER_BASE + (256 << 30)]) {
            refuses(register(address), 1, Error::InvalidArgument);
        }
        assert!(register(user.entry()).is_ok());
        refuses_call(register(user.entry()), Error::Busy);
        for call in [Call::VsRunCurrent, Call::VsAdvanceAndRunCurrent] {
            refuses_call(own.call(user, call, &[]), Error::WrongState);
        }
        own.expect(user, Call::HandleClose, &[]);
        own.start(user);
    });
    common::promoted(&plinth_arch_sim::lab::Lab::new(extension).run(&plinth_arch_sim::isa::Op::STOP));
}

#[test]
fn ids_that_name_nothing() {
    in_vmexit(|standard, user, _| {
        let calls: [(Call, &[u64]); 14] = [
            (Call::VmDestroy, &[]),
            (Call::VmQuery, &[0]),
            (Call::VmProtect, &[0, 0x1000, 1]),
            (Call::VmUnmap, &[0, 0x1000]),
            (Call::VmDeclareIds, &[0, 0]),
            (Call::VmInterceptRegisters, &[0, 0, 0]),
            (Call::VmInterceptPorts, &[0, 0, 0]),
            (Call::VpCreate, &[]),
            (Call::VsRead, &[0]),
            (Call::VsRead, &[register::FLAGS]),
            (Call::VsWrite, &[register::FLAGS, 0]),
            (Call::VsInject, &[0x200]),
            (Call::VsRun, &[]),
            (Call::VsPromote, &[]),
        ];
        for id in BAD_IDS {
            for (call, rest) in calls {
                let answer = standard.call(user, call, &[&[id], rest].concat());
                assert_eq!(answer, Err(Failure::argument(1, Error::StaleId)), "{call:?} {id:#x}");
            }
            refuses(user.call(Call::DebugDumpVs, &[id]), 0, Error::StaleId);
            for call in [Call::VpDestroy, Call::VsDestroy] {
                refuses(standard.call(user, call, &[id]), 1, Error::StaleId);
            }
            refuses(standard.call(user, Call::VsCreate, &[id, 0]), 1, Error::StaleId);
        }
    });
}

#[test]
fn a_vs_belongs_to_a_processor_that_can_exist() {
    in_vmexit(|standard, user, _| {
        let vp = standard.expect(user, Call::VpCreate, &[ROOT_VM]);
        for pp in [64, 65, u64::MAX] {
            refuses(standard.call(user, Call::VsCreate, &[vp, pp]), 2, Error::InvalidArgument);
        }
        let vs = standard.expect(user, Call::VsCreate, &[vp, 63]);
        refuses(standard.call(user, Call::VsRun, &[vs]), 1, Error::Denied);
        refuses_call(standard.call(user, Call::VsInitAsRoot, &[vs]), Error::WrongState);
        standard.expect(user, Call::VsDestroy, &[vs]);
        standard.expect(user, Call::VpDestroy, &[vp]);
    });
}

#[test]
fn registers_are_checked() {
    in_vmexit(|standard, user, exit| {
        let guest = Guest::new(standard, user, 0, &[]);
        for vs in [exit.vs, guest.vs] {
            for number in [32, 0xFF, 0x102, 0x1009, 0x1018, 0x2000, u64::MAX, 1 << 63] {
                refuses(standard.call(user, Call::VsRead, &[vs, number]), 2, Error::InvalidArgument);
                refuses(standard.call(user, Call::VsWrite, &[vs, number, 0]), 2, Error::InvalidArgument);
            }
            for number in (0..32).chain([register::X86_CR3, register::X86_EFER, register::X86_LSTAR]) {
                let old = standard.expect(user, Call::VsRead, &[vs, number]);
                standard.expect(user, Call::VsWrite, &[vs, number, 0xABC0]);
                let kept = if number == register::X86_EFER { EFER_FIXED } else { 0 };
                assert_eq!(standard.expect(user, Call::VsRead, &[vs, number]), 0xABC0 | kept);
                standard.expect(user, Call::VsWrite, &[vs, number, old]);
            }
            assert!(user.call(Call::DebugDumpVs, &[vs]).is_ok());
        }
        guest.destroy(standard, user);
    });
}

#[test]
fn events_are_checked() {
    in_vmexit(|standard, user, _| {
        let guest = Guest::new(standard, user, 0, &[]);
        for event in [0, 0x100, 0x400, 0x302, 0x320, 0x3FF, 0x500, 0x600, 0x700] {
            refuses(standard.call(user, Call::VsInject, &[guest.vs, event]), 2, Error::InvalidArgument);
        }
        for event in [0x200, 0x202, 0x300, 0x31F, 0xFFFF_FFFF_0000_0B0E] {
            standard.expect(user, Call::VsInject, &[guest.vs, event]);
        }
        guest.destroy(standard, user);
    });
}

#[test]
fn ranges_are_checked() {
    in_vmexit(|standard, user, _| {
        let guest = Guest::new(standard, user, 0, &[]);
        let bad_sizes = [0, 1, 0xFFF, 0x1001, (1 << 30) + 0x1000, 1 << 62];
        let bad_starts = [(1, 0x1000), (0x1008, 0x1000), (!0xFFF, 0x1000), (!0xFFF, 0x2000), (!0, 0x1000)];
        for size in bad_sizes {
            let map = standard.call(user, Call::VmMap, &[guest.vm, 0x1000, guest.data, size, 1]);
            refuses(map, 4, Error::InvalidArgument);
            refuses(standard.call(user, Call::VmUnmap, &[guest.vm, 0x1000, size]), 3, Error::InvalidArgument);
            let protect = standard.call(user, Call::VmProtect, &[guest.vm, 0x1000, size, 1]);
            refuses(protect, 3, Error::InvalidArgument);
        }
        for (start, size) in bad_starts {
            let map = standard.call(user, Call::VmMap, &[guest.vm, start, guest.data, size, 1]);
            refuses(map, 2, Error::InvalidArgument);
            refuses(standard.call(user, Call::VmUnmap, &[guest.vm, start, size]), 2, Error::InvalidArgument);
            let protect = standard.call(user, Call::VmProtect, &[guest.vm, start, size, 1]);
            refuses(protect, 2, Error::InvalidArgument);
        }
        let beyond = standard.call(user, Call::VmMap, &[guest.vm, 1 << 48, guest.data, 0x1000, 1]);
        refuses(beyond, 2, Error::InvalidArgument);
        guest.destroy(standard, user);
    });
}

#[test]
fn permissions_are_checked() {
    in_vmexit(|standard, user, _| {
        let guest = Guest::new(standard, user, 0, &[]);
        for permissions in [8, 15, u64::MAX] {
            let map = standard.call(user, Call::VmMap, &[guest.vm, 0, guest.data, 0x1000, permissions]);
            refuses(map, 5, Error::InvalidArgument);
            let protect = standard.call(user, Call::VmProtect, &[guest.vm, Guest::DATA, 0x1000, permissions]);
            refuses(protect, 4, Error::InvalidArgument);
        }
        for permissions in [0, 2, 4, 6] {
            let map = standard.call(user, Call::VmMap, &[guest.vm, 0, guest.data, 0x1000, permissions]);
            refuses_call(map, Error::Unsupported);
        }
        guest.destroy(standard, user);
    });
}

#[test]
fn only_pages_that_it_allocated_are_the_extensions_to_give() {
    in_vmexit(|standard, user, exit| {
        let guest = Guest::new(standard, user, 0, &[]);
        let map = |at| standard.call(user, Call::VmMap, &[guest.vm, 0x200_0000, at, 0x1000, 7]);
        let stack = USER_BASE + (256 << 30) + (1 << 20) - 0x1000;
        for own in [user.entry() & !0xFFF, exit.page, stack] {
            refuses(map(own), 3, Error::Denied);
            refuses(standard.call(user, Call::MemFreePage, &[own]), 1, Error::Denied);
        }
        for at in BAD_POINTERS.map(|at| at & !0xFFF) {
            refuses(map(at), 3, Error::NotMapped);
            refuses(standard.call(user, Call::MemFreePage, &[at]), 1, Error::NotMapped);
        }
        for at in [guest.data + 1, guest.data + 8, !0] {
            refuses(map(at), 3, Error::InvalidArgument);
            refuses(standard.call(user, Call::MemFreePage, &[at]), 1, Error::InvalidArgument);
        }
        guest.destroy(standard, user);
    });
}

#[test]
fn memory_of_the_root_vm_is_protected_not_given() {
    in_vmexit(|standard, user, _| {
        let page = standard.expect(user, Call::MemAllocatePage, &[]);
        let root = |call, rest: &[u64]| standard.call(user, call, &[&[ROOT_VM], rest].concat());
        refuses(root(Call::VmMap, &[0x1000, page, 0x1000, 7]), 1, Error::Denied);
        refuses(root(Call::VmUnmap, &[0x1000, 0x1000]), 1, Error::Denied);
        refuses(root(Call::VmProtect, &[1 << 40, 0x1000, 7]), 2, Error::NotMapped);
        let control = plinth_arch_sim::machine::CONTROL_PAGE;
        refuses(root(Call::VmProtect, &[control, 0x1000, 7]), 2, Error::Denied);
        refuses(root(Call::VmProtect, &[control - 0x1000, 0x3000, 7]), 2, Error::Denied);
        standard.expect(user, Call::MemFreePage, &[page]);
    });
}

fn text(user: &User, at: u64, bytes: &[u8]) {
    for (index, chunk) in bytes.chunks(8).enumerate() {
        let mut word = [b' '; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        user.store(at + index as u64 * 8, u64::from_le_bytes(word));
    }
}

#[test]
fn text_for_the_log_is_checked() {
    in_vmexit(|standard, user, exit| {
        let page = standard.expect(user, Call::MemAllocatePage, &[]);
        let write = |at, length, level| user.call(Call::DebugWrite, &[at, length, level]);
        text(user, page, b"a line\x1b[2J of text\n");
        assert!(write(page, 20, 3).is_ok());
        assert!(write(page + 0xFFF, 1, 5).is_ok());
        assert!(write(page, 256, 5).is_ok());
        assert!(write(exit.page, 0, 5).is_ok());
        for level in [0, 6, u64::MAX] {
            refuses(write(page, 4, level), 2, Error::InvalidArgument);
        }
        for length in [257, u64::MAX] {
            refuses(write(page, length, 3), 1, Error::InvalidArgument);
        }
        for at in BAD_POINTERS.into_iter().chain([USER_BASE + (448 << 30) + (1 << 30)]) {
            refuses(write(at, 8, 3), 0, Error::InvalidArgument);
        }
        refuses(write(u64::MAX, 2, 3), 0, Error::InvalidArgument);
        text(user, page, &[0xFF; 8]);
        refuses(write(page, 8, 3), 0, Error::InvalidArgument);
        standard.expect(user, Call::MemFreePage, &[page]);
        assert!(user.call(Call::DebugOut, &[1, 2]).is_ok());
    });
}

#[test]
fn a_text_that_runs_into_unmapped_memory_is_refused() {
    in_vmexit(|standard, user, _| {
        let page = standard.expect(user, Call::MemAllocatePage, &[]);
        let last = (0..64).map(|_| standard.expect(user, Call::MemAllocatePage, &[])).max();
        let end = last.expect("there are pages") + 0x1000;
        refuses(user.call(Call::DebugWrite, &[end - 4, 8, 3]), 0, Error::InvalidArgument);
        assert!(user.call(Call::DebugWrite, &[end - 4, 4, 3]).is_ok());
        for page in (0..64).map(|index| end - 0x1000 - index * 0x1000).chain([page]) {
            let _ = standard.call(user, Call::MemFreePage, &[page]);
        }
    });
}

#[test]
fn counters_are_checked() {
    in_vmexit(|_, user, _| {
        for pp in [64, u64::MAX] {
            refuses(user.call(Call::DebugExitCount, &[pp, 0]), 0, Error::InvalidArgument);
        }
        for class in [EXIT_CLASSES as u64, 255, 256, u64::MAX] {
            refuses(user.call(Call::DebugExitCount, &[0, class]), 1, Error::InvalidArgument);
        }
    });
}

#[test]
fn declarations_are_checked() {
    in_vmexit(|standard, user, exit| {
        let declare = |vm, at, count| standard.call(user, Call::VmDeclareIds, &[vm, at, count]);
        for count in [65, u64::MAX] {
            refuses(declare(ROOT_VM, exit.page, count), 3, Error::InvalidArgument);
        }
        for at in BAD_POINTERS {
            refuses(declare(ROOT_VM, at, 1), 2, Error::InvalidArgument);
        }
        refuses(declare(ROOT_VM, u64::MAX - 39, 2), 2, Error::InvalidArgument);
        refuses(declare(ROOT_VM, u64::MAX - 40, 64), 2, Error::InvalidArgument);
        assert!(declare(ROOT_VM, 0, 0).is_ok());
    });
}

#[test]
fn intercepts_are_checked() {
    in_vmexit(|standard, user, _| {
        let set = |call, first, count, flags| standard.call(user, call, &[ROOT_VM, first, count, flags]);
        let registers = Call::VmInterceptRegisters;
        refuses(set(registers, 0, 1, 4), 4, Error::InvalidArgument);
        refuses(set(registers, 0, 0x1_0001, 0), 3, Error::InvalidArgument);
        refuses(set(registers, u64::MAX, 1, 0), 3, Error::InvalidArgument);
        refuses(set(registers, 0x4000, 1, 0), 2, Error::InvalidArgument);
        assert!(set(registers, 0x3FFF, 1, 0).is_ok());
        let ports = Call::VmInterceptPorts;
        refuses(set(ports, 0, 1, 2), 4, Error::InvalidArgument);
        refuses(set(ports, 0xFFFF, 2, 0), 2, Error::InvalidArgument);
        refuses(set(ports, u64::MAX - 5, 0x10, 0), 3, Error::InvalidArgument);
        assert!(set(ports, 0, 0x1_0000, 0).is_ok());
    });
}

#[test]
fn intrinsics_are_denied_unless_listed() {
    in_vmexit(|standard, user, _| {
        let read = |register| standard.call(user, Call::IntrinsicRead, &[register]);
        let write = |register| standard.call(user, Call::IntrinsicWrite, &[register, 9]);
        assert_eq!(read(0), Ok([0, 0]));
        for register in [DENIED_REGISTERS, 1 << 32, u64::MAX] {
            refuses(read(register), 1, Error::Denied);
            refuses(write(register), 1, Error::Denied);
        }
        refuses(write(WRITABLE_REGISTERS - 1), 1, Error::Denied);
        assert!(write(WRITABLE_REGISTERS).is_ok());
        assert_eq!(read(WRITABLE_REGISTERS), Ok([9, 0]));
        refuses(read(DENIED_REGISTERS - 1), 1, Error::HardwareFault);
        refuses(write(DENIED_REGISTERS - 1), 2, Error::HardwareFault);
    });
}

#[test]
fn a_guests_impossible_state_is_refused_by_hardware_not_by_a_crash() {
    let standard = Standard::new();
    let own = standard.clone();
    let root = std::sync::Mutex::new(0);
    let extension = standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        match exit.class {
            plinth_extension_api::abi::ExitClass::EntryRefused => {
                let root = *root.lock().unwrap();
                let ip = own.expect(user, Call::VsRead, &[root, register::INSTRUCTION_POINTER]);
                own.expect(user, Call::VsWrite, &[root, register::INSTRUCTION_POINTER, ip + 32]);
                own.expect(user, Call::VsRun, &[root]);
            }
            _ if exit.register(user, 0) == common::TEST_CALL => {
                *root.lock().unwrap() = exit.vs;
                let guest = Guest::new(&own, user, 0, &[]);
                own.expect(user, Call::VsWrite, &[guest.vs, register::X86_CR0, IMPOSSIBLE_CR0]);
                own.expect(user, Call::VsRun, &[guest.vs]);
            }
            _ => own.vmexit(user, exit),
        }
    });
    let mut lab = plinth_arch_sim::lab::Lab::new(extension);
    common::promoted(&lab.run(&common::program(&[&common::TEST])));
}

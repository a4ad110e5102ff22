//! System calls in any order and with any arguments, on the software machine: the kernel answers each, and the root VM is
//! there afterwards.
//!
//! What ends the extension, makes another VS the active one, or takes the root VM's own memory and registers away is left out, because the test ends by
//! what the root VM does; `arch-sim/tests/fuzz` has those too. A machine's memory is not given back, so a fuzzer should
//! run in forks.

use std::sync::Arc;

use plinth_arch_sim::extension::Slot;
use plinth_arch_sim::isa::Op;
use plinth_arch_sim::lab::{Ended, Lab};
use plinth_arch_sim::standard::{ExitInfo, Standard};
use plinth_extension_api::abi::{Call, ExitClass, ROOT_VM};

use crate::Input;

/// The hypercall at which the calls are made.
const TEST: u64 = 0x7E57;
/// Calls of one input at most.
const CALLS: usize = 512;

/// Makes the calls.
pub fn system_calls(bytes: &[u8]) {
    let bytes: Arc<[u8]> = bytes.into();
    let standard = Standard::with_fail();
    let own = standard.clone();
    let extension = standard.extension().on(Slot::Vmexit, move |user, arguments| {
        let exit = ExitInfo::new(arguments);
        if exit.class == ExitClass::Hypercall && exit.register(user, 0) == TEST {
            let (mut input, mut known) = (Input(&bytes), vec![0, exit.page]);
            for _ in 0..CALLS {
                if input.is_empty() {
                    break;
                }
                let (call, arguments) = next(&mut input, &known);
                if is_allowed(call, &arguments, exit.vs)
                    && let Ok([output, _]) = own.call(user, call, &arguments)
                {
                    known.push(output);
                }
            }
            own.advance_and_run(user);
        }
        own.vmexit(user, exit);
    });
    let test = [Op::Set { register: 0, value: TEST }, Op::Hypercall];
    let ended = Lab::new(extension).run(&[&test[..], &Op::STOP].concat());
    assert!(matches!(ended, Ended::Promoted(_)), "the root VM did not live: {ended:?}");
}

/// A call and its arguments from REG1 on.
fn next(input: &mut Input<'_>, known: &[u64]) -> (Call, [u64; 5]) {
    let call = Call::ALL[usize::from(input.byte()) % Call::ALL.len()];
    let arguments = std::array::from_fn(|_| match input.byte() {
        small @ 0..64 => u64::from(small),
        page @ 64..96 => u64::from(page - 64) * 0x1000,
        index @ 96..192 => known[usize::from(index - 96) % known.len()],
        bit @ 192..=255 => match input.byte() {
            0..128 => 1 << (bit - 192),
            _ => input.word(),
        },
    });
    (call, arguments)
}

fn is_allowed(call: Call, arguments: &[u64; 5], root: u64) -> bool {
    let first = arguments[0];
    match call {
        Call::ControlExit
        | Call::ControlWait
        | Call::ControlAgain
        | Call::HandleClose
        | Call::VsRun
        | Call::VsRunCurrent
        | Call::VsActivate
        | Call::VsAdvance
        | Call::VsAdvanceAndRun
        | Call::VsAdvanceAndRunCurrent
        | Call::VsPromote
        | Call::IntrinsicReset => false,
        Call::VmProtect
        | Call::VmViewProtect
        | Call::VmWriteMemory
        | Call::VmInterceptRegisters
        | Call::VmInterceptPorts => first != ROOT_VM,
        Call::VsWrite | Call::VsWriteMany | Call::VsInject | Call::VsSetView | Call::VsStep => first != root,
        _ => true,
    }
}

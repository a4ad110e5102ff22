//! What the other PP does to the caller.

use core::sync::atomic::{AtomicU64, Ordering};

use plinth_extension_api::abi::{Call, Error, ExitPage};
use plinth_extension_api::syscall;

use super::shared::{PAGES, Shared, VIEWS, VMS, VPS, VSS};
use super::shares::Shares;
use super::{GUEST_PAGES, PAGE_SIZE, succeeds};
use crate::hostile::Attack;
use crate::random::Random;

pub(super) static CALLS: Shares<9> = Shares::new([
    Call::VsDestroy,
    Call::VpDestroy,
    Call::VmDestroy,
    Call::MemFreePage,
    Call::VmViewDestroy,
    Call::VsMigrate,
    Call::VmUnmap,
    Call::VsFlush,
    // Of no harm, but always possible: what has been taken away is free only once every PP has left the extension.
    Call::PpQuery,
]);

/// Words of the caller's exit page that have been overwritten.
pub(super) static SCRIBBLES: AtomicU64 = AtomicU64::new(0);

/// Takes something away, or overwrites a word of the caller's exit page.
pub(super) fn blow(attack: &mut Attack, exit_page: *mut u64) {
    if attack.random.below(2) == 0 {
        return scribble(&mut attack.random, exit_page);
    }
    let call = CALLS.pick(&mut attack.random);
    let (handle, random) = (syscall::handle(), &mut attack.random);
    let ((vm, _), (vs, _)) = (VMS.pick(random), VSS.pick(random));
    let gpa = random.below(GUEST_PAGES) * PAGE_SIZE;
    // The last one is no PP.
    let pp = random.below(3);
    let arguments = match call {
        Call::VsDestroy => return destroy(attack, call, &VSS),
        Call::VpDestroy => return destroy(attack, call, &VPS),
        Call::VmDestroy => return destroy(attack, call, &VMS),
        Call::MemFreePage => return destroy(attack, call, &PAGES),
        Call::VmViewDestroy => return destroy(attack, call, &VIEWS),
        Call::VsMigrate => [handle, vs, pp, 0, 0, 0],
        Call::VmUnmap => [handle, vm, gpa, PAGE_SIZE, 0, 0],
        _ => [handle, vs, 0, 0, 0, 0],
    };
    CALLS.count(call, succeeds(attack, call, arguments));
}

fn destroy<const N: usize>(attack: &mut Attack, call: Call, shared: &Shared<N>) {
    let (id, parent) = shared.pick(&mut attack.random);
    let arguments = match call {
        Call::VmViewDestroy => [syscall::handle(), parent, id, 0, 0, 0],
        _ => [syscall::handle(), id, 0, 0, 0, 0],
    };
    let result = attack.call(call.number(), arguments).status.result();
    CALLS.count(call, result.is_ok());
    // A view goes with its VM.
    let is_gone = result.is_ok() || result.is_err_and(|failure| failure.error == Error::StaleId);
    if is_gone {
        shared.remove((id, parent));
    }
}

fn scribble(random: &mut Random, exit_page: *mut u64) {
    let word = random.below((size_of::<ExitPage>() / 8) as u64) as usize;
    // SAFETY: an exit page is mapped for ever; that somebody else uses it is the point.
    unsafe { exit_page.add(word).write_volatile(random.next()) };
    SCRIBBLES.fetch_add(1, Ordering::Relaxed);
}

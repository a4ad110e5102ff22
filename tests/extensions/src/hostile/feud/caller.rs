//! The calls of the PP that makes objects and works with them.

use plinth_extension_api::abi::{Call, register};
use plinth_extension_api::syscall;

use super::shared::{ABSENT, PAGES, Shared, VIEWS, VMS, VPS, VSS};
use super::shares::Shares;
use super::{ALL, GUEST_PAGES, PAGE_SIZE, succeeds};
use crate::hostile::Attack;

pub(super) static CALLS: Shares<16> = Shares::new([
    Call::VmCreate,
    Call::VpCreate,
    Call::VsCreate,
    Call::VmViewCreate,
    Call::MemAllocatePage,
    Call::VmMap,
    Call::VmUnmap,
    Call::VmReadMemory,
    Call::VmWriteMemory,
    Call::VmProtect,
    Call::VmQuery,
    Call::VsReadMany,
    Call::VsWriteMany,
    Call::VsRead,
    Call::VsWrite,
    Call::VsSetView,
]);

/// One call, or none where enough has been made already of what it makes.
pub(super) fn step(attack: &mut Attack) {
    let call = CALLS.pick(&mut attack.random);
    let (handle, random) = (syscall::handle(), &mut attack.random);
    let ((vm, _), (vp, _), (vs, _)) = (VMS.pick(random), VPS.pick(random), VSS.pick(random));
    let ((view, _), (page, _)) = (VIEWS.pick(random), PAGES.pick(random));
    let gpa = random.below(GUEST_PAGES) * PAGE_SIZE;
    let any = random.next();
    let own_tables_or = |view: u64| if view == ABSENT { 0 } else { view };
    let arguments = match call {
        Call::VmCreate => return make(attack, call, 0, &VMS),
        Call::VpCreate => return make(attack, call, vm, &VPS),
        Call::VsCreate => return make(attack, call, vp, &VSS),
        Call::VmViewCreate => return make(attack, call, vm, &VIEWS),
        Call::MemAllocatePage => return make(attack, call, 0, &PAGES),
        Call::VmMap => [handle, vm, gpa, page, PAGE_SIZE, ALL],
        Call::VmUnmap => [handle, vm, gpa, PAGE_SIZE, 0, 0],
        Call::VmReadMemory | Call::VmWriteMemory => [handle, vm, gpa, page, 256, 0],
        Call::VmProtect => [handle, vm, gpa, PAGE_SIZE, any & ALL, 0],
        Call::VsReadMany | Call::VsWriteMany => [handle, vs, page, 8, 0, 0],
        Call::VsRead => [handle, vs, any % 16, 0, 0, 0],
        // Half of the addresses that there are.
        Call::VsWrite => [handle, vs, register::INSTRUCTION_POINTER, any >> 18, 0, 0],
        Call::VsSetView => [handle, vs, own_tables_or(view), 0, 0, 0],
        _ => [handle, vm, gpa, 0, 0, 0],
    };
    CALLS.count(call, succeeds(attack, call, arguments));
}

fn make<const N: usize>(attack: &mut Attack, call: Call, parent: u64, shared: &Shared<N>) {
    if !shared.has_room() {
        return;
    }
    let outcome = attack.call(call.number(), [syscall::handle(), parent, 0, 0, 0, 0]);
    let made = outcome.status.result().is_ok();
    CALLS.count(call, made);
    if made {
        shared.add(outcome.outputs[0], parent);
    }
}

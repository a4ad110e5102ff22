//! Takes every page that the kernel gives, asks for more things when none is left, and gives all back.

use plinth_extension_api::abi::{Call, ROOT_VM, Status};
use plinth_extension_api::syscall;

use super::Attack;

/// As many pages as a pool can have, so that this ends whatever the kernel does.
const MAX_PAGES: usize = 64 * 1024;

/// Runs out of memory, and back.
pub(super) fn run(attack: &mut Attack) {
    let (chain, _) = take_all(attack);
    let handle = syscall::handle();
    for (call, id) in [(Call::VmCreate, 0), (Call::VpCreate, ROOT_VM), (Call::VsCreate, 0)] {
        let arguments = [handle, id, 0, 0, 0, 0];
        let outcome = attack.call(call.number(), arguments);
        if outcome.status == Status::SUCCESS {
            attack.known.learn(call, arguments, outcome.outputs);
        }
    }
    give_back(attack, chain);
}

/// How many pages there are to have.
pub(super) fn count_pages(attack: &mut Attack) -> u64 {
    let (chain, count) = take_all(attack);
    give_back(attack, chain);
    count
}

/// Each page holds the address of the one before; the result is that of the last, and how many there are.
fn take_all(attack: &mut Attack) -> (u64, u64) {
    let (mut last, mut count) = (0, 0);
    for _ in 0..MAX_PAGES {
        let outcome = attack.call(Call::MemAllocatePage.number(), [syscall::handle(), 0, 0, 0, 0, 0]);
        if outcome.status != Status::SUCCESS {
            break;
        }
        let page = outcome.outputs[0] as *mut u64;
        // SAFETY: The kernel has just given this page to this program, and nothing else here knows of it.
        unsafe { page.write(last) };
        last = page as u64;
        count += 1;
    }
    (last, count)
}

fn give_back(attack: &mut Attack, chain: u64) {
    let mut page = chain;
    while page != 0 {
        // SAFETY: `take_all` wrote it, and the page has not been given back yet.
        let next = unsafe { (page as *const u64).read() };
        let _ = attack.call(Call::MemFreePage.number(), [syscall::handle(), page, 0, 0, 0, 0]);
        page = next;
    }
}

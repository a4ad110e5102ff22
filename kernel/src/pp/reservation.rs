//! The hypervisor's memory as the root VM sees it: all zeroes, and writes have no effect.
//!
//! Every page of the reservation, and the start-up page below 1 MiB, is mapped read-only to one frame of
//! zeroes. A write faults. The kernel then maps the page writable to a sink frame, which no code reads,
//! single-steps the instruction, and maps the page read-only again. One instruction may write to several
//! pages (for example across a page boundary), so several pages may be open at a time.

use core::mem::take;
use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{MemoryAccess, ROOT_VM};
use plinth_hal::page_table::{
    Attributes, InputAddress, MemoryType, NotLoaded, Permissions, PoolTables, PtFormat,
};
use plinth_hal::{Arch, Exit, ExitClass, PAGE_SIZE, PhysicalMemory, Spa, VsHw};

use crate::memory::nested::Broadcast;
use crate::object::table::Id;
use crate::pp::{Next, Pp};

impl<A: Arch> Pp<'_, A> {
    /// Whether the root VM's exit is an access to the hypervisor's memory.
    pub(crate) fn is_reserved(&self, exit: Exit) -> bool {
        let execute = exit.detail & MemoryAccess::EXECUTE.bits() != 0;
        !execute && self.is_root() && self.machine.is_own(Spa::new(exit.number))
    }

    /// Handles an access to the reservation. The pages are always readable, so a read that faulted hit a page
    /// that another PP was opening or closing: the guest retries. A write goes to the sink.
    #[cold]
    #[inline(never)]
    pub(crate) fn reserved_access(&mut self, exit: Exit) -> Option<Next> {
        if exit.detail & MemoryAccess::WRITE.bits() == 0 {
            return None;
        }
        self.open_reserved_page(Spa::new(exit.number).page().raw());
        self.step_root(true);
        None
    }

    /// Closes the open pages after the single step.
    #[cold]
    #[inline(never)]
    pub(crate) fn end_reserved_writes(&mut self) -> Option<Next> {
        self.close_reserved_pages();
        let crashed = self.extension.crashed.load(Ordering::Relaxed);
        if self.active.as_ref().is_some_and(|active| active.vs.stepping) && !crashed {
            self.mailbox.count(ExitClass::Step, 1);
            return Some(self.decide(Exit::of(ExitClass::Step)));
        }
        self.stop_stepping();
        None
    }

    /// Ends all single-stepping of the active VS, on behalf of the kernel and of the extension.
    pub(crate) fn stop_stepping(&mut self) {
        self.close_reserved_pages();
        if let Some(active) = &mut self.active {
            active.vs.stepping = false;
        }
        self.step_root(false);
    }

    fn step_root(&mut self, on: bool) {
        if let Some(active) = &mut self.active {
            active.vs.hw.single_step(on);
            active.vs.hw.flush_tlb();
        }
    }

    fn open_reserved_page(&mut self, page: u64) {
        if self.open_pages.is_full() {
            self.close_reserved_pages();
        }
        self.map_reserved(page, self.machine.sink_frame, Permissions::READ | Permissions::WRITE);
        self.open_pages.add(page);
    }

    fn close_reserved_pages(&mut self) {
        let open = take(&mut self.open_pages);
        if open.is_empty() {
            return;
        }
        self.machine.memory.zero_page(self.machine.sink_frame);
        self.machine.memory.write_back(self.machine.sink_frame, PAGE_SIZE);
        for page in open.into_pages() {
            self.map_reserved(page, self.machine.zero_frame, Permissions::READ);
        }
        // A PP that is lost may write into the sink still: what is there is the root VM's own.
        let _ = self.kernel.shoot_down(Id::from_raw(ROOT_VM), self.index, &self.cpu);
    }

    fn map_reserved(&self, page: u64, frame: Spa, permissions: Permissions) {
        let memory = self.machine.memory;
        let mut frames = self.kernel.kernel_frames(memory);
        let _ = self.kernel.vms.with(Id::from_raw(ROOT_VM), |vm| {
            let at = <A::NestedFormat as PtFormat>::Input::from_raw(page);
            let tables = &mut PoolTables { memory, frames: &mut frames };
            let attributes = Attributes::new(permissions, MemoryType::WriteBack);
            // The page is mapped by 4 KiB leaves from the start: replacing one needs no frame and cannot fail.
            let _ = vm.each_table(|table| {
                let _ = table.unmap(tables, &mut Broadcast(&self.cpu), at, PAGE_SIZE);
                table.map(tables, &mut NotLoaded, at, frame, PAGE_SIZE, attributes)
            });
        });
    }
}

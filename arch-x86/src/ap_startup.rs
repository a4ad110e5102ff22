//! Starting processors that no loader has launched: the root VM asks for it by INIT and SIPI, and they arrive in a page
//! below 1 MiB, in Plinth's own code.
//!
//! The way of such a processor: [`trampoline`] takes it from real mode to 64-bit mode under the kernel's tables; [`arrive`]
//! calls an entry point of the image's, as a loader does, but on a stack of its own; from there on it is launched like any other, but for its root
//! VS, which begins as after INIT and waits for the SIPI that the root VM has sent.

mod arrivals;
mod trampoline;

use core::sync::atomic::{AtomicU32, Ordering};

use plinth_hal::{Arch, PAGE_SIZE, Spa};
use plinth_kernel::{Kernel, MAX_PPS, PrepareError};
use plinth_launch::{Entry, LaunchInfo};
// BOUND: the boot processor makes it, before another one looks; `get` does not wait.
use spin::Once;

use crate::apic::{self, LocalApic};
use crate::launch::{self, Call};
use crate::{IdentityMemory, acpi};
pub(crate) use arrivals::ARRIVALS;

/// The page that a startup IPI names must lie below this address, and so must the tables that real mode can load.
const REAL_MODE_END: u64 = 1 << 20;
const PROTECTED_MODE_END: u64 = 1 << 32;

/// What [`arrive`] calls.
static ENTRY: Once<(Entry, LaunchInfo)> = Once::new();
/// The number of the page in which processors start; 0 where they cannot.
static PAGE: AtomicU32 = AtomicU32::new(0);

/// The processors that the loader does not launch.
#[derive(Clone, Debug)]
pub struct SecondaryCpus {
    ids: [u32; MAX_PPS],
    count: usize,
    page: Spa,
}

impl SecondaryCpus {
    const NONE: Self = Self { ids: [0; MAX_PPS], count: 0, page: Spa::new(0) };

    /// Finds them: all that the firmware lists but the one that runs this. A loader that launches several launches all.
    pub fn find(info: &LaunchInfo, memory: &IdentityMemory) -> Self {
        let mut cold = Self { page: Spa::new(info.low_page.start), ..Self::NONE };
        if info.pp_count != 1 || info.low_page.size == 0 {
            return Self::NONE;
        }
        let own = LocalApic::current().id();
        let mut left_out = 0_usize;
        let listed = acpi::processors(memory, info.acpi_rsdp, |id| match cold.ids.get_mut(cold.count) {
            _ if id == own => {}
            // One PP is the boot processor.
            Some(place) if cold.count < MAX_PPS - 1 => {
                *place = id;
                apic::know(id);
                cold.count = cold.count.saturating_add(1);
            }
            _ => left_out = left_out.saturating_add(1),
        });
        if !listed {
            log::warn!("the firmware lists no processors (ACPI MADT): the root VM gets this one alone");
        }
        if left_out != 0 {
            log::warn!("{left_out} processors are more than MAX_PPS: the root VM cannot start them");
        }
        if cold.count != 0 && !cold.can_start(info) {
            log::warn!(
                "the contract's memory is out of a starting processor's reach: the root VM gets this one alone"
            );
            return Self::NONE;
        }
        cold
    }

    fn can_start(&self, info: &LaunchInfo) -> bool {
        let pool_end = info.pool.start.saturating_add(info.pool.size);
        self.page.raw() < REAL_MODE_END && self.page.is_aligned(PAGE_SIZE) && pool_end <= PROTECTED_MODE_END
    }

    /// The page in which they start, if there are any.
    pub fn page(&self) -> Option<Spa> {
        (self.count != 0).then_some(self.page)
    }

    /// Gets ready for them: their memory, the code in their page, and themselves, which wait for a startup IPI from now on.
    ///
    /// # Errors
    /// [`PrepareError`].
    ///
    /// # Safety
    /// 1. The contract of `call` stays, and its low page is identity mapped, writable and nobody's.
    /// 2. This is the boot processor's launch, the kernel is prepared, and no other processor runs anything that is needed.
    pub unsafe fn install<A: Arch>(
        &self,
        kernel: &Kernel<A>,
        backend_pages: usize,
        call: &Call<'_>,
    ) -> Result<(), PrepareError> {
        if self.count == 0 {
            return Ok(());
        }
        let mut root = 0;
        ARRIVALS.set_boot(LocalApic::current().id());
        for (pp, id) in (1..=self.count).zip(&self.ids) {
            root = kernel.prepare_pp(pp, backend_pages)?.host_root.raw();
            ARRIVALS.add(*id, pp as u32, kernel.stack()?.raw());
            kernel.expect_pp(pp, *id)?;
        }
        ENTRY.call_once(|| (call.arrival, *call.info));
        // SAFETY: the page is ours to write, says the caller, and `can_start` has looked at the addresses.
        unsafe { trampoline::place(self.page.raw(), root, launch::tables_cr4()) };
        PAGE.store((self.page.raw() / PAGE_SIZE) as u32, Ordering::SeqCst);
        // From here on nothing but a startup IPI gets a processor to run anything, and those are Plinth's: not even an
        // NMI of the root VM's to a processor that the firmware has left in its own code.
        LocalApic::current().reset_others();
        log::info!("{} processors wait for the root VM to start them", self.count);
        Ok(())
    }
}

/// The number of the page in which processors start, if they can.
pub(crate) fn page() -> Option<u8> {
    Some(PAGE.load(Ordering::Relaxed) as u8).filter(|page| *page != 0)
}

/// Where the trampoline ends, on a stack of the processor's own.
extern "sysv64" fn arrive(pp: u64) -> ! {
    ARRIVALS.set_here(pp, true);
    if let Some((entry, info)) = ENTRY.get() {
        // SAFETY: the processor is as the contract wants it: 64-bit mode under the kernel's tables, interrupts off. The
        // call comes back only if the processor was refused, which the kernel has told.
        unsafe { entry(info, pp) };
    }
    ARRIVALS.set_here(pp, false);
    trampoline::stop()
}

//! Lazily switched guest state: the XSAVE state (x87, SSE, AVX and later components), DR0 to DR3, and MSRs
//! that neither VMCB nor VMCS switches.
//!
//! The kernel and the extension use none of these registers, so an exit neither saves nor restores them. They
//! stay in the processor as long as the same VS runs there. When another VS is to run, the kernel saves the
//! registers of the first one and loads those of the second. An inactive VS is therefore complete in memory
//! and may run on any processor. The switch also executes the speculation barriers between two VSs: see
//! [`Barriers`].

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

use plinth_hal::{PAGE_SIZE, Spa};
// BOUND: the first processor fills it in by CPUID and guarded MSR reads, and waits for nobody meanwhile.
use spin::Once;

use crate::msr;
use crate::speculation::{Barriers, Processor};

/// IA32_XFD, extended feature disable: a bit for each state component whose use raises #NM. XSAVE and XRSTOR
/// skip these components (Intel SDM vol. 1, 13.14).
const XFD: u32 = 0x1C4;

/// MSRs that no world switch saves, and that a guest can read or that change its behaviour. Each VS has its
/// own value of each MSR, at first 0. The root VM writes these MSRs without an exit. [`XFD`] is the first.
pub const MSRS: [u32; 21] = [
    XFD,
    0x1C5, // XFD_ERR
    msr::index::DEBUG_CONTROL,
    0x6A0,       // U_CET
    0x6A2,       // S_CET
    0x6A4,       // PL0_SSP
    0x6A5,       // PL1_SSP
    0x6A6,       // PL2_SSP
    0x6A7,       // PL3_SSP
    0x6A8,       // INTERRUPT_SSP_TABLE
    0x6E1,       // PKRS
    0x985,       // UINTR_RR; with these six, SENDUIPI sends interrupts to processors
    0x986,       // UINTR_HANDLER
    0x987,       // UINTR_STACKADJUST
    0x988,       // UINTR_MISC
    0x989,       // UINTR_PD
    0x98A,       // UINTR_TT
    0xD90,       // BNDCFGS
    0xD93,       // PASID
    0xDA0,       // XSS
    0xC000_0103, // TSC_AUX: RDTSCP shows it
];

/// Offset of the XSAVE or FXSAVE image in a VS's area; [`Values`] precedes the image.
const IMAGE: u64 = 512;
/// Bytes of the image's legacy region, which FXSAVE writes too, and of the XSAVE header (Intel SDM vol. 1,
/// 13.4).
const LEGACY_AND_HEADER: u64 = 576;

/// The extended state that this machine has.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// All state components that XCR0 can enable; 0 without XSAVE.
    components: u64,
    /// Bytes of the image.
    image: u64,
    /// Bit n is set if the processor has the MSR `MSRS[n]`.
    present: u32,
    /// The speculation barriers between two VSs.
    barriers: Barriers,
}

static LAYOUT: Once<Layout> = Once::new();

impl Layout {
    /// No extended state at all: before [`prepare`].
    const NONE: Self = Self { components: 0, image: LEGACY_AND_HEADER, present: 0, barriers: Barriers::NONE };

    fn current() -> Self {
        LAYOUT.get().copied().unwrap_or(Self::NONE)
    }

    fn read() -> Self {
        let (components, image) = image_of(__cpuid(1).ecx, |subleaf| {
            let found = __cpuid_count(0xD, subleaf);
            [found.eax, found.ebx, found.ecx, found.edx]
        });
        let exists = |bit: usize| u32::from(msr::read_guarded(MSRS[bit]).is_ok()) << bit;
        let present = (0..MSRS.len()).map(exists).fold(0, core::ops::BitOr::bitor);
        Self { components, image, present, barriers: Processor::current().barriers() }
    }

    fn msrs<T>(self, values: impl IntoIterator<Item = T>) -> impl Iterator<Item = (u32, T)> {
        let all = (0..MSRS.len()).zip(MSRS.into_iter().zip(values));
        all.filter(move |(bit, _)| self.present >> bit & 1 != 0).map(|(_, pair)| pair)
    }

    fn has_xfd(self) -> bool {
        self.present & 1 != 0
    }
}

/// The components that XCR0 can enable, and the size in bytes of an image with all of them (Intel SDM vol. 1,
/// 13.2; AMD APM vol. 2, 11.5.2). `features` is ECX of CPUID leaf 1, `subleaf` reads leaf 0xD. Some emulators
/// report a total that is too small, so the size also covers the end of each component.
fn image_of(features: u32, subleaf: impl Fn(u32) -> [u32; 4]) -> (u64, u64) {
    const XSAVE: u32 = 1 << 26;
    const FIRST_EXTENDED: u32 = 2;
    if features & XSAVE == 0 {
        return (0, LEGACY_AND_HEADER);
    }
    let [low, _, total, high] = subleaf(0);
    let components = u64::from(high) << 32 | u64::from(low);
    let end = |component| {
        let [size, offset, ..] = subleaf(component);
        u64::from(size) + u64::from(offset)
    };
    let ends = (FIRST_EXTENDED..63).filter(|component| components.wrapping_shr(*component) & 1 != 0).map(end);
    (components, ends.max().unwrap_or(0).max(u64::from(total)).max(LEGACY_AND_HEADER))
}

/// Detects the machine's extended state. Each processor calls this before it creates a VS, with the kernel's
/// IDT loaded, since the reads of absent MSRs fault. The first processor's result serves all.
pub fn prepare() {
    LAYOUT.call_once(Layout::read);
}

/// The extended state outside of the XSAVE image.
#[derive(Debug)]
#[repr(C)]
struct Values {
    /// DR0 to DR3.
    debug: [u64; 4],
    xcr0: u64,
    msrs: [u64; MSRS.len()],
}

const _: () = assert!(size_of::<Values>() as u64 <= IMAGE);

/// The extended state of one VS.
#[derive(Debug)]
pub struct ExtendedState {
    /// Physical address of the VS's area: whole pages, [`Values`] first, then the image.
    area: u64,
    /// Whether the processor's registers hold this state; the area is stale meanwhile.
    loaded: bool,
}

impl ExtendedState {
    /// Pages of one VS's area.
    pub fn pages() -> usize {
        IMAGE.saturating_add(Layout::current().image).div_ceil(PAGE_SIZE) as usize
    }

    /// Creates the extended state after a reset.
    ///
    /// # Safety
    /// `area` is the address of [`Self::pages`] zeroed pages, identity mapped, that nobody else uses while
    /// the value lives.
    pub unsafe fn new(area: Spa) -> Self {
        const CONTROL_WORD: u16 = 0x37F;
        const MXCSR: u32 = 0x1F80;
        const X87: u64 = 1;
        const MXCSR_OFFSET: u64 = 24;
        let mut state = Self { area: area.raw(), loaded: false };
        state.values().xcr0 = X87;
        // SAFETY: both lie in the image's first bytes (Intel SDM vol. 1, table 10-2), which is the caller's
        // promise. The other zeroes are the initial configuration of every component (13.6).
        unsafe {
            (state.image() as *mut u16).write(CONTROL_WORD);
            (state.image().wrapping_add(MXCSR_OFFSET) as *mut u32).write(MXCSR);
        }
        state
    }

    fn values(&mut self) -> &mut Values {
        // SAFETY: the area is page aligned, this value's own and longer than `Values`, for which any bytes
        // are valid.
        unsafe { &mut *(self.area as *mut Values) }
    }

    fn image(&self) -> u64 {
        self.area.wrapping_add(IMAGE)
    }

    /// Marks the processor's current registers as this VS's state: at the launch the root VS takes them over.
    ///
    /// # Safety
    /// The registers hold no other VS's state.
    pub unsafe fn adopt(&mut self) {
        self.loaded = true;
    }

    /// Loads this state into the processor's registers, unless they hold it already.
    ///
    /// # Safety
    /// The kernel runs at privilege level 0. The registers' values may be lost: each VS that ran here before
    /// has been saved.
    #[inline(always)]
    pub unsafe fn load(&mut self) {
        if !self.loaded {
            // SAFETY: forwarded to the caller.
            unsafe { self.bring_in() };
        }
    }

    /// Saves the processor's registers to the area, if they hold this state. The registers keep their values.
    ///
    /// # Safety
    /// The kernel runs at privilege level 0, on the processor that loaded this state.
    pub unsafe fn save(&mut self) {
        if core::mem::take(&mut self.loaded) {
            // SAFETY: forwarded to the caller.
            unsafe { self.take_out() };
        }
    }

    /// Resets this state as INIT does: DR0 to DR3 become 0, all else keeps its value (Intel SDM vol. 3A,
    /// "Processor State After Reset"; AMD APM vol. 2, table 14-1).
    ///
    /// # Safety
    /// As [`Self::save`]; DR7 enables no breakpoint.
    pub unsafe fn reset_debug(&mut self) {
        self.values().debug = [0; 4];
        if self.loaded {
            // SAFETY: forwarded to the caller.
            unsafe { write_debug([0; 4]) };
        }
    }

    /// # Safety
    /// As [`Self::load`].
    #[cold]
    #[inline(never)]
    unsafe fn bring_in(&mut self) {
        let (layout, image) = (Layout::current(), self.image());
        let values = self.values();
        // SAFETY: the processor has each register that `layout` lists. Each gets a value that was read from
        // it, or its value after a reset, and the kernel depends on none of them. The image was written by
        // `new` or by the matching XSAVE or FXSAVE.
        unsafe {
            let open = Open::new(layout);
            // Clear the x87 error pointers: AMD's processors restore them only if an exception is pending
            // (AMD APM vol. 2, 11.4.4), so the last VS's pointers would stay.
            asm!("fninit", options(nomem, nostack, preserves_flags));
            if layout.components == 0 {
                asm!("fxrstor64 [{}]", in(reg) image, options(nostack, preserves_flags));
            } else {
                asm!("xrstor64 [{}]", in(reg) image, in("eax") !0u32, in("edx") !0u32,
                    options(nostack, preserves_flags));
            }
            open.close(layout, values.xcr0);
            for (register, value) in layout.msrs(values.msrs) {
                let _ = msr::write_guarded(register, value);
            }
            write_debug(values.debug);
        }
        layout.barriers.cross();
        self.loaded = true;
    }

    /// # Safety
    /// As [`Self::save`].
    #[cold]
    #[inline(never)]
    unsafe fn take_out(&mut self) {
        let (layout, image) = (Layout::current(), self.image());
        let values = self.values();
        for (register, value) in layout.msrs(&mut values.msrs) {
            *value = msr::read_guarded(register).unwrap_or(0);
        }
        values.debug = read_debug();
        // SAFETY: the area is 64-byte aligned and has room for an image of all components, by `pages`. XCR0
        // and XFD get their values back.
        unsafe {
            let open = Open::new(layout);
            values.xcr0 = open.xcr0;
            if layout.components == 0 {
                asm!("fxsave64 [{}]", in(reg) image, options(nostack, preserves_flags));
            } else {
                asm!("xsave64 [{}]", in(reg) image, in("eax") !0u32, in("edx") !0u32,
                    options(nostack, preserves_flags));
            }
            open.close(layout, values.xcr0);
            if layout.has_xfd() {
                let _ = msr::write_guarded(XFD, values.msrs[0]);
            }
        }
    }
}

/// Access to every state component, from [`Self::new`] to [`Self::close`]. Holds the values of the control
/// registers before.
struct Open {
    cr0: u64,
    cr4: u64,
    /// XCR0 before.
    xcr0: u64,
}

impl Open {
    /// Clears CR0.EM and CR0.TS, sets CR4.OSFXSR and CR4.OSXSAVE, enables all components in XCR0 and clears
    /// IA32_XFD.
    ///
    /// # Safety
    /// The kernel runs at privilege level 0; [`Self::close`] follows, before anything else uses the FPU.
    unsafe fn new(layout: Layout) -> Self {
        const EM_AND_TS: u64 = 1 << 2 | 1 << 3;
        const OSFXSR: u64 = 1 << 9;
        const OSXSAVE: u64 = 1 << 18;
        let xsave = layout.components != 0;
        let (cr0, cr4): (u64, u64);
        // SAFETY: the bits only enable use of the FPU. The processor has CR4.OSFXSR with FXSAVE and
        // CR4.OSXSAVE with XSAVE, and XCR0 accepts every component that CPUID lists.
        unsafe {
            asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4, options(nomem, nostack, preserves_flags));
            let open = cr4 | OSFXSR | if xsave { OSXSAVE } else { 0 };
            asm!("mov cr0, {}", "mov cr4, {}", in(reg) cr0 & !EM_AND_TS, in(reg) open,
                options(nostack, preserves_flags));
            let xcr0 = if xsave { read_xcr0() } else { 0 };
            if xsave {
                let _ = msr::write_xcr_guarded(0, layout.components);
            }
            if layout.has_xfd() {
                let _ = msr::write_guarded(XFD, 0);
            }
            Self { cr0, cr4, xcr0 }
        }
    }

    /// Restores CR4 and CR0, and sets XCR0 to `xcr0`, the value of the VS that runs next or has run last.
    ///
    /// # Safety
    /// As [`Self::new`].
    unsafe fn close(self, layout: Layout, xcr0: u64) {
        // SAFETY: CR4 and CR0 get their earlier values. XCR0 gets a value that a guest had there, or its
        // value after a reset.
        unsafe {
            if layout.components != 0 {
                let _ = msr::write_xcr_guarded(0, xcr0);
            }
            asm!("mov cr4, {}", "mov cr0, {}", in(reg) self.cr4, in(reg) self.cr0,
                options(nostack, preserves_flags));
        }
    }
}

/// # Safety
/// CR4.OSXSAVE is set.
unsafe fn read_xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: forwarded to the caller; reading changes nothing.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

fn read_debug() -> [u64; 4] {
    let [zero, one, two, three]: [u64; 4];
    // SAFETY: reading debug registers at privilege level 0 changes nothing. DR7.GD is clear in the kernel, so
    // it does not fault.
    unsafe {
        asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3", out(reg) zero, out(reg) one, out(reg) two,
            out(reg) three, options(nomem, nostack, preserves_flags));
    }
    [zero, one, two, three]
}

/// # Safety
/// DR7 enables no breakpoint.
unsafe fn write_debug([zero, one, two, three]: [u64; 4]) {
    // SAFETY: the registers are addresses of breakpoints, all of which are disabled, by the caller's promise.
    unsafe {
        asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}", in(reg) zero, in(reg) one, in(reg) two,
            in(reg) three, options(nomem, nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XSAVE: u32 = 1 << 26;

    /// AVX (256 bytes at 576) and PKRU (8 at 2688).
    fn with_avx_and_pkru(total: u32) -> impl Fn(u32) -> [u32; 4] {
        move |subleaf| match subleaf {
            0 => [0x207, total, total, 0],
            2 => [256, 576, 0, 0],
            9 => [8, 2688, 0, 0],
            _ => [0; 4],
        }
    }

    #[test]
    fn the_image_holds_every_component() {
        assert_eq!(image_of(XSAVE, with_avx_and_pkru(2696)), (0x207, 2696));
        assert_eq!(image_of(XSAVE, with_avx_and_pkru(832)), (0x207, 2696), "a total that is too small");
        assert_eq!(image_of(XSAVE, |_| [3, 576, 576, 0]), (3, 576));
    }

    #[test]
    fn without_xsave_the_image_is_that_of_fxsave() {
        assert_eq!(image_of(0, |_| [u32::MAX; 4]), (0, LEGACY_AND_HEADER));
    }

    #[repr(align(4096))]
    struct Page([u8; 4096]);

    #[test]
    fn init_forgets_the_debug_addresses_and_keeps_the_rest() {
        let mut page = Page([0; 4096]);
        // SAFETY: without `prepare` one page is all it takes.
        let mut state = unsafe { ExtendedState::new(Spa::new(page.0.as_mut_ptr() as u64)) };
        state.values().debug = [1, 2, 3, 4];
        state.values().msrs[1] = 5;
        // SAFETY: it is at rest: only memory changes.
        unsafe { state.reset_debug() };
        assert_eq!((state.values().debug, state.values().msrs[1], state.values().xcr0), ([0; 4], 5, 1));
    }

    #[test]
    fn a_new_one_has_the_initial_configuration() {
        let mut page = Page([0; 4096]);
        // SAFETY: without `prepare` one page is all it takes.
        let mut state = unsafe { ExtendedState::new(Spa::new(page.0.as_mut_ptr() as u64)) };
        assert_eq!((ExtendedState::pages(), state.values().xcr0), (1, 1));
        assert_eq!(page.0[512..514], [0x7F, 3]);
        assert_eq!(page.0[536..540], [0x80, 0x1F, 0, 0]);
    }
}

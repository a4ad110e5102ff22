//! Masks interrupts on the Raspberry Pi 3, which has no GIC.
//!
//! Each CPU has enables for its own timers and mailboxes (BCM2836 ARM-local peripherals, 4.6 and 4.7). Device interrupts go
//! to a single CPU and can only be disabled for all CPUs at once (BCM2835 ARM peripherals, 7.5). So they stay enabled until
//! a device interrupt is what stops the extension. If another CPU of the root VM disables such an interrupt in that window,
//! the restore enables it again; the driver's handler then finds no cause.

/// CPU 0's timer interrupt control; the other CPUs' words follow, then the mailboxes'.
const TIMERS: u64 = 0x40;
const MAILBOXES: u64 = 0x50;
/// Timer interrupt control: the IRQ of the hypervisor timer.
const HYPERVISOR: u32 = 1 << 2;
/// CPU 0's pending IRQ sources.
const SOURCES: u64 = 0x60;
/// Pending IRQ sources: a device interrupt.
const FROM_DEVICE: u32 = 1 << 8;

/// Device interrupts: the three enable words, and the three disable words.
const ENABLE: u64 = 0x10;
const DISABLE: u64 = 0x1C;

/// The addresses of the CPU-local and of the shared controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Controller {
    pub(crate) local: u64,
    pub(crate) shared: u64,
    /// The number of this CPU, 0 to 3.
    pub(crate) processor: u64,
}

/// The enables from before [`Controller::mask`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    timers: u32,
    mailboxes: u32,
    devices: [u32; 3],
}

impl Held {
    /// Adds device interrupts that a second call disabled. The CPU's own interrupts were all disabled by the first call.
    pub(crate) fn add_devices(&mut self, later: &Self) {
        self.devices.iter_mut().zip(later.devices).for_each(|(held, more)| *held |= more);
    }
}

impl Controller {
    /// # Safety
    /// As [`Controller::mask`].
    unsafe fn read(at: u64) -> u32 {
        // SAFETY: forwarded to the caller.
        unsafe { (at as *const u32).read_volatile() }
    }

    /// # Safety
    /// As [`Controller::mask`].
    unsafe fn write(at: u64, value: u32) {
        // SAFETY: forwarded to the caller.
        unsafe { (at as *mut u32).write_volatile(value) };
    }

    fn own(&self, first: u64) -> u64 {
        self.local.wrapping_add(first).wrapping_add(self.processor.wrapping_mul(4))
    }

    /// The address of a word of the shared controller's registers.
    fn word(&self, first: u64, number: u64) -> u64 {
        self.shared.wrapping_add(first).wrapping_add(number.wrapping_mul(4))
    }

    /// Disables the interrupts that this CPU receives.
    ///
    /// # Safety
    /// Both parts are there and mapped.
    pub(crate) unsafe fn mask(&self) -> Held {
        // SAFETY: the caller vouches for the device; its registers only hold interrupts back.
        unsafe {
            let from_device = Self::read(self.own(SOURCES)) & FROM_DEVICE != 0;
            let (timers, mailboxes) = (Self::read(self.own(TIMERS)), Self::read(self.own(MAILBOXES)));
            Self::write(self.own(TIMERS), 0);
            Self::write(self.own(MAILBOXES), 0);
            let mut devices = [0; 3];
            if from_device {
                for (number, enabled) in (0..3).zip(&mut devices) {
                    *enabled = Self::read(self.word(ENABLE, number));
                    Self::write(self.word(DISABLE, number), *enabled);
                }
            }
            core::arch::asm!("dsb sy", "isb", options(nostack, preserves_flags));
            Held { timers, mailboxes, devices }
        }
    }

    /// Enables this CPU's hypervisor timer interrupt, and no other timer of the same register.
    ///
    /// # Safety
    /// As [`Controller::mask`], which has been called.
    pub(crate) unsafe fn admit_clock(&self) {
        // SAFETY: forwarded to the caller.
        unsafe { Self::write(self.own(TIMERS), HYPERVISOR) };
    }

    /// Enables or disables the hypervisor timer's interrupt alone. Returns whether it was enabled.
    ///
    /// # Safety
    /// As [`Controller::mask`].
    pub(crate) unsafe fn let_clock_in(&self, on: bool) -> bool {
        // SAFETY: forwarded to the caller; the timer is the hypervisor's own.
        unsafe {
            let timers = Self::read(self.own(TIMERS));
            Self::write(self.own(TIMERS), timers & !HYPERVISOR | if on { HYPERVISOR } else { 0 });
            timers & HYPERVISOR != 0
        }
    }

    /// Restores the enables from before [`Controller::mask`].
    ///
    /// # Safety
    /// As [`Controller::mask`], which returned `held`.
    pub(crate) unsafe fn unmask(&self, held: &Held) {
        // SAFETY: as in `mask`; the values are the root VM's.
        unsafe {
            for (number, enabled) in (0..3).zip(held.devices).filter(|(_, enabled)| *enabled != 0) {
                Self::write(self.word(ENABLE, number), enabled);
            }
            Self::write(self.own(MAILBOXES), held.mailboxes);
            Self::write(self.own(TIMERS), held.timers);
        }
    }
}

//! Holding interrupts back where there is no GIC: the Raspberry Pi 3.
//!
//! Each processor has enables for its own timers and mailboxes (BCM2836 ARM-local peripherals, 4.6 and 4.7). What
//! devices raise goes to one processor and can be held back only for all of them (BCM2835 ARM peripherals, 7.5); that
//! is done only while such an interrupt is what keeps the extension from running. Should another processor of the
//! root VM switch one of these off meanwhile, it is on again afterwards, which its handler then finds.

/// Control of the first processor's timer interrupts; the others follow, and the mailboxes'.
const TIMERS: u64 = 0x40;
const MAILBOXES: u64 = 0x50;
/// In a timers' register: the hypervisor timer's IRQ.
const HYPERVISOR: u32 = 1 << 2;
/// What is pending for the first processor.
const SOURCES: u64 = 0x60;
/// In a source register: one of the devices.
const FROM_DEVICE: u32 = 1 << 8;

/// Enables of the devices' interrupts, three words, and how they are taken away.
const ENABLE: u64 = 0x10;
const DISABLE: u64 = 0x1C;

/// The two parts' addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Controller {
    pub(crate) local: u64,
    pub(crate) shared: u64,
    /// Which processor this is: 0 to 3.
    pub(crate) processor: u64,
}

/// What was enabled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    timers: u32,
    mailboxes: u32,
    devices: [u32; 3],
}

impl Held {
    /// Devices that were held back later. What processors have of their own was held back at once.
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

    /// Holds back what this processor gets.
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

    /// Lets this processor's hypervisor timer through, which the same register controls, and nothing else of it.
    ///
    /// # Safety
    /// As [`Controller::mask`], which has been called.
    pub(crate) unsafe fn admit_clock(&self) {
        // SAFETY: forwarded to the caller.
        unsafe { Self::write(self.own(TIMERS), HYPERVISOR) };
    }

    /// Lets it through beside what is let through, or no longer. Returns whether it was.
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

    /// Lets interrupts through as before.
    ///
    /// # Safety
    /// As [`Controller::mask`], which gave `held`.
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

//! A port access of the root VM, and how the kernel performs it.

use plinth_hal::{Exit, ExitClass};
use x86_64::instructions::port::Port;

/// An access to a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortAccess {
    /// The first port.
    pub port: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// True for IN, false for OUT.
    pub is_read: bool,
    /// Whether the instruction is INS or OUTS.
    pub is_string: bool,
}

impl PortAccess {
    /// The exit that the extension sees.
    pub fn exit(&self) -> Exit {
        let class = if self.is_read { ExitClass::PortRead } else { ExitClass::PortWrite };
        Exit { class, number: self.port.into(), detail: self.size.into() }
    }

    /// The access of an exit that the extension has seen, or would have.
    pub fn of(exit: &Exit) -> Self {
        let is_read = exit.class == ExitClass::PortRead;
        Self { port: exit.number as u16, size: exit.detail as u8, is_read, is_string: false }
    }

    /// Whether the access wraps from port 0xFFFF to port 0. Such an access exits whatever the I/O bitmaps say
    /// (Intel SDM vol. 3C, 25.1.3).
    pub fn wraps(self) -> bool {
        self.port.checked_add(u16::from(self.size).saturating_sub(1)).is_none()
    }

    /// The ports of the access, one for each byte.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        (0..self.size).map(move |lane| self.port.wrapping_add(lane.into()))
    }

    /// The index of the value's byte that goes to `port`, if the access reaches the port.
    pub(super) fn lane(&self, port: u16) -> Option<u32> {
        let lane = port.wrapping_sub(self.port);
        (lane < u16::from(self.size)).then_some(u32::from(lane))
    }

    /// The byte of `value` that goes to `port`, if the access reaches the port.
    pub(super) fn byte(&self, port: u16, value: u32) -> Option<u8> {
        self.lane(port).map(|lane| value.unbounded_shr(8 * lane) as u8)
    }

    /// `value` cut to the bytes that OUT writes.
    pub(super) const fn written(&self, value: u32) -> u32 {
        match self.size {
            1 => value & 0xFF,
            2 => value & 0xFFFF,
            _ => value,
        }
    }

    /// RAX after an IN of `value`: AL or AX changes alone, and a write of EAX clears the upper half (AMD APM
    /// vol. 3, IN).
    pub(super) const fn merged(&self, rax: u64, value: u32) -> u64 {
        match self.size {
            1 => rax & !0xFF | value as u64 & 0xFF,
            2 => rax & !0xFFFF | value as u64 & 0xFFFF,
            _ => value as u64,
        }
    }

    /// Performs the access on the machine: OUT writes `value`, IN returns the value read.
    ///
    /// # Safety
    /// The access is of the root VM, which may use all ports, and does not start a sleep. It is neither INS
    /// nor OUTS.
    pub(super) unsafe fn carry_out(&self, value: u32) -> u32 {
        if self.is_read {
            // SAFETY: forwarded to the caller.
            unsafe { read(self.port, self.size) }
        } else {
            // SAFETY: forwarded to the caller.
            unsafe { write(self.port, self.size, value) };
            value
        }
    }
}

/// # Safety
/// As [`PortAccess::carry_out`].
unsafe fn read(port: u16, size: u8) -> u32 {
    // SAFETY: forwarded to the caller; a port is no memory of Rust's.
    unsafe {
        match size {
            1 => Port::<u8>::new(port).read().into(),
            2 => Port::<u16>::new(port).read().into(),
            _ => Port::<u32>::new(port).read(),
        }
    }
}

/// # Safety
/// As [`PortAccess::carry_out`].
unsafe fn write(port: u16, size: u8, value: u32) {
    // SAFETY: forwarded to the caller; a port is no memory of Rust's.
    unsafe {
        match size {
            1 => Port::new(port).write(value as u8),
            2 => Port::new(port).write(value as u16),
            _ => Port::new(port).write(value),
        }
    }
}

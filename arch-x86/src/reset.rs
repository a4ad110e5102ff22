//! Restarting the machine.

use x86_64::instructions::port::Port;

/// The reset control register of PC chipsets.
const RESET_CONTROL: u16 = 0xCF9;
/// Full reset: first prepared, then done.
const PREPARE: u8 = 0x02;
const RESET: u8 = 0x06;

/// Restarts the machine by its chipset, or else by a triple fault.
pub fn machine() {
    let mut port = Port::<u8>::new(RESET_CONTROL);
    // SAFETY: on a machine without this register the writes go nowhere; with it they do what is wanted.
    unsafe {
        port.write(PREPARE);
        port.write(RESET);
    }
    let no_idt = [0u16; 5];
    // SAFETY: there is no way back from here, and none is wanted.
    unsafe { core::arch::asm!("lidt [{}]", "int3", in(reg) &raw const no_idt) };
}

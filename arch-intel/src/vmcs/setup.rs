//! The controls and the host's state in a new VMCS.

use plinth_arch_x86::per_cpu::{KERNEL_CS, KERNEL_SS, TSS_SELECTOR};
use plinth_arch_x86::{PAT, launch};

use crate::features::{CR4_VMXE, Features};
use crate::reflect::REFLECTED;
use crate::vm::{ROOT_TAG, VmxVm};
use crate::vmcs::controls::{PCONFIG, XSAVES};
use crate::vmcs::current::Current;
use crate::vmcs::field::{
    CR0_MASK, CR3_TARGETS, CR4_MASK, ENTRY_CONTROLS, ENTRY_MSR_LOADS, EPT_POINTER, EXCEPTIONS, EXIT_CONTROLS,
    EXIT_MSR_LOADS, EXIT_MSR_STORES, HOST_CR0, HOST_CR3, HOST_CR4, HOST_CS, HOST_DS, HOST_EFER, HOST_ES,
    HOST_FS, HOST_FS_BASE, HOST_GDTR_BASE, HOST_GS, HOST_GS_BASE, HOST_IDTR_BASE, HOST_PAT, HOST_RIP,
    HOST_SS, HOST_SYSENTER_CS, HOST_SYSENTER_EIP, HOST_SYSENTER_ESP, HOST_TR, HOST_TR_BASE, IO_BITMAP_A,
    IO_BITMAP_B, MSR_BITMAP, PAGE_FAULT_MASK, PAGE_FAULT_MATCH, PCONFIG_EXITING, PIN_CONTROLS,
    PROCESSOR_CONTROLS, SECONDARY_CONTROLS, TSC_OFFSET, VPID, XSS_EXITING,
};

/// Fills in the controls.
///
/// # Safety
/// The bitmaps and nested tables of `vm` live as long as the VMCS.
pub(crate) unsafe fn controls(vmcs: &Current, features: &Features, vm: &VmxVm, vpid: u16) {
    let controls = features.controls;
    let is_root = vm.tag() == ROOT_TAG;
    let (pin, processor, secondary) = if is_root {
        (controls.pin, controls.processor, controls.secondary)
    } else {
        (controls.guest_pin, controls.guest_processor, controls.guest_secondary())
    };
    let [io_a, io_b] = vm.io_bitmaps();
    // SAFETY: the controls are those that the processor offers, with EPT, bitmaps and NMI exiting on; the addresses
    // are the VM's, which outlive the VMCS, says the caller.
    unsafe {
        vmcs.control(PIN_CONTROLS, pin);
        vmcs.control(PROCESSOR_CONTROLS, processor);
        vmcs.control(SECONDARY_CONTROLS, secondary);
        vmcs.control(EXIT_CONTROLS, controls.exit);
        vmcs.control(ENTRY_CONTROLS, controls.entry);
        vmcs.control(EXCEPTIONS, REFLECTED);
        vmcs.control(IO_BITMAP_A, io_a);
        vmcs.control(IO_BITMAP_B, io_b);
        vmcs.control(MSR_BITMAP, vm.msr_bitmap());
        vmcs.control(EPT_POINTER, vm.ept_pointer());
        vmcs.control(CR0_MASK, features.cr0_mask(is_root));
        vmcs.control(CR4_MASK, CR4_VMXE);
        if features.vpid {
            vmcs.control(VPID, vpid);
        }
        unused(vmcs, secondary);
    }
}

/// Fields that count whatever the controls say, or by a control that is set for another reason: lists without entries,
/// bitmaps without bits. A new VMCS need not have zeroes there (Intel SDM vol. 3C, 24.11.3).
///
/// # Safety
/// As [`controls`], which have `secondary` among them.
unsafe fn unused(vmcs: &Current, secondary: u32) {
    let lists = [CR3_TARGETS, EXIT_MSR_STORES, EXIT_MSR_LOADS, ENTRY_MSR_LOADS];
    let bitmaps = [(XSAVES, XSS_EXITING), (PCONFIG, PCONFIG_EXITING)];
    // SAFETY: nothing is stored, loaded or let through.
    unsafe {
        for field in lists.into_iter().chain([PAGE_FAULT_MASK, PAGE_FAULT_MATCH]) {
            vmcs.control(field, 0);
        }
        for (_, bitmap) in bitmaps.into_iter().filter(|(control, _)| secondary & control != 0) {
            vmcs.control(bitmap, 0);
        }
        vmcs.control(TSC_OFFSET, 0);
    }
}

/// What a VM exit loads on one processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostState {
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    /// Bases of the TSS, the GDT and the IDT.
    pub(crate) bases: [u64; 3],
    /// Where the kernel goes on.
    pub(crate) rip: u64,
}

/// Fills in the host's state. The stack pointer is written at each entry.
///
/// # Safety
/// `host` is this processor's state while the kernel runs.
pub(crate) unsafe fn host(vmcs: &Current, host: &HostState) {
    let [tss, gdt, idt] = host.bases;
    // SAFETY: all of it is what is loaded now.
    unsafe {
        vmcs.control(HOST_CR0, launch::HOST_CR0);
        vmcs.control(HOST_CR3, host.cr3);
        vmcs.control(HOST_CR4, host.cr4);
        vmcs.control(HOST_CS, KERNEL_CS);
        for segment in [HOST_SS, HOST_DS, HOST_ES] {
            vmcs.control(segment, KERNEL_SS);
        }
        vmcs.control(HOST_FS, 0);
        vmcs.control(HOST_GS, 0);
        vmcs.control(HOST_TR, TSS_SELECTOR);
        vmcs.control(HOST_FS_BASE, 0);
        vmcs.control(HOST_GS_BASE, 0);
        vmcs.control(HOST_TR_BASE, tss);
        vmcs.control(HOST_GDTR_BASE, gdt);
        vmcs.control(HOST_IDTR_BASE, idt);
        vmcs.control(HOST_SYSENTER_CS, 0);
        vmcs.control(HOST_SYSENTER_ESP, 0);
        vmcs.control(HOST_SYSENTER_EIP, 0);
        vmcs.control(HOST_PAT, PAT);
        vmcs.control(HOST_EFER, launch::HOST_EFER);
        vmcs.control(HOST_RIP, host.rip);
    }
}

#[cfg(test)]
mod tests;

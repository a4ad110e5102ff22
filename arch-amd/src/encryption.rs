//! Detects secure memory encryption, SME (AMD APM vol. 2, 7.10 "Secure Memory Encryption"). With SME a bit of
//! the address in a page-table entry, the C-bit, marks an encrypted page. The kernel's identity mapping does
//! not set the C-bit, so the kernel would read the ciphertext of the OS's memory. The launch is therefore
//! refused.

use plinth_arch_x86::{cpuid, msr};
use plinth_launch::{LaunchError, LaunchStatus};

/// CPUID 8000_001F: SME in EAX, the C-bit's number in EBX (AMD APM vol. 3, E.4.17).
const LEAF: u32 = 0x8000_001F;
const SME: u32 = 1 << 0;
const BIT: u32 = 0x3F;
/// SYSCFG.SMEE.
const SYSCFG: u32 = 0xC001_0010;
const ENABLED: u64 = 1 << 23;

/// Checks that CR3 does not have the C-bit set, so that the OS's page tables, and the memory that they map,
/// are not encrypted. Transparent encryption (TSME) does not matter: it uses no C-bit.
///
/// # Errors
/// [`LaunchError::MemoryEncrypted`]; the detail is the number of the C-bit.
pub(crate) fn check() -> Result<(), LaunchStatus> {
    let [last, ..] = cpuid::native(0x8000_0000, 0);
    if last < LEAF {
        return Ok(());
    }
    let [eax, ebx, ..] = cpuid::native(LEAF, 0);
    let cr3: u64;
    // SAFETY: reading CR3 at privilege level 0 changes nothing.
    unsafe { core::arch::asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack, preserves_flags)) };
    // SAFETY: a processor with SME has SYSCFG.
    check_tables(eax, ebx, cr3, || unsafe { msr::read(SYSCFG) })
}

fn check_tables(eax: u32, ebx: u32, cr3: u64, syscfg: impl FnOnce() -> u64) -> Result<(), LaunchStatus> {
    let bit = ebx & BIT;
    let encrypted = eax & SME != 0 && cr3 >> bit & 1 != 0 && syscfg() & ENABLED != 0;
    if encrypted { Err(LaunchStatus::failed(LaunchError::MemoryEncrypted, u64::from(bit))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SME and SEV; one level of memory encryption by bit 47, as on EPYC.
    const EAX: u32 = 3;
    const EBX: u32 = 47 | 5 << 6;
    const CR3: u64 = 0x1234_5000;

    #[test]
    fn encrypted_tables_are_refused() {
        let refused = check_tables(EAX, EBX, CR3 | 1 << 47, || ENABLED).unwrap_err();
        assert_eq!((refused.error(), refused.detail()), (Some(LaunchError::MemoryEncrypted), 47));
    }

    #[test]
    fn firmware_that_has_only_allowed_it_is_not() {
        assert_eq!(check_tables(EAX, EBX, CR3, || ENABLED), Ok(()));
        assert_eq!(
            check_tables(EAX, EBX, CR3 | 1 << 47, || 0),
            Ok(()),
            "an address as long as the processor's"
        );
        assert_eq!(check_tables(0, 0, CR3 | 1, || unreachable!("there is no such register")), Ok(()));
    }
}

//! Register numbers for `VsRead` and `VsWrite`.
//!
//! Below 0x100 the general registers, by the numbers of the exit page. Registers that several
//! machines share have one number; a machine that lacks one answers `InvalidArgument`.

use super::table::constants;

constants! {
    /// Every register with a number of its own.
    REGISTERS:
    /// Address of the next instruction: x86 RIP, Arm PC.
    INSTRUCTION_POINTER = 0x100;
    /// x86 RFLAGS, Arm PSTATE in its SPSR form.
    FLAGS = 0x101;
    /// AArch64 system registers: this plus Op0 15:14, Op1 13:11, CRn 10:7, CRm 6:3, Op2 2:0, the encoding in MRS.
    ARM_SYSTEM = 0x2_0000;
    /// x86 CR0.
    X86_CR0 = 0x1000;
    /// x86 CR2.
    X86_CR2 = 0x1002;
    /// x86 CR3.
    X86_CR3 = 0x1003;
    /// x86 CR4.
    X86_CR4 = 0x1004;
    /// x86 EFER as the guest sees it.
    X86_EFER = 0x1005;
    /// x86 DR6.
    X86_DR6 = 0x1006;
    /// x86 DR7.
    X86_DR7 = 0x1007;
    /// x86 PAT.
    X86_PAT = 0x1008;
    /// x86 STAR.
    X86_STAR = 0x1010;
    /// x86 LSTAR.
    X86_LSTAR = 0x1011;
    /// x86 CSTAR.
    X86_CSTAR = 0x1012;
    /// x86 SFMASK.
    X86_SFMASK = 0x1013;
    /// x86 KERNEL_GS_BASE.
    X86_KERNEL_GS_BASE = 0x1014;
    /// x86 SYSENTER_CS.
    X86_SYSENTER_CS = 0x1015;
    /// x86 SYSENTER_ESP.
    X86_SYSENTER_ESP = 0x1016;
    /// x86 SYSENTER_EIP.
    X86_SYSENTER_EIP = 0x1017;
    /// x86 ES selector; base, limit and attributes follow at +1, +2, +3; CS, SS, DS, FS, GS, LDTR, TR each 4 on.
    X86_ES = 0x1100;
    /// x86 CS selector.
    X86_CS = 0x1104;
    /// x86 SS selector.
    X86_SS = 0x1108;
    /// x86 DS selector.
    X86_DS = 0x110C;
    /// x86 FS selector.
    X86_FS = 0x1110;
    /// x86 GS selector.
    X86_GS = 0x1114;
    /// x86 LDTR selector.
    X86_LDTR = 0x1118;
    /// x86 TR selector.
    X86_TR = 0x111C;
    /// x86 GDTR base; the limit follows at +1.
    X86_GDTR = 0x1120;
    /// x86 IDTR base; the limit follows at +1.
    X86_IDTR = 0x1122;
}

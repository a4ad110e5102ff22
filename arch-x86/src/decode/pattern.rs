//! The instructions that exits name, and their opcodes.

/// An instruction whose interception is an exit of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitInstruction {
    /// CPUID
    Cpuid,
    /// RDMSR
    Rdmsr,
    /// WRMSR
    Wrmsr,
    /// VMMCALL (AMD)
    Vmmcall,
    /// VMCALL (Intel)
    Vmcall,
    /// HLT
    Hlt,
    /// XSETBV
    Xsetbv,
    /// RDTSC
    Rdtsc,
    /// RDTSCP
    Rdtscp,
    /// RDPMC
    Rdpmc,
    /// INVD
    Invd,
    /// WBINVD or WBNOINVD
    Wbinvd,
    /// PAUSE
    Pause,
    /// MONITOR or MONITORX
    Monitor,
    /// MWAIT or MWAITX
    Mwait,
    /// INVLPG
    Invlpg,
    /// INVLPGA
    Invlpga,
    /// VMRUN
    Vmrun,
    /// VMLOAD
    Vmload,
    /// VMSAVE
    Vmsave,
    /// STGI
    Stgi,
    /// CLGI
    Clgi,
    /// SKINIT
    Skinit,
    /// RSM
    Rsm,
    /// MOV from a control register
    MovFromControl,
    /// MOV to a control register
    MovToControl,
    /// MOV from a debug register
    MovFromDebug,
    /// MOV to a debug register
    MovToDebug,
    /// CLTS
    Clts,
    /// LMSW
    Lmsw,
    /// SMSW
    Smsw,
}

/// What follows the prefixes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pattern {
    /// These bytes and nothing more.
    Fixed(&'static [u8]),
    /// These bytes, after an F3 prefix.
    Repeated(&'static [u8]),
    /// These bytes and a ModRM byte that only ever names registers.
    Registers(&'static [u8]),
    /// 0F 01 with this in the reg field of ModRM, then a register or a memory operand.
    Operand(u8),
}

impl ExitInstruction {
    /// The encodings; the first is the one that the fast path looks for.
    #[inline]
    pub(super) const fn patterns(self) -> &'static [Pattern] {
        use Pattern::{Fixed, Operand, Registers, Repeated};
        match self {
            Self::Cpuid => &[Fixed(&[0x0f, 0xa2])],
            Self::Rdmsr => &[Fixed(&[0x0f, 0x32])],
            Self::Wrmsr => &[Fixed(&[0x0f, 0x30])],
            Self::Vmmcall => &[Fixed(&[0x0f, 0x01, 0xd9])],
            Self::Vmcall => &[Fixed(&[0x0f, 0x01, 0xc1])],
            Self::Hlt => &[Fixed(&[0xf4])],
            Self::Xsetbv => &[Fixed(&[0x0f, 0x01, 0xd1])],
            Self::Rdtsc => &[Fixed(&[0x0f, 0x31])],
            Self::Rdtscp => &[Fixed(&[0x0f, 0x01, 0xf9])],
            Self::Rdpmc => &[Fixed(&[0x0f, 0x33])],
            Self::Invd => &[Fixed(&[0x0f, 0x08])],
            Self::Wbinvd => &[Fixed(&[0x0f, 0x09])],
            Self::Pause => &[Repeated(&[0x90])],
            Self::Monitor => &[Fixed(&[0x0f, 0x01, 0xc8]), Fixed(&[0x0f, 0x01, 0xfa])],
            Self::Mwait => &[Fixed(&[0x0f, 0x01, 0xc9]), Fixed(&[0x0f, 0x01, 0xfb])],
            Self::Invlpg => &[Operand(7)],
            Self::Invlpga => &[Fixed(&[0x0f, 0x01, 0xdf])],
            Self::Vmrun => &[Fixed(&[0x0f, 0x01, 0xd8])],
            Self::Vmload => &[Fixed(&[0x0f, 0x01, 0xda])],
            Self::Vmsave => &[Fixed(&[0x0f, 0x01, 0xdb])],
            Self::Stgi => &[Fixed(&[0x0f, 0x01, 0xdc])],
            Self::Clgi => &[Fixed(&[0x0f, 0x01, 0xdd])],
            Self::Skinit => &[Fixed(&[0x0f, 0x01, 0xde])],
            Self::Rsm => &[Fixed(&[0x0f, 0xaa])],
            Self::MovFromControl => &[Registers(&[0x0f, 0x20])],
            Self::MovFromDebug => &[Registers(&[0x0f, 0x21])],
            Self::MovToControl => &[Registers(&[0x0f, 0x22])],
            Self::MovToDebug => &[Registers(&[0x0f, 0x23])],
            Self::Clts => &[Fixed(&[0x0f, 0x06])],
            Self::Lmsw => &[Operand(6)],
            Self::Smsw => &[Operand(4)],
        }
    }
}

//! The guests' instructions: 32 bytes each, four words, the first a magic number and the operation.
//!
//! They lie in simulated memory and are fetched through nested paging. General register 0 takes results.

/// Bytes in an instruction.
pub const SIZE: u64 = 32;

const MAGIC: u64 = 0x5349_4D00;

macro_rules! operations {
    ($($(#[$doc:meta])* $code:literal $name:ident $(($first:ident $(, $second:ident)?))?;)*) => {
        /// An instruction.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $($(#[$doc])* $name $(
                {
                    /// The first operand.
                    $first: u64,
                    $(
                        /// The second operand.
                        $second: u64,
                    )?
                }
            )?,)*
        }

        impl Op {
            /// The instruction as it stands in memory.
            pub const fn encode(self) -> [u64; 4] {
                match self {
                    $(Self::$name $({ $first $(, $second)? })? => {
                        #[allow(unused_mut, unused_assignments, reason = "not every operation has operands")]
                        let mut words = [MAGIC | $code, 0, 0, 0];
                        $(words[1] = $first; $(words[2] = $second;)?)?
                        words
                    })*
                }
            }

            /// The instruction that these words are, if they are one.
            pub const fn decode(words: [u64; 4]) -> Option<Self> {
                match words[0] ^ MAGIC {
                    $($code => Some(Self::$name $({ $first: words[1] $(, $second: words[2])? })?),)*
                    _ => None,
                }
            }
        }
    };
}

operations! {
    /// Puts a value into a general register.
    1 Set(register, value);
    /// Puts a general register into the trace.
    2 Report(register);
    /// Puts another register, as the processor has it, into the trace.
    3 ReportState(register);
    /// Reads ID leaf r0, sub-leaf r1, into r0, r3, r1, r2. Exits.
    4 IdRead;
    /// Reads a system register into r0. Exits if intercepted.
    5 RegisterRead(register);
    /// Writes a system register. Exits if intercepted.
    6 RegisterWrite(register, value);
    /// Reads a port into r0. Exits if intercepted.
    7 PortRead(port);
    /// Writes a port. Exits if intercepted.
    8 PortWrite(port, value);
    /// Reads a word of memory into r0.
    9 Load(address);
    /// Writes a word of memory.
    10 Store(address, value);
    /// Calls the hypervisor with number r0. Exits.
    11 Hypercall;
    /// An instruction of the virtualization extension. Exits.
    12 Virtualize;
    /// Exits with a raw code that nobody knows.
    13 Odd(code);
    /// Cache maintenance. Exits.
    14 Cache;
    /// A non-maskable interrupt of the guest's own arrives.
    15 RaiseNmi;
    /// Spins until a word of memory has a value.
    16 Await(address, value);
    /// Goes on elsewhere.
    17 Jump(address);
    /// Sets the privilege level of what follows: 0 the highest.
    18 Privilege(level);
    /// Sets the address of the guest's own page tables.
    19 SetTables(address);
    /// The VP cannot go on. Exits.
    20 Shutdown;
    /// Makes this range of the machine's memory uncached, and no other. Exits; the root VM's alone.
    21 SetUncached(start, size);
    /// Puts the memory type by which the processor reaches an address into the trace.
    22 ReportType(address);
    /// An interrupt of a device's arrives, which is the root VM's.
    23 RaiseInterrupt;
    /// Lets interrupts in (1), or no longer (0).
    24 AllowInterrupts(on);
    /// Waits for an interrupt. Exits, but for the root VM.
    25 Wait;
    /// The program is over: the processor stays here, and takes interrupts.
    26 Done;
}

impl Op {
    /// Stops the hypervisor on this processor, by the hypercall, and reports the result.
    pub const STOP: [Self; 3] = [
        Self::Set { register: 0, value: plinth_extension_api::abi::HYPERCALL_STOP },
        Self::Hypercall,
        Self::Report { register: 0 },
    ];

    /// Whether it can be skipped after an exit.
    pub const fn exits(self) -> bool {
        !matches!(self, Self::Set { .. } | Self::Report { .. } | Self::Shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_survives_memory() {
        for op in [Op::Set { register: 3, value: 9 }, Op::IdRead, Op::Load { address: 8 }, Op::Shutdown] {
            assert_eq!(Op::decode(op.encode()), Some(op));
        }
        assert_eq!(Op::decode([0; 4]), None);
    }
}

//! What lies behind the launch information in the reservation: the kernel's command line, and on arm64 what an OS at EL1
//! passes besides.

use plinth_launch::image::Machine;
use plinth_launch::{LaunchInfo, Range, el1};

use crate::Failure;
use crate::device_tree::device_tree;
use crate::host::Host;

/// What is passed.
pub(crate) struct Extra {
    machine: Machine,
    /// The machine's flattened device tree; empty on x86.
    tree: Vec<u8>,
    command_line: String,
}

impl Extra {
    /// Reads what the machine has.
    pub(crate) fn read(machine: Machine, command_line: String, host: &Host) -> Result<Self, Failure> {
        let tree = match machine {
            Machine::Aarch64 => {
                device_tree(host).map_err(|none| Failure::Unsuitable(vec![none.text().to_owned()]))?
            }
            Machine::X86_64 => Vec::new(),
        };
        Ok(Self { machine, tree, command_line })
    }

    /// How many bytes it takes on a machine with such an end of memory.
    pub(crate) fn size(&self, memory_end: u64) -> u64 {
        match self.machine {
            Machine::Aarch64 => self.el1().size(memory_end),
            Machine::X86_64 => self.command_line.len() as u64,
        }
    }

    fn el1(&self) -> el1::Extra<'_> {
        el1::Extra { tree: &self.tree, command_line: self.command_line.as_bytes() }
    }

    /// Writes it into `room`, which lies at `at`, and says so in `info`, the rest of which is there. `None` where `room` is too
    /// small.
    pub(crate) fn write(&self, room: &mut [u8], at: u64, info: &mut LaunchInfo) -> Option<()> {
        match self.machine {
            Machine::Aarch64 => self.el1().write(room, at, info),
            Machine::X86_64 => {
                let line = self.command_line.as_bytes();
                room.get_mut(..line.len())?.copy_from_slice(line);
                info.command_line = Range { start: at, size: line.len() as u64 };
                Some(())
            }
        }
    }
}

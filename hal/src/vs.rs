//! Virtual machines and virtual states on hardware.

use crate::addr::{Gpa, Gva, Spa};
use crate::arch::{Arch, PageWriter, Registers};
use crate::exit::{Event, Exit, ProcessorEvent};
use crate::memory::{FrameSource, GuestMemory, OutOfFrames, PhysicalMemory};
use crate::register_table::Authority;

/// A register that this machine lacks, or a value that it cannot take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRegister;

/// An instruction that cannot be skipped: its bytes are out of reach or not what the exit says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadInstruction;

/// The backend cannot follow the guest's page tables in the form that they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownTables;

/// What the guest would do at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestAccess {
    /// Read data.
    Read,
    /// Write data.
    Write,
    /// Fetch an instruction.
    Execute,
}

/// Which accesses to intercept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Intercepts {
    /// Reads exit.
    pub reads: bool,
    /// Writes exit.
    pub writes: bool,
}

impl Intercepts {
    /// Those of both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self { reads: self.reads || other.reads, writes: self.writes || other.writes }
    }
}

/// Why the accesses that exit cannot be set so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterceptError {
    /// The map does not cover that register or port.
    Unknown,
    /// The register or port may not be opened so to this VM, or its accesses are the kernel's alone.
    Denied,
}

/// What all VSs of a VM share on hardware.
pub trait VmHw: Sized {
    /// The backend.
    type Arch: Arch;

    /// Makes the intercept maps of a VM whose nested tables start at `nested_root`.
    ///
    /// `tag` tells its TLB entries from other VMs'; the root VM's is 1. The root VM reaches every register and port
    /// but those that the kernel must own; any other VM reaches none until it is let.
    ///
    /// # Errors
    /// [`OutOfFrames`]; nothing stays allocated.
    fn create(
        memory: <Self::Arch as Arch>::Memory,
        frames: &mut impl FrameSource,
        nested_root: Spa,
        tag: u16,
    ) -> Result<Self, OutOfFrames>;

    /// Gives its frames back.
    fn destroy(self, frames: &mut impl FrameSource);

    /// Sets which accesses to MSR or system register `register` exit to the extension. The others of a guest VM reach the
    /// machine, where an extension with `authority` may open them. The others of the root VM get what the backend's table
    /// says.
    ///
    /// # Errors
    /// [`InterceptError`]; nothing changed.
    fn intercept_register(
        &mut self,
        register: u64,
        intercepts: Intercepts,
        authority: Authority,
    ) -> Result<(), InterceptError>;

    /// Sets whether accesses to an I/O port exit to the extension, as [`Self::intercept_register`].
    ///
    /// # Errors
    /// [`InterceptError`]; nothing changed. Every port is unknown on a machine without ports.
    fn intercept_port(
        &mut self,
        port: u16,
        intercept: bool,
        authority: Authority,
    ) -> Result<(), InterceptError>;
}

/// One virtual state on hardware.
///
/// While a VS is active on a PP its general registers are in that PP's exit page, not here.
pub trait VsHw: Sized {
    /// The backend.
    type Arch: Arch;

    /// A VS of `vm` in the architecture's reset state.
    ///
    /// # Errors
    /// [`OutOfFrames`]; nothing stays allocated.
    fn create(
        memory: <Self::Arch as Arch>::Memory,
        frames: &mut impl FrameSource,
        vm: &<Self::Arch as Arch>::Vm,
    ) -> Result<Self, OutOfFrames>;

    /// Gives its frames back.
    fn destroy(self, frames: &mut impl FrameSource);

    /// Takes the state of the OS that launched the hypervisor on this PP; writes its general registers
    /// to the exit page.
    fn init_root(&mut self, root: &<Self::Arch as Arch>::RootState, exit_page: PageWriter<Self::Arch>);

    /// Writes why the VS exited into the exit page.
    fn describe(&self, exit: &Exit, exit_page: PageWriter<Self::Arch>);

    /// Skips the instruction that exited.
    ///
    /// # Errors
    /// [`BadInstruction`]; nothing changed.
    fn advance(&mut self, guest: &impl GuestMemory) -> Result<(), BadInstruction>;

    /// Delivers `event` at the next run.
    fn inject(&mut self, event: Event);

    /// Delivers interrupt `number` as soon as the VS can take it. Only for VMs other than the root VM. Returns false, and
    /// changes nothing, where one waits already.
    fn interrupt(&mut self, number: u8) -> bool;

    /// Takes interrupt `number` back, if it waits.
    fn withdraw(&mut self, number: u8);

    /// Reads a register other than the general ones.
    ///
    /// # Errors
    /// [`BadRegister`].
    fn read(&self, register: u64) -> Result<u64, BadRegister>;

    /// Writes a register other than the general ones; bits that the kernel needs keep their value.
    ///
    /// # Errors
    /// [`BadRegister`].
    fn write(&mut self, register: u64, value: u64) -> Result<(), BadRegister>;

    /// Where a guest-virtual address leads for the guest's kernel, by the guest's own tables; `None` where they do not
    /// map it or do not allow the access. The tables stay as they are.
    ///
    /// # Errors
    /// [`UnknownTables`].
    fn translate(
        &self,
        gva: Gva,
        access: GuestAccess,
        guest: &impl GuestMemory,
    ) -> Result<Option<Gpa>, UnknownTables>;

    /// Forgets what the TLBs hold of its VM before it runs again.
    fn flush_tlb(&mut self);

    /// From the next run on it translates by the nested tables that start at `root`, which are its VM's too, and
    /// forgets what the TLBs hold of the ones before.
    fn set_nested_root(&mut self, root: Spa);

    /// It is at rest, and runs on another PP next time: what it holds of this one is void.
    fn leave_pp(&mut self);

    /// Carries out what a guest did to processors (an [`crate::ExitClass::Processor`] exit), but for what
    /// it answers, and skips the instruction.
    ///
    /// # Errors
    /// [`BadInstruction`] for an access that cannot be understood; nothing changed.
    fn processor_control(
        &mut self,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: Registers<Self::Arch>,
    ) -> Result<ProcessorEvent, BadInstruction>;

    /// Its map cannot follow an exit with the detail [`crate::MEMORY_TYPES`]: takes the change back, and gives the guest the
    /// exception of a write that the processor refuses. By default there is no such exit.
    fn refuse_memory_types(&mut self) {}

    /// Puts it into the state after a reset of its VP; it must not run until [`Self::start`]. Its general registers
    /// are in `page`, which is the one that [`Self::registers_at`] names for a VS that is not active: nothing else is there.
    fn reset(&mut self, page: PageWriter<Self::Arch>);

    /// Starts it after a reset, at `entry` in the machine's own terms. `page` is as for [`Self::reset`].
    fn start(&mut self, entry: u64, page: PageWriter<Self::Arch>);

    /// From the next run on, exits with [`crate::ExitClass::Reserved`] after each instruction; or no longer.
    fn single_step(&mut self, on: bool);

    /// While it runs, from the next time on, it exits with [`crate::ExitClass::Timer`] once the machine's counter has come to
    /// `deadline`; at none for `None`. Called before each run of a VS that has a deadline, and when it has it no longer.
    ///
    /// The kernel itself looks at the counter before each run. Hardware that cannot stop a guest at a time, or only
    /// sometimes, does what it can; none, by default.
    fn set_deadline(&mut self, deadline: Option<u64>) {
        let _ = deadline;
    }

    /// Where its general registers are while it is not active, by number, 8 bytes each, at the start of a page.
    fn registers_at(&self) -> Spa;

    /// Puts it to rest: its general registers go from the exit page to where [`Self::registers_at`] says, and what the
    /// processor still holds of it, such as FPU state, comes out. Called on the PP that it ran on.
    fn save_registers(&mut self, memory: &impl PhysicalMemory, registers: Registers<Self::Arch>);

    /// Puts the general registers of a VS that becomes active into the exit page, after [`Self::flush_tlb`].
    fn load_registers(&self, memory: &impl PhysicalMemory, exit_page: PageWriter<Self::Arch>);
}

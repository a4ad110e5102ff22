//! [`VmHw`] and [`VsHw`]: a VM and a virtual state, as the hardware holds them.

use crate::addr::{Gpa, Gva, Spa};
use crate::arch::{Arch, PageWriter, Registers};
use crate::exit::{Event, Exit, ProcessorEvent};
use crate::memory::{FrameSource, GuestMemory, OutOfFrames, PhysicalMemory};
use crate::register_table::Authority;

/// The machine has no such register, or the register cannot hold the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRegister;

/// The kernel cannot skip an instruction: it cannot read the bytes, or they do not match the exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadInstruction;

/// The backend does not know the format of the guest's page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownTables;

/// The kind of a guest access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestAccess {
    /// Read data.
    Read,
    /// Write data.
    Write,
    /// Fetch an instruction.
    Execute,
}

/// The accesses to a register or port that exit to the extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Intercepts {
    /// Reads exit.
    pub reads: bool,
    /// Writes exit.
    pub writes: bool,
}

impl Intercepts {
    /// The union of both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self { reads: self.reads || other.reads, writes: self.writes || other.writes }
    }
}

/// Why the backend refuses to change an intercept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterceptError {
    /// The intercept map does not cover the register or port.
    Unknown,
    /// The VM may not get this access without an exit, or the kernel alone handles it.
    Denied,
}

/// The hardware state that all VSs of a VM share: its TLB tag and its intercept maps.
pub trait VmHw: Sized {
    /// The backend.
    type Arch: Arch;

    /// Creates the intercept maps of a VM whose nested tables start at `nested_root`.
    ///
    /// `tag` separates the VM's TLB entries from those of other VMs; tag 1 is the root VM. The root VM
    /// reaches every register and port except those that the kernel must own. Any other VM reaches none until
    /// the extension opens one.
    ///
    /// # Errors
    /// [`OutOfFrames`]; no frame stays allocated.
    fn create(
        memory: <Self::Arch as Arch>::Memory,
        frames: &mut impl FrameSource,
        nested_root: Spa,
        tag: u16,
    ) -> Result<Self, OutOfFrames>;

    /// Frees the frames of the VM.
    fn destroy(self, frames: &mut impl FrameSource);

    /// Sets which accesses to the MSR or system register `register` exit to the extension. In a guest VM the
    /// remaining accesses reach the machine, if an extension with `authority` may open them. In the root VM
    /// the remaining accesses do what the backend's register table says.
    ///
    /// # Errors
    /// [`InterceptError`]; nothing changed.
    fn intercept_register(
        &mut self,
        register: u64,
        intercepts: Intercepts,
        authority: Authority,
    ) -> Result<(), InterceptError>;

    /// Sets whether accesses to an I/O port exit to the extension. The rules of [`Self::intercept_register`]
    /// apply.
    ///
    /// # Errors
    /// [`InterceptError`]; nothing changed. On a machine without I/O ports every port is unknown.
    fn intercept_port(
        &mut self,
        port: u16,
        intercept: bool,
        authority: Authority,
    ) -> Result<(), InterceptError>;
}

/// The hardware state of one virtual state (VS).
///
/// While a VS is active on a PP, its general registers are in the exit page of that PP. Otherwise they are in
/// the frame that [`Self::registers_at`] names.
pub trait VsHw: Sized {
    /// The backend.
    type Arch: Arch;

    /// Creates a VS of `vm` in the architecture's reset state.
    ///
    /// # Errors
    /// [`OutOfFrames`]; no frame stays allocated.
    fn create(
        memory: <Self::Arch as Arch>::Memory,
        frames: &mut impl FrameSource,
        vm: &<Self::Arch as Arch>::Vm,
    ) -> Result<Self, OutOfFrames>;

    /// Frees the frames of the VS.
    fn destroy(self, frames: &mut impl FrameSource);

    /// Loads the state that the OS had on this PP at the launch, which makes this VS a root VS. Writes the
    /// general registers to the exit page.
    fn init_root(&mut self, root: &<Self::Arch as Arch>::RootState, exit_page: PageWriter<Self::Arch>);

    /// Writes the details of the exit to the exit page.
    fn describe(&self, exit: &Exit, exit_page: PageWriter<Self::Arch>);

    /// Skips the instruction that caused the exit.
    ///
    /// # Errors
    /// [`BadInstruction`]; nothing changed.
    fn advance(&mut self, guest: &impl GuestMemory) -> Result<(), BadInstruction>;

    /// Injects `event` at the next entry.
    fn inject(&mut self, event: Event);

    /// Queues interrupt `number` and delivers it as soon as the VS can take it. Not for the root VM. Returns
    /// false, and changes nothing, if an interrupt is queued already.
    fn interrupt(&mut self, number: u8) -> bool;

    /// Removes interrupt `number` from the queue, if it is still there.
    fn withdraw(&mut self, number: u8);

    /// Reads a register of the VS other than a general register.
    ///
    /// # Errors
    /// [`BadRegister`].
    fn read(&self, register: u64) -> Result<u64, BadRegister>;

    /// Writes a register of the VS other than a general register. Bits that the kernel relies on keep their
    /// value.
    ///
    /// # Errors
    /// [`BadRegister`].
    fn write(&mut self, register: u64, value: u64) -> Result<(), BadRegister>;

    /// Walks the guest's own page tables for `gva`, with the privilege of the guest's kernel. Returns `None`
    /// if they do not map the address or do not allow the access. Does not set accessed or dirty bits.
    ///
    /// # Errors
    /// [`UnknownTables`].
    fn translate(
        &self,
        gva: Gva,
        access: GuestAccess,
        guest: &impl GuestMemory,
    ) -> Result<Option<Gpa>, UnknownTables>;

    /// Requests that the next entry invalidates the TLB entries of the VM.
    fn flush_tlb(&mut self);

    /// Switches the VS to other nested tables of its VM, which start at `root`, from the next entry on.
    /// Invalidates the translations of the previous tables.
    fn set_nested_root(&mut self, root: Spa);

    /// Drops all cached state that belongs to the current PP. The kernel calls it before an inactive VS moves
    /// to another PP.
    fn leave_pp(&mut self);

    /// Carries out a guest access that addresses processors (an exit of class
    /// [`crate::ExitClass::Processor`]) and skips the instruction. Returns the part that is left for the
    /// kernel.
    ///
    /// # Errors
    /// [`BadInstruction`] if the backend cannot decode the access; nothing changed.
    fn processor_control(
        &mut self,
        exit: &Exit,
        guest: &impl GuestMemory,
        registers: Registers<Self::Arch>,
    ) -> Result<ProcessorEvent, BadInstruction>;

    /// Reverts the change that an exit with the detail [`crate::MEMORY_TYPES`] reported, because the nested
    /// tables cannot express it, and injects the exception for a refused register write. A backend without
    /// such exits keeps the default.
    fn refuse_memory_types(&mut self) {}

    /// Puts the VS into the state after a reset of its VP. The VS must not run until [`Self::start`]. `page`
    /// is the page at [`Self::registers_at`] of an inactive VS, which holds nothing but general registers.
    fn reset(&mut self, page: PageWriter<Self::Arch>);

    /// Starts the VS after a reset, at `entry` in the architecture's own encoding. `page` as in
    /// [`Self::reset`].
    fn start(&mut self, entry: u64, page: PageWriter<Self::Arch>);

    /// Switches single-stepping on or off: the VS exits with [`crate::ExitClass::Reserved`] after each
    /// instruction.
    fn single_step(&mut self, on: bool);

    /// Makes the VS exit with [`crate::ExitClass::Timer`] once the counter of the machine reaches `deadline`;
    /// `None` disarms. The kernel calls it before each run of a VS that has a deadline, and once when the
    /// deadline is gone.
    ///
    /// The kernel compares the counter with the deadline before each run anyway. So a backend whose hardware
    /// cannot stop a guest at a given time, or not always, may arm less or nothing. The default arms nothing.
    fn set_deadline(&mut self, deadline: Option<u64>) {
        let _ = deadline;
    }

    /// The address of the general registers while the VS is inactive: 8 bytes each, by number, at the start
    /// of a page.
    fn registers_at(&self) -> Spa;

    /// Deactivates the VS on the PP that it ran on: copies its general registers from the exit page to
    /// [`Self::registers_at`], and saves what the processor still holds of it, such as FPU state.
    fn save_registers(&mut self, memory: &impl PhysicalMemory, registers: Registers<Self::Arch>);

    /// Copies the general registers of a VS that becomes active to the exit page. The kernel calls it after
    /// [`Self::flush_tlb`].
    fn load_registers(&self, memory: &impl PhysicalMemory, exit_page: PageWriter<Self::Arch>);
}

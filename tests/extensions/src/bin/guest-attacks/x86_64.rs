//! The guests, in long mode: each begins at an address of its own in the same four pages.

use core::arch::global_asm;
use core::cell::Cell;

use plinth_extension_api::abi::Permissions;
use plinth_extension_api::abi::register::{
    FLAGS, INSTRUCTION_POINTER, X86_CR0, X86_CR3, X86_CR4, X86_CS, X86_DS, X86_EFER, X86_GDTR, X86_IDTR,
    X86_SS, X86_TR,
};
use plinth_extension_api::{
    Exit, ExitClass, Extension, Failure, MAX_PPS, PerPp, Plinth, Resume, VmId, VpId, VsId, log, passthrough,
};
use plinth_test_extensions::attacks::{CACHES_OFF, DEBUG_LOOP, DEBUG_ONCE, DESTROY, FAILED, GO_ON, RUNNING};
use plinth_test_extensions::{argument, is_test};

const PAGE: u64 = 4096;
const PAGES: u64 = 4;
/// Where a guest ends.
const END: u64 = 0xF4;

// Page 0: the GDT (code, data, TSS) at 0, the IDTs at 0x100 and 0x140, the TSS at 0x200 with the first stack of the interrupt
// stack table at 0x800, code from 0x500 on, data from 0xA00 on. Pages 1 to 3: page tables that map 2 MiB to themselves.
global_asm!(
    ".pushsection .rodata.attack_pages, \"a\"",
    ".balign 4096",
    "attack_pages:",
    ".quad 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00008B0002000067, 0",
    // Vector 1: the handler at 0x600 on that stack.
    ".org attack_pages + 0x110",
    ".word 0x600, 8, 0x8E01, 0",
    ".quad 0",
    // The same, at 0x640.
    ".org attack_pages + 0x150",
    ".word 0x640, 8, 0x8E01, 0",
    ".quad 0",
    ".org attack_pages + 0x224",
    ".quad 0x800",
    // DEBUG_LOOP: 8 bytes at 0x7F8, which the processor writes first as it delivers an exception.
    ".org attack_pages + 0x500",
    "mov eax, 0x7F8",
    "mov dr0, rax",
    "mov eax, 0x90401",
    "mov dr7, rax",
    "mov [0x7F8], rax",
    "nop",
    "mov al, 2",
    "out 0xF4, al",
    // DEBUG_ONCE: 8 bytes at 0xA00. The store ends at 0x560. In QEMU a breakpoint that is still on would stay on in others.
    ".org attack_pages + 0x540",
    "mov eax, 0xA00",
    "mov dr0, rax",
    "mov eax, 0x90401",
    "mov dr7, rax",
    ".org attack_pages + 0x558, 0x90",
    ".byte 0x48, 0x89, 0x04, 0x25, 0x00, 0x0A, 0x00, 0x00",
    "xor eax, eax",
    "mov dr7, rax",
    "mov al, [0xA08]",
    "out 0xF4, al",
    // CACHES_OFF.
    ".org attack_pages + 0x580",
    "mov rax, cr0",
    "mov ecx, eax",
    "or eax, 0x40000000",
    "mov cr0, rax",
    "mov rdx, cr0",
    "xor ecx, edx",
    "xor ecx, 0x40000000",
    "setnz al",
    "out 0xF4, al",
    // The handler of DEBUG_LOOP.
    ".org attack_pages + 0x600",
    "xor eax, eax",
    "mov dr7, rax",
    "mov al, 1",
    "out 0xF4, al",
    // The handler of DEBUG_ONCE: counts itself, and notes the cause and where it came from.
    ".org attack_pages + 0x640",
    "inc byte ptr [0xA08]",
    "mov rcx, dr6",
    "and ecx, 1",
    "shl ecx, 4",
    "or [0xA08], cl",
    "xor ecx, ecx",
    "cmp qword ptr [rsp], 0x560",
    "sete cl",
    "shl ecx, 5",
    "or [0xA08], cl",
    "iretq",
    ".org attack_pages + 0x1000",
    ".quad 0x2003",
    ".org attack_pages + 0x2000",
    ".quad 0x3003",
    ".org attack_pages + 0x3000",
    ".quad 0x83",
    ".org attack_pages + 0x4000",
    ".popsection",
);

unsafe extern "C" {
    safe static attack_pages: [u8; (PAGE * PAGES) as usize];
}

/// What a processor has: the guests' VM and VP, and the guest that runs.
struct Place {
    home: Cell<Option<(VmId, VpId)>>,
    guest: Cell<Option<(VsId, VsId)>>,
}

/// The extension.
pub(crate) struct Attacks {
    places: PerPp<Place>,
}

impl Attacks {
    pub(crate) const fn new() -> Self {
        Self {
            places: PerPp::new([const { Place { home: Cell::new(None), guest: Cell::new(None) } }; MAX_PPS]),
        }
    }
}

impl Place {
    fn home(&self, plinth: Plinth) -> Result<(VmId, VpId), Failure> {
        if let Some(home) = self.home.get() {
            return Ok(home);
        }
        let vm = plinth.vm_create()?;
        for page in 0..PAGES {
            plinth.vm_map(vm, page * PAGE, plinth.allocate_page()?, PAGE, Permissions::all())?;
        }
        let home = (vm, plinth.vp_create(vm)?);
        self.home.set(Some(home));
        Ok(home)
    }

    /// Makes a guest that begins at `entry` with the IDT at `idt`, and runs it.
    fn begin(&self, exit: &mut Exit<'_>, entry: u64, idt: u64) -> Result<Resume, Failure> {
        let plinth = exit.plinth();
        let (vm, vp) = self.home(plinth)?;
        // A call copies a page at the most.
        for (number, page) in attack_pages.chunks(PAGE as usize).enumerate() {
            plinth.vm_write_memory(vm, number as u64 * PAGE, page)?;
        }
        let vs = plinth.vs_create(vp, exit.pp())?;
        enter_long_mode(plinth, vs, entry, idt)?;
        self.guest.set(Some((vs, exit.vs())));
        Ok(run(exit, vs))
    }

    fn answer(&self, exit: &mut Exit<'_>) -> Result<Resume, Failure> {
        match (argument(exit), self.guest.get()) {
            (CACHES_OFF, None) => self.begin(exit, 0x580, 0x100),
            (DEBUG_LOOP, None) => self.begin(exit, 0x500, 0x100),
            (DEBUG_ONCE, None) => self.begin(exit, 0x540, 0x140),
            (GO_ON, Some((vs, _))) => Ok(run(exit, vs)),
            (DESTROY, Some((vs, _))) => {
                self.guest.set(None);
                exit.plinth().vs_destroy(vs)?;
                Ok(exit.answer_hypercall(0))
            }
            _ => Ok(exit.answer_hypercall(FAILED)),
        }
    }

    /// An exit of the guest's, whose VS is `vs`: its turn is over, or it ends.
    fn vmexit(exit: &mut Exit<'_>, root: VsId) -> Result<Resume, Failure> {
        let plinth = exit.plinth();
        match (exit.class(), exit.number()) {
            (ExitClass::Interrupt | ExitClass::Attention, _) => {}
            (ExitClass::Nmi, _) => plinth.vs_inject(root, plinth_extension_api::Event::NMI)?,
            (ExitClass::PortWrite, END) => plinth.vs_write(root, 0, exit.general(0) & 0xFF)?,
            (class, number) => {
                let at = exit.instruction_pointer();
                log::warn!("guest-attacks: {} exit, number {number:#x}, at {at:#x}", class.name());
                plinth.vs_write(root, 0, FAILED)?;
            }
        }
        Ok(Resume::RunVs(root))
    }
}

/// Runs the guest; the hypercall's result is [`RUNNING`] until it has another.
fn run(exit: &mut Exit<'_>, vs: VsId) -> Resume {
    exit.set_general(0, RUNNING);
    Resume::AdvanceAndRunVs(vs)
}

/// Gives a new VS the registers of a kernel in 64-bit mode.
fn enter_long_mode(plinth: Plinth, vs: VsId, entry: u64, idt: u64) -> Result<(), Failure> {
    const RSP: u64 = 4;
    const CODE: [u64; 4] = [8, 0, 0xFFFF_FFFF, 0xA9B];
    const DATA: [u64; 4] = [0x10, 0, 0xFFFF_FFFF, 0xC93];
    const TASK: [u64; 4] = [0x18, 0x200, 0x67, 0x8B];
    for (segment, parts) in [(X86_CS, CODE), (X86_SS, DATA), (X86_DS, DATA), (X86_TR, TASK)] {
        for (number, value) in (segment..).zip(parts) {
            plinth.vs_write(vs, number, value)?;
        }
    }
    let tables = [(X86_GDTR, 0), (X86_GDTR + 1, 0x27), (X86_IDTR, idt), (X86_IDTR + 1, 0x1F)];
    let control = [(X86_CR3, 0x1000), (X86_CR4, 0x20), (X86_EFER, 0x500), (X86_CR0, 0x8000_0031)];
    let rest = [(FLAGS, 2), (INSTRUCTION_POINTER, entry), (RSP, 0xF00)];
    for (register, value) in tables.into_iter().chain(control).chain(rest) {
        plinth.vs_write(vs, register, value)?;
    }
    Ok(())
}

impl Extension for Attacks {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let place = self.places.of(exit);
        let answer = match place.guest.get() {
            Some((vs, root)) if vs == exit.vs() => Place::vmexit(exit, root),
            _ if is_test(exit) => place.answer(exit),
            _ => return passthrough::vmexit(exit),
        };
        answer.unwrap_or_else(|failure| {
            log::warn!("guest-attacks: {failure}");
            Resume::GiveUp
        })
    }
}

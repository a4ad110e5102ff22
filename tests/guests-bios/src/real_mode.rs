//! A page of real-mode code that another processor runs from a startup IPI on, and what both note in it.
//!
//! The code lies at the page's start, what it notes from [`NOTES`] on, what it is told from [`TOLD`] on. It finds its own page by
//! CS, and reaches all of the first 4 GiB by DS once it has executed [`crate::flat_data!`].

/// Bytes of a page.
const PAGE_SIZE: u64 = 4096;
/// Offsets in the page: the first word that the code notes, and the first one that it is told.
pub const NOTES: u64 = 0x800;
/// See [`NOTES`].
pub const TOLD: u64 = 0x910;
/// The pointer to a descriptor table, and the table.
const TABLE_POINTER: u64 = 0x900;
const TABLE: u64 = 0x9F0;
/// A data segment of 4 GiB from address 0 on, and its place in the table.
const FLAT_DATA: u64 = 0x00CF_9200_0000_FFFF;
const FLAT_DATA_AT: u64 = 8;

/// Looks at a page for a change. Only a failure uses them up.
const LOOKS: u64 = 2_000_000_000;
/// As many looks are time enough for a processor to start.
const A_WHILE: u64 = 2_000_000;

/// Assembly that gives DS a segment of 4 GiB, in real mode. EAX and EBX are lost.
#[macro_export]
macro_rules! flat_data {
    () => {
        "lgdt cs:[0x900]\n mov eax, cr0\n or al, 1\n mov cr0, eax\n mov bx, 8\n mov ds, bx\n and al, 0xFE\n mov cr0, eax"
    };
}

/// A page with such code.
#[derive(Clone, Copy, Debug)]
pub struct RealModePage {
    page: u64,
}

impl RealModePage {
    /// Puts the code between two symbols into the page at this address.
    ///
    /// # Safety
    /// 1. The page lies below 1 MiB, is mapped one to one, and nobody else uses it.
    /// 2. The code is real-mode code of less than [`NOTES`] bytes.
    pub unsafe fn place(page: u64, [start, end]: [*const u8; 2]) -> Self {
        // SAFETY: the page is ours, says the caller, and the code is shorter.
        unsafe {
            core::ptr::write_bytes(page as *mut u8, 0, PAGE_SIZE as usize);
            core::ptr::copy_nonoverlapping(start, page as *mut u8, end as usize - start as usize);
        }
        let placed = Self { page };
        let limit = FLAT_DATA_AT + 7;
        placed.put_wide(TABLE_POINTER, limit | ((page + TABLE) << 16));
        placed.put_wide(TABLE + FLAT_DATA_AT, FLAT_DATA);
        placed
    }

    /// What a startup IPI calls it.
    pub fn vector(self) -> u32 {
        (self.page / PAGE_SIZE) as u32
    }

    /// Writes a word of the page.
    pub fn put(self, offset: u64, value: u32) {
        assert!(offset < PAGE_SIZE);
        // SAFETY: the page stays this value's to the end, and the offset lies in it.
        unsafe { ((self.page + offset) as *mut u32).write_volatile(value) }
    }

    fn put_wide(self, offset: u64, value: u64) {
        self.put(offset, value as u32);
        self.put(offset + 4, (value >> 32) as u32);
    }

    /// Reads a word of the page.
    pub fn get(self, offset: u64) -> u32 {
        assert!(offset < PAGE_SIZE);
        // SAFETY: as in `put`.
        unsafe { ((self.page + offset) as *const u32).read_volatile() }
    }

    /// Waits until a word of the page has this value; whether it came to that.
    pub fn becomes(self, offset: u64, value: u32) -> bool {
        // Without PAUSE, for which emulators leave their translated code.
        (0..LOOKS).any(|_| self.get(offset) == value)
    }
}

/// Gives a processor the chance to do what it should not.
pub fn a_while() {
    (0..A_WHILE).for_each(|look| {
        core::hint::black_box(look);
    });
}

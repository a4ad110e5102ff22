//! Code made at run time: instructions in every spelling, at any place of a page.

use core::ptr::NonNull;

use uefi::boot::{self, AllocateType, MemoryType};

const PAGE_SIZE: usize = 4096;

/// Two pages that can be written and run.
#[derive(Debug)]
pub struct Code {
    start: NonNull<u8>,
}

impl Code {
    /// Allocates them; they stay until the end of the test.
    pub fn allocate() -> Option<Self> {
        let start = boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_CODE, 2).ok()?;
        Some(Self { start })
    }

    /// Runs CPUID of `leaf` and sub-leaf 0, spelled as `instruction`, with its first byte `before` bytes before the
    /// boundary of the two pages. The result is EBX.
    pub fn cpuid(&self, leaf: u32, instruction: &[u8], before: usize) -> u32 {
        // push rbx; mov eax, leaf; xor ecx, ecx
        let [a, b, c, d] = leaf.to_le_bytes();
        let head = [0x53, 0xb8, a, b, c, d, 0x31, 0xc9];
        // mov eax, ebx; pop rbx; ret
        let tail = [0x89, 0xd8, 0x5b, 0xc3];
        let at = PAGE_SIZE - before - head.len();
        let bytes = head.iter().chain(instruction).chain(&tail);
        for (offset, byte) in bytes.enumerate().map(|(index, byte)| (at + index, byte)) {
            // SAFETY: Head, instruction (15 bytes at most) and tail stay inside the two pages, which are this value's own.
            unsafe { self.start.add(offset).write_volatile(*byte) };
        }
        // SAFETY: The code just written is a function of this type: it keeps RBX and changes nothing but RAX, RCX and RDX.
        let function: extern "sysv64" fn() -> u32 =
            unsafe { core::mem::transmute(self.start.add(at).as_ptr()) };
        function()
    }
}

//! Arguments: what the kernel has given, limits of all kinds, and noise.

use plinth_extension_api::Exit;
use plinth_extension_api::abi::{Call, register};
use plinth_extension_api::syscall;

use crate::random::Random;

/// Values at which something begins or ends: pages, fields of ids and numbers, canonical addresses, registers.
const LIMITS: [u64; 36] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    63,
    64,
    65,
    0xff,
    0x100,
    0x101,
    0xfff,
    0x1000,
    0x1001,
    0x2000,
    0xffff,
    0x1_0000,
    0x20_0000,
    0x4000_0000,
    0x4000_1000,
    0xfee0_0000,
    0xC000_0080,
    0xC001_0114,
    0xC001_0117,
    0xffff_f000,
    0xffff_ffff,
    0x1_0000_0000,
    register::X86_CR3,
    register::X86_EFER,
    0x7fff_ffff_f000,
    0x8000_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// How many things of each kind there may be at a time.
const ROOM: usize = 16;

/// A few things of a kind, all that there are.
#[derive(Clone, Copy)]
pub(super) struct Few {
    values: [u64; ROOM],
}

/// No thing.
const NOTHING: u64 = u64::MAX;

impl Few {
    const NONE: Self = Self { values: [NOTHING; ROOM] };

    fn push(&mut self, value: u64) {
        if let Some(free) = self.values.iter_mut().find(|other| **other == NOTHING) {
            *free = value;
        }
    }

    fn remove(&mut self, value: u64) {
        self.values.iter_mut().filter(|other| **other == value).for_each(|other| *other = NOTHING);
    }

    pub(super) fn is_full(&self) -> bool {
        !self.values.contains(&NOTHING)
    }

    pub(super) fn contains(&self, value: u64) -> bool {
        self.iter().any(|other| other == value)
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        self.values.into_iter().filter(|value| *value != NOTHING)
    }
}

/// What the attacker knows.
pub(super) struct Known {
    pub(super) vms: Few,
    pub(super) vps: Few,
    pub(super) vss: Few,
    pub(super) pages: Few,
    /// What is mapped: VM, guest-physical address, bytes. Some of it may be unmapped again.
    mappings: [[u64; 3]; ROOM],
    /// Addresses of its own image and stack, and the root VM's instruction pointer.
    places: [u64; 4],
}

impl Known {
    pub(super) fn new(exit: &Exit<'_>) -> Self {
        let local = 0u64;
        let places = [
            Self::new as *const () as u64,
            LIMITS.as_ptr() as u64,
            &raw const local as u64,
            exit.instruction_pointer(),
        ];
        let mappings = [[0; 3]; ROOM];
        Self { vms: Few::NONE, vps: Few::NONE, vss: Few::NONE, pages: Few::NONE, mappings, places }
    }

    /// Any argument.
    pub(super) fn pick(&self, random: &mut Random) -> u64 {
        let index = random.next() as usize;
        match random.below(8) {
            0 => random.next(),
            1 => self.places[index % self.places.len()].wrapping_add(random.below(3)).wrapping_sub(1),
            2 => self.places[index % self.places.len()] & !0xfff,
            3 => self.things()[index % 4].values[index / 4 % ROOM],
            4 => syscall::handle() ^ 1 << (index % 64),
            _ => LIMITS[index % LIMITS.len()],
        }
    }

    fn things(&self) -> [&Few; 4] {
        [&self.vms, &self.vps, &self.vss, &self.pages]
    }

    /// Whether an address lies where this program does.
    pub(super) fn is_mine(&self, address: u64) -> bool {
        self.places[..3].iter().any(|place| address.abs_diff(*place) < 1 << 21) || address >> 40 != 0
    }

    /// Whether a call may be asked to write there: to pages that calls have given, to code and constants, which it must
    /// refuse, and to what is no memory of this program's.
    pub(super) fn may_be_target(&self, address: u64) -> bool {
        let page = address & !0xfff;
        let read_only = self.places[..2].iter().any(|place| place & !0xfff == page);
        self.pages.contains(page) || read_only || !self.is_mine(address)
    }

    /// Notes what a successful call gave or took.
    pub(super) fn learn(&mut self, call: Call, arguments: [u64; 6], outputs: [u64; 2]) {
        match call {
            Call::VmCreate => self.vms.push(outputs[0]),
            Call::VpCreate => self.vps.push(outputs[0]),
            Call::VsCreate => self.vss.push(outputs[0]),
            Call::MemAllocatePage => self.pages.push(outputs[0]),
            Call::VmDestroy => self.vms.remove(arguments[1]),
            Call::VpDestroy => self.vps.remove(arguments[1]),
            Call::VsDestroy => self.vss.remove(arguments[1]),
            Call::MemFreePage => self.pages.remove(arguments[1]),
            _ => {}
        }
    }

    /// Makes room for a mapping; the result is what has to be unmapped for it.
    pub(super) fn remember_mapping(&mut self, mapping: [u64; 3]) -> [u64; 3] {
        self.mappings.rotate_left(1);
        core::mem::replace(&mut self.mappings[ROOM - 1], mapping)
    }

    /// What may be mapped still.
    pub(super) fn mappings(&self) -> [[u64; 3]; ROOM] {
        self.mappings
    }

    /// What is left to give back and how, in an order in which it can go.
    pub(super) fn leftovers(&self) -> impl Iterator<Item = (Call, u64)> + use<> {
        let (vss, vps, vms, pages) = (self.vss, self.vps, self.vms, self.pages);
        let each = |few: Few, call: Call| {
            few.values.into_iter().filter(|id| *id != NOTHING).map(move |id| (call, id))
        };
        each(vss, Call::VsDestroy)
            .chain(each(vps, Call::VpDestroy))
            .chain(each(vms, Call::VmDestroy))
            .chain(each(pages, Call::MemFreePage))
    }
}

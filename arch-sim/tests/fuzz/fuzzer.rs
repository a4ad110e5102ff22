//! What to call next, and with what: often plausible, never to be trusted.

use std::collections::BTreeMap;

use plinth_arch_sim::cpu::DENIED_REGISTERS;
use plinth_arch_sim::machine::RESERVATION;
use plinth_extension_api::abi::{Call, SIGNATURE, VERSION, register};

/// A generator of numbers (xorshift64*), so that a seed is all there is to know.
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn pick(&mut self, from: &[u64]) -> u64 {
        if from.is_empty() { 0 } else { from[self.below(from.len())] }
    }
}

/// What an argument is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Vm,
    Vp,
    Vs,
    View,
    /// An address of the extension.
    Page,
    Gpa,
    Size,
    Permissions,
    Register,
    /// A register of the machine's.
    MachineRegister,
    Event,
    Small,
    Any,
}

use Kind::*;

/// The arguments from REG1 on.
const fn kinds(call: Call) -> &'static [Kind] {
    match call {
        Call::VmDestroy | Call::VpCreate => &[Vm],
        Call::VmMap => &[Vm, Gpa, Page, Size, Permissions],
        Call::VmUnmap => &[Vm, Gpa, Size],
        Call::VmProtect => &[Vm, Gpa, Size, Permissions],
        Call::VmQuery => &[Vm, Gpa],
        Call::VmDeclareIds => &[Vm, Page, Small],
        Call::VmInterceptRegisters | Call::VmInterceptPorts => &[Vm, Small, Small, Small],
        Call::VmViewCreate => &[Vm],
        Call::VmViewDestroy => &[Vm, View],
        Call::VmViewProtect => &[Vm, View, Gpa, Size, Permissions],
        Call::VmViewQuery => &[Vm, View, Gpa],
        Call::VsSetView => &[Vs, View],
        Call::VsStep | Call::VsMigrate => &[Vs, Small],
        Call::VmFlush => &[Vm],
        Call::VmReadMemory | Call::VmWriteMemory => &[Vm, Gpa, Page, Small],
        Call::VsActivate | Call::VsAdvanceAndRun | Call::VsFlush => &[Vs],
        Call::VsReadMany | Call::VsWriteMany => &[Vs, Page, Small],
        Call::VsTranslate => &[Vs, Gpa, Small],
        Call::MemAllocateHuge => &[Size],
        Call::MemFreeHuge => &[Page, Size],
        Call::PpKick => &[Small],
        Call::TimerSet => &[Any],
        Call::VpDestroy => &[Vp],
        Call::VsCreate => &[Vp, Small],
        Call::VsDestroy | Call::VsInitAsRoot | Call::VsRun | Call::VsPromote => &[Vs],
        Call::VsRead => &[Vs, Register],
        Call::VsWrite => &[Vs, Register, Any],
        Call::IntrinsicRead => &[MachineRegister],
        Call::IntrinsicWrite => &[MachineRegister, Any],
        Call::VsInject => &[Vs, Event],
        Call::DebugWrite => &[Small, Small],
        Call::MemFreePage => &[Page],
        _ => &[Small, Any, Any],
    }
}

/// What a call's first output is, if it makes something.
const fn makes(call: Call) -> Option<Kind> {
    match call {
        Call::VmCreate => Some(Vm),
        Call::VpCreate => Some(Vp),
        Call::VsCreate => Some(Vs),
        Call::VmViewCreate => Some(View),
        Call::MemAllocatePage | Call::MemAllocateHuge => Some(Page),
        _ => None,
    }
}

const BOUNDARIES: [u64; 36] = [
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    31,
    32,
    63,
    64,
    0x100,
    0x101,
    0x200,
    0x30D,
    0xB0E,
    0xFFF,
    0x1000,
    0x1003,
    0x1005,
    0x2000,
    0x3000,
    0xFFFF,
    0x1_0000,
    0x20_0000,
    1 << 30,
    (1 << 30) - 0x1000,
    1 << 39,
    1 << 47,
    1 << 48,
    1 << 63,
    !0xFFF,
    !7,
    u64::MAX - 1,
    u64::MAX,
    RESERVATION.start,
];

const REGISTERS: [u64; 8] = [
    0,
    5,
    31,
    register::INSTRUCTION_POINTER,
    register::FLAGS,
    register::X86_CR0,
    register::X86_CR3,
    register::X86_EFER,
];

/// Calls by which one processor gets in the way of another one's.
const STRIKES: [Call; 13] = [
    Call::VsDestroy,
    Call::VpDestroy,
    Call::VmDestroy,
    Call::MemFreePage,
    Call::VmUnmap,
    Call::VmProtect,
    Call::VmViewDestroy,
    Call::VsMigrate,
    Call::VsSetView,
    Call::VsActivate,
    Call::VsWriteMany,
    Call::VmFlush,
    Call::PpKick,
];

/// Objects that the fuzzer remembers of each kind.
const MEMORY: usize = 1000;

/// The state of one processor's fuzzing.
pub(crate) struct Fuzzer {
    random: Random,
    pub(crate) calls: u64,
    known: BTreeMap<Kind, Vec<u64>>,
    pub(crate) mapped: Vec<[u64; 3]>,
    pub(crate) views: Vec<[u64; 2]>,
    pub(crate) succeeded: BTreeMap<u64, u64>,
}

impl Fuzzer {
    pub(crate) fn new(seed: u64) -> Self {
        let known = BTreeMap::from([(Vm, vec![0]), (Page, vec![0x1000])]);
        Self {
            random: Random(seed),
            calls: 0,
            known,
            mapped: Vec::new(),
            views: Vec::new(),
            succeeded: BTreeMap::new(),
        }
    }

    /// Remembers an object; an older one may be forgotten for it.
    pub(crate) fn learn(&mut self, kind: Kind, value: u64) {
        let known = self.known.entry(kind).or_default();
        if known.contains(&value) {
            return;
        }
        if known.len() < MEMORY {
            known.push(value);
        } else {
            known[self.random.below(MEMORY)] = value;
        }
    }

    /// Forgets an object that is gone, most of the time: stale ids have to be tried too.
    fn forget(&mut self, value: u64) {
        if self.random.below(4) != 0 {
            self.known.values_mut().for_each(|known| known.retain(|one| *one != value));
        }
    }

    fn plausible(&mut self, kind: Kind) -> u64 {
        match kind {
            Vm | Vp | Vs | View | Page => self.random.pick(self.known.get(&kind).map_or(&[], Vec::as_slice)),
            Gpa => self.random.next() % 8 * 0x1000,
            Size => (self.random.next() % 3 + 1) * 0x1000,
            Permissions => self.random.pick(&[1, 3, 5, 7]),
            Register => self.random.pick(&REGISTERS),
            MachineRegister => self.random.next() % (DENIED_REGISTERS + 8),
            Event => 0x300 + self.random.next() % 32,
            Small => self.random.next() % 5,
            Any => self.random.next(),
        }
    }

    fn wild(&mut self) -> u64 {
        match self.random.below(4) {
            0 => {
                let kind = [Vm, Vp, Vs, Page][self.random.below(4)];
                self.plausible(kind)
            }
            1 => self.random.next() >> self.random.below(64),
            _ => self.random.pick(&BOUNDARIES),
        }
    }

    fn argument(&mut self, kind: Kind) -> u64 {
        if self.random.below(8) == 0 { self.wild() } else { self.plausible(kind) }
    }

    /// A call; failures are rarer than the rest.
    fn choose(&mut self) -> Call {
        let call = Call::ALL[self.random.below(Call::ALL.len())];
        let fails = matches!(call, Call::ControlExit | Call::ControlWait | Call::HandleClose);
        if fails && self.random.below(16) != 0 { Call::MemFreePage } else { call }
    }

    /// A call and its arguments.
    pub(crate) fn next_call(&mut self, handle: u64) -> (u64, [u64; 6]) {
        self.calls += 1;
        let call = self.choose();
        let mut arguments = std::array::from_fn(|_| self.wild());
        for (index, kind) in kinds(call).iter().enumerate() {
            arguments[index + 1] = self.argument(*kind);
        }
        if self.random.below(30) != 0 {
            arguments[0] = first_argument(call, handle);
        }
        let number = match self.random.below(50) {
            0 => self.random.next(),
            1 => SIGNATURE << 48 | self.random.next() & 0xF_0003,
            _ => call.number(),
        };
        (number, arguments)
    }

    /// Any number: for what no call writes.
    pub(crate) fn any(&mut self) -> u64 {
        self.random.next()
    }

    /// A call that takes away, moves or changes what another processor's fuzzer has made and is about to use.
    pub(crate) fn strike(&mut self, handle: u64, victim: &Self) -> (u64, [u64; 6]) {
        self.calls += 1;
        let call = STRIKES[self.random.below(STRIKES.len())];
        let mut arguments = [handle, 0, 0, 0, 0, 0];
        for (index, kind) in kinds(call).iter().enumerate() {
            let theirs = victim.known.get(kind).map_or(&[][..], Vec::as_slice);
            arguments[index + 1] = match theirs.len() {
                0 => self.argument(*kind),
                _ => self.random.pick(theirs),
            };
        }
        if matches!(call, Call::VmUnmap | Call::VmProtect) && !victim.mapped.is_empty() {
            let [vm, gpa, size] = victim.mapped[self.random.below(victim.mapped.len())];
            arguments[1..4].copy_from_slice(&[vm, gpa, size]);
        }
        (call.number(), arguments)
    }

    /// What is learnt from an answer.
    pub(crate) fn note(&mut self, number: u64, arguments: [u64; 6], output: u64) {
        *self.succeeded.entry(number).or_default() += 1;
        let Some(call) = Call::from_opcode(number as u32) else { return };
        if let Some(kind) = makes(call) {
            self.learn(kind, output);
        }
        if matches!(call, Call::VmDestroy | Call::VpDestroy | Call::VsDestroy | Call::MemFreePage) {
            self.forget(arguments[1]);
        }
        if call == Call::VmViewDestroy {
            self.forget(arguments[2]);
        }
        if call == Call::VmViewCreate {
            self.views.push([arguments[1], output]);
        }
        if call == Call::VmMap {
            self.mapped.push([arguments[1], arguments[2], arguments[4]]);
        }
    }
}

/// REG0: the handle, of those calls that take one.
const fn first_argument(call: Call, handle: u64) -> u64 {
    match call {
        Call::HandleOpen => VERSION,
        Call::DebugOut
        | Call::DebugDumpVm
        | Call::DebugDumpVp
        | Call::DebugDumpVs
        | Call::DebugDumpExits
        | Call::DebugExitCount => 0,
        _ => handle,
    }
}

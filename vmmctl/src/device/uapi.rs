//! The structures of `loaders/linux/plinth.h`, which documents every field. A test compares the two.

use plinth_launch::Range;

/// `PLINTH_API_VERSION`.
pub const VERSION: u32 = 1;
/// `PLINTH_CPU_WORDS`.
pub const CPU_WORDS: usize = 16;
/// `PLINTH_NO_CPU`.
pub const NO_CPU: u32 = u32::MAX;
/// `PLINTH_MAP_RESERVATION`.
pub const MAP_RESERVATION: u64 = 0;
/// `PLINTH_MAP_LOG`.
pub const MAP_LOG: u64 = 1 << 40;
/// `PLINTH_LAUNCH_NESTED`.
pub const LAUNCH_NESTED: u32 = 1 << 0;
/// `PLINTH_STOP_FORCE`.
pub const STOP_FORCE: u32 = 1 << 0;

/// The states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// `PLINTH_IDLE`.
    Idle = 0,
    /// `PLINTH_RESERVED`.
    Reserved = 1,
    /// `PLINTH_RUNNING`.
    Running = 2,
    /// `PLINTH_BROKEN`.
    Broken = 3,
}

/// `PLINTH_MACHINE_AMD`.
pub const MACHINE_AMD: u32 = 1;
/// `PLINTH_MACHINE_INTEL`.
pub const MACHINE_INTEL: u32 = 2;
/// `PLINTH_MACHINE_ARM64`.
pub const MACHINE_ARM64: u32 = 3;

/// `struct plinth_head`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Head {
    size: u32,
    version: u32,
}

/// A structure that begins with a [`Head`].
pub trait Request: Default {
    /// One that is empty but for its head.
    fn new() -> Self;
}

macro_rules! requests {
    ($($name:ident),*) => {
        $(impl Request for $name {
            fn new() -> Self {
                Self { head: Head { size: size_of::<Self>() as u32, version: VERSION }, ..Self::default() }
            }
        })*
    };
}

requests!(Info, Reserve, Launch, Stop, Call);

/// `struct plinth_info`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "plinth.h documents each field")]
pub struct Info {
    pub head: Head,
    pub state: u32,
    pub machine: u32,
    pub not_now: u64,
    pub not_now_cpu: u32,
    pub stopped_by: u32,
    pub cpus_present: u32,
    pub cpus_online: u32,
    pub cpus_launched: u32,
    pub padding: u32,
    pub present: [u64; CPU_WORDS],
    pub online: [u64; CPU_WORDS],
    pub launched: [u64; CPU_WORDS],
    pub reservation: Range,
    pub log: Range,
    pub memory_end: u64,
    pub module_version: [u8; 32],
    pub reserved: [u64; 8],
}

impl Info {
    /// The state, if it is one that this version knows.
    pub fn state(&self) -> Option<State> {
        [State::Idle, State::Reserved, State::Running, State::Broken]
            .into_iter()
            .find(|state| *state as u32 == self.state)
    }

    /// The module's version as text.
    pub fn version(&self) -> String {
        let text = self.module_version.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

/// Linux's numbers of the CPUs in a set.
pub fn cpus(set: &[u64; CPU_WORDS]) -> impl Iterator<Item = u32> {
    (0..CPU_WORDS as u32 * 64).filter(|cpu| set[*cpu as usize / 64] >> (cpu % 64) & 1 != 0)
}

/// `struct plinth_reserve`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "plinth.h documents each field")]
pub struct Reserve {
    pub head: Head,
    pub size: u64,
    pub below: u64,
    pub log_size: u64,
    pub reservation: Range,
    pub log: Range,
    pub reserved: [u64; 4],
}

/// `struct plinth_launch`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "plinth.h documents each field")]
pub struct Launch {
    pub head: Head,
    pub entry: u64,
    pub info: u64,
    pub tables: u64,
    pub flags: u32,
    pub padding: u32,
    pub status: u64,
    pub not_now: u64,
    pub cpu: u32,
    pub cpus_launched: u32,
    pub cpus_left: u32,
    pub padding2: u32,
    pub reserved: [u64; 4],
}

/// `struct plinth_stop`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "plinth.h documents each field")]
pub struct Stop {
    pub head: Head,
    pub flags: u32,
    pub padding: u32,
    pub status: u64,
    pub cpu: u32,
    pub cpus_left: u32,
    pub reserved: [u64; 4],
}

/// `struct plinth_call`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "plinth.h documents each field")]
pub struct Call {
    pub head: Head,
    pub number: u64,
    pub arguments: [u64; 4],
    pub results: [u64; 5],
    pub buffer: u64,
    pub buffer_size: u32,
    pub buffer_argument: u32,
    pub cpu: u32,
    pub padding: u32,
    pub reserved: [u64; 4],
}

/// A CPU of a structure, if it names one.
pub const fn cpu(number: u32) -> Option<u32> {
    if number == NO_CPU { None } else { Some(number) }
}

//! A module that is not there: it keeps the states of the real one, and the memory that was filled.

#![allow(dead_code, reason = "every test file compiles its own copy")]

pub(crate) mod hypervisor;

use std::cell::RefCell;
use std::rc::Rc;

use plinth_launch::{LaunchInfo, Range};
use vmmctl::device::uapi::{Call, Info, Launch, Request as _, Reserve, State, Stop};
use vmmctl::device::{Device, DeviceError};

/// Where its memory lies.
pub(crate) const START: u64 = 0x4000_0000;

/// What the module answers, and what the program has asked of it.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) state: u32,
    pub(crate) machine: u32,
    pub(crate) not_now: u64,
    pub(crate) memory: Vec<u8>,
    /// What a call fails with.
    pub(crate) reserve_fails: Option<DeviceError>,
    pub(crate) launch_fails: Option<(DeviceError, Launch)>,
    pub(crate) stop_fails: Option<(DeviceError, Stop)>,
    pub(crate) launched: Option<Launch>,
    pub(crate) stopped: Vec<u32>,
    /// What runs, whoever launched it.
    pub(crate) hypervisor: Option<hypervisor::Hypervisor>,
    /// The log's pages.
    pub(crate) log: Vec<u8>,
}

/// A handle to it, as the program has one.
#[derive(Clone, Default)]
pub(crate) struct Fake(pub(crate) Rc<RefCell<Module>>);

impl Fake {
    pub(crate) fn amd() -> Self {
        Self(Rc::new(RefCell::new(Module { machine: 1, ..Module::default() })))
    }

    /// The launch information that was written where the launch said it is.
    pub(crate) fn launch_info(&self) -> LaunchInfo {
        let module = self.0.borrow();
        let at = (module.launched.expect("launched").info - START) as usize;
        let bytes = &module.memory[at..][..size_of::<LaunchInfo>()];
        // SAFETY: that many bytes; a `LaunchInfo` is of integers alone.
        unsafe { bytes.as_ptr().cast::<LaunchInfo>().read_unaligned() }
    }

    /// The bytes of a range of physical memory.
    pub(crate) fn bytes(&self, range: Range) -> Vec<u8> {
        self.0.borrow().memory[(range.start - START) as usize..][..range.size as usize].to_vec()
    }
}

impl Device for Fake {
    fn info(&mut self) -> Result<Info, DeviceError> {
        let module = self.0.borrow();
        let runs = module.state == State::Running as u32;
        let mut info =
            Info { state: module.state, machine: module.machine, not_now: module.not_now, ..Info::new() };
        (info.cpus_present, info.cpus_online, info.not_now_cpu) = (2, 2, u32::MAX);
        (info.present[0], info.online[0], info.memory_end) = (0b11, 0b11, 8 << 30);
        info.module_version[..3].copy_from_slice(b"1.0");
        if runs {
            (info.cpus_launched, info.launched[0]) = (2, 0b11);
        }
        info.reservation = Range { start: START, size: module.memory.len() as u64 };
        Ok(info)
    }

    fn reserve(&mut self, request: &mut Reserve) -> Result<(), DeviceError> {
        let mut module = self.0.borrow_mut();
        if let Some(error) = module.reserve_fails {
            return Err(error);
        }
        module.state = State::Reserved as u32;
        module.memory = vec![0; request.size as usize];
        request.reservation = Range { start: START, size: request.size };
        request.log = Range { start: 0x9000_0000, size: request.log_size };
        Ok(())
    }

    fn fill(&mut self, size: u64, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), DeviceError> {
        let mut module = self.0.borrow_mut();
        assert_eq!(size as usize, module.memory.len());
        fill(&mut module.memory);
        Ok(())
    }

    fn launch(&mut self, request: &mut Launch) -> Result<(), DeviceError> {
        let mut module = self.0.borrow_mut();
        module.launched = Some(*request);
        if let Some((error, answer)) = module.launch_fails {
            *request = answer;
            return Err(error);
        }
        module.state = State::Running as u32;
        Ok(())
    }

    fn stop(&mut self, request: &mut Stop) -> Result<(), DeviceError> {
        let mut module = self.0.borrow_mut();
        module.stopped.push(request.flags);
        if let Some((error, answer)) = module.stop_fails {
            *request = answer;
            return Err(error);
        }
        if module.state != State::Running as u32 {
            return Err(DeviceError::NotRunning);
        }
        module.state = State::Idle as u32;
        Ok(())
    }

    fn call(&mut self, request: &mut Call, buffer: &mut [u8]) -> Result<(), DeviceError> {
        let mut module = self.0.borrow_mut();
        if module.not_now & 1 != 0 {
            // Locked down.
            return Err(DeviceError::NotAllowed);
        }
        let hypervisor = module.hypervisor.as_mut().ok_or(DeviceError::NotRunning)?;
        assert!(request.cpu == 0 && request.buffer_argument == u32::from(!buffer.is_empty()));
        let page = hypervisor.call(request);
        let size = page.len().min(buffer.len());
        buffer[..size].copy_from_slice(&page[..size]);
        Ok(())
    }

    fn log(&mut self) -> Result<Vec<u8>, DeviceError> {
        Ok(self.0.borrow().log.clone())
    }
}

/// A static-PIE ELF file of one executable segment.
pub(crate) fn elf(machine: u16) -> Vec<u8> {
    let mut file = vec![0_u8; 0x1000];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, value: u64, size: usize| {
        file[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    };
    for (at, value, size) in
        [(16, 3, 2), (18, u64::from(machine), 2), (20, 1, 4), (24, 0x800, 8), (32, 64, 8)]
    {
        put(at, value, size);
    }
    for (at, value, size) in [(52, 64, 2), (54, 56, 2), (56, 1, 2), (58, 64, 2)] {
        put(at, value, size);
    }
    // PT_LOAD, readable and executable.
    for (at, value, size) in [(64, 1, 4), (68, 5, 4), (96, 0x1000, 8), (104, 0x1000, 8), (112, 0x1000, 8)] {
        put(at, value, size);
    }
    file
}

//! The system-call boundary: the extension's registers on one processor.

use std::panic::resume_unwind;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use plinth_hal::page_table::Permissions;
use plinth_hal::{HostCpu, UserContext, UserExit, UserFault, UserVa};

use crate::cpu::SimCpu;
use crate::fiber::{Fiber, Reply, Request};

/// Vector of a fault on an address.
pub const PAGE_FAULT: u64 = 14;
/// Vector of a fault on an instruction.
pub const UNDEFINED: u64 = 6;

/// How often the processor looks whether something stops the extension.
const POLL: Duration = Duration::from_millis(5);

/// What the next entry does.
#[derive(Default)]
enum Entry {
    /// Nothing was prepared.
    #[default]
    Nowhere,
    /// Starts a callback.
    Upcall { entry: u64, stack: u64, arguments: [u64; 3] },
    /// Goes on with what it asked for last.
    Resume,
}

/// The extension's registers on one processor, and the code that they belong to.
#[derive(Default)]
pub struct SimUser {
    entry: Entry,
    fiber: Option<Fiber>,
    asked: Option<Request>,
    status: u64,
    outputs: [u64; 6],
}

impl UserContext for SimUser {
    fn prepare_upcall(&mut self, entry: UserVa, stack: UserVa, arguments: [u64; 3]) {
        let entry = Entry::Upcall { entry: entry.raw(), stack: stack.raw(), arguments };
        *self = Self { entry, ..Self::default() };
    }

    fn call_number(&self) -> u64 {
        if let Some(Request::Call { number, .. }) = self.asked { number } else { 0 }
    }

    fn argument(&self, register: usize) -> u64 {
        match &self.asked {
            Some(Request::Call { arguments, .. }) => arguments[register],
            _ => 0,
        }
    }

    fn set_status(&mut self, status: u64) {
        self.status = status;
    }

    fn set_output(&mut self, register: usize, value: u64) {
        self.outputs[register] = value;
    }
}

impl SimUser {
    /// Runs the extension until it needs the kernel.
    pub(crate) fn run(&mut self, cpu: &mut SimCpu) -> UserExit {
        let exit = self.run_on(cpu);
        if exit != UserExit::Kick {
            cpu.deadline = None;
        }
        exit
    }

    fn run_on(&mut self, cpu: &mut SimCpu) -> UserExit {
        if let Entry::Upcall { entry, stack, arguments } = std::mem::replace(&mut self.entry, Entry::Resume)
            && let Err(fault) = self.start(cpu, entry, stack, arguments)
        {
            return UserExit::Fault(fault);
        }
        loop {
            if let Some(exit) = self.serve(cpu) {
                return exit;
            }
            self.asked = match self.next_request(cpu) {
                Ok(request) => Some(request),
                Err(stopped) => {
                    self.asked = None;
                    return stopped;
                }
            };
            if let Some(Request::Call { .. }) = self.asked {
                return UserExit::Call;
            }
        }
    }

    fn start(
        &mut self,
        cpu: &mut SimCpu,
        entry: u64,
        stack: u64,
        arguments: [u64; 3],
    ) -> Result<(), UserFault> {
        let code = cpu.reach_user(entry, Permissions::EXECUTE)?;
        cpu.reach_user(stack.wrapping_sub(8), Permissions::READ | Permissions::WRITE)?;
        let word = cpu.machine.ram.load(code);
        let callback = cpu.machine.extension.get().and_then(|extension| extension.callback(word));
        let callback = callback.ok_or(fault(UNDEFINED, entry))?;
        self.fiber = Some(Fiber::start(callback, entry, arguments));
        Ok(())
    }

    /// Answers what the extension asked for last; an exit where that is a fault.
    fn serve(&mut self, cpu: &mut SimCpu) -> Option<UserExit> {
        let answer = match &self.asked {
            None => return None,
            Some(Request::Call { .. }) => Reply::Status(self.status, [self.outputs[0], self.outputs[1]]),
            Some(Request::Load(at)) => match cpu.reach_user(*at, Permissions::READ) {
                Ok(spa) => Reply::Value(cpu.machine.ram.load(spa)),
                Err(fault) => return Some(UserExit::Fault(fault)),
            },
            Some(Request::Store(at, value)) => {
                match cpu.reach_user(*at, Permissions::READ | Permissions::WRITE) {
                    Ok(spa) => {
                        cpu.machine.ram.store(spa, *value);
                        Reply::Value(0)
                    }
                    Err(fault) => return Some(UserExit::Fault(fault)),
                }
            }
            Some(Request::Returned | Request::Panicked(_)) => {
                return Some(UserExit::Fault(fault(PAGE_FAULT, 0)));
            }
        };
        if let Some(fiber) = &self.fiber {
            // A thread that is gone says so when it is next listened to.
            let _ = fiber.replies.send(answer);
        }
        None
    }

    /// What the extension wants next, or what has stopped it.
    fn next_request(&self, cpu: &mut SimCpu) -> Result<Request, UserExit> {
        let Some(fiber) = &self.fiber else { return Ok(Request::Returned) };
        loop {
            match fiber.requests.recv_timeout(POLL) {
                Ok(Request::Panicked(payload)) => resume_unwind(payload),
                Ok(request) => return Ok(request),
                Err(RecvTimeoutError::Timeout) => cpu.pass_time(POLL)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(Request::Returned),
            }
        }
    }
}

impl SimCpu {
    /// Time passes in which the extension wants nothing.
    fn pass_time(&mut self, time: Duration) -> Result<(), UserExit> {
        self.machine.check_power();
        self.machine.pass(time);
        if self.machine.take_interrupt(self.hardware_id()) {
            return Err(UserExit::Kick);
        }
        if self.lets_in && self.machine.set_device_interrupt(self.hardware_id(), false) {
            self.keeps = true;
            return Err(UserExit::Clock);
        }
        match self.deadline {
            Some(deadline) if deadline <= self.machine.now() => Err(UserExit::Clock),
            _ => Ok(()),
        }
    }

    /// Where an address of the extension leads, if it may use it so.
    fn reach_user(&mut self, at: u64, wanted: Permissions) -> Result<plinth_hal::Spa, UserFault> {
        if !at.is_multiple_of(8) {
            return Err(fault(PAGE_FAULT, at));
        }
        let reached = self.tlb.translate(&self.machine.ram, self.host, at, wanted | Permissions::USER);
        reached.map_err(|_| fault(PAGE_FAULT, at))
    }
}

fn fault(vector: u64, address: u64) -> UserFault {
    UserFault { vector, error: 4, address, instruction_pointer: address }
}

//! What the kernel does for the root VM once the extension is gone: as little as keeps it running.
//!
//! The answers are those of the machine, without the virtualization extension: the same that the default
//! extension gives, minus its signature leaves.

use core::sync::atomic::Ordering;

use plinth_extension_api::abi::{Failure, HYPERCALL_REFUSED, HYPERCALL_STOP, ROOT_VM};
use plinth_hal::{Arch, Event, Exit, ExitClass, HostCpu, VsHw};
use plinth_launch::LaunchError;

use crate::extension::Callback;
use crate::object::objects::VsState;
use crate::object::table::Id;
use crate::pp::{Next, Pp, guest_view};

/// A hypercall's number without its index is its group.
const GROUP_SHIFT: u32 = 16;

impl<A: Arch> Pp<'_, A> {
    /// Does what the extension's bootstrap would, on a PP that the root VM starts.
    #[cold]
    #[inline(never)]
    pub(crate) fn begin_without_extension(&mut self) -> Next {
        self.callback = Callback::Bootstrap;
        match self.make_root_vs() {
            Ok(()) => Next::Run,
            Err(failure) => {
                log::error!("pp {}: it gets no root VS: {failure}", self.index);
                self.abandon(LaunchError::ExtensionExited, 0)
            }
        }
    }

    fn make_root_vs(&mut self) -> Result<(), Failure> {
        let vp = self.create_vp(Id::from_raw(ROOT_VM))?;
        let vs = self.create_vs(vp, self.index)?;
        self.init_as_root(vs)?;
        self.activate(vs)?;
        self.begin_launch(vs)?;
        self.refresh_policy();
        Ok(())
    }

    /// Answers an exit of the root VM as the bare machine would.
    #[cold]
    #[inline(never)]
    pub(crate) fn pass_through(&mut self, exit: Exit) -> Next {
        match exit.class {
            ExitClass::Nmi => self.inject_nmi(),
            ExitClass::Hypercall => return self.hypercall(exit),
            ExitClass::Shutdown => {
                log::error!(
                    "pp {}: the root VM shut down (triple fault); restarting the machine",
                    self.index
                );
                self.cpu.reset_machine();
            }
            ExitClass::EntryRefused => return self.broken(exit),
            ExitClass::Step => self.stop_stepping(),
            ExitClass::Attention | ExitClass::Timer => {}
            _ => {
                if !self.emulate(exit) {
                    self.unknown(exit);
                }
            }
        }
        Next::Run
    }

    fn emulate(&mut self, exit: Exit) -> bool {
        let Some(active) = &mut self.active else { return false };
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        self.cpu.emulate(&mut active.vs.hw, &exit, &guest, self.page.registers_once())
    }

    /// An exit that nobody understands: the first one is logged with its raw data, each answered by an invalid-opcode
    /// exception.
    fn unknown(&mut self, exit: Exit) {
        if !self.kernel.unknown_exits.swap(true, Ordering::Relaxed) {
            log::error!(
                "pp {}: unknown exit {exit:?} of the root VM; it gets an exception, and more are not logged",
                self.index
            );
        }
        self.inject(Event::Undefined);
    }

    fn broken(&mut self, exit: Exit) -> Next {
        log::error!("pp {}: the processor refuses the root VS's state: {exit:?}", self.index);
        if let Some(active) = &mut self.active {
            active.vs.state = VsState::Broken;
        }
        Next::Run
    }

    /// A hypercall without an extension: a stop, one that the extension would have answered, or none of Plinth's. A kernel
    /// that made a call of Plinth's yesterday must not get an exception for it today.
    fn hypercall(&mut self, exit: Exit) -> Next {
        let [number] = self.page.registers_once().take([0]);
        if exit.detail != 0 || number >> GROUP_SHIFT != HYPERCALL_STOP >> GROUP_SHIFT {
            self.inject(Event::Undefined);
            return Next::Run;
        }
        if number == HYPERCALL_STOP { self.stop() } else { self.refuse_hypercall() }
    }

    /// The root VM's kernel asks for the bare machine, and the extension is not asked.
    pub(crate) fn stop(&mut self) -> Next {
        if let Ok(next) = self.promote() {
            return next;
        }
        self.refuse_hypercall()
    }

    fn refuse_hypercall(&mut self) -> Next {
        self.page.writer().set_general(0, HYPERCALL_REFUSED);
        self.skip_instruction();
        Next::Run
    }

    pub(crate) fn skip_instruction(&mut self) {
        let Some(active) = &mut self.active else { return };
        let guest = guest_view(self.kernel, self.machine, active.vs.vm);
        if active.vs.hw.advance(&guest).is_err() {
            active.vs.hw.inject(Event::Undefined);
        }
    }
}

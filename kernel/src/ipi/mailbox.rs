//! What PPs tell each other.
//!
//! A sender leaves a request and, if the PP may be running a guest, kicks it. A kick is a hardware event
//! that looks like one of the guest's own (an NMI on x86), so there is at most one in flight for each
//! PP, and the flag that says so tells a kick from the real thing. Waiting for the answer is `wait`'s.

#[cfg(all(test, loom))]
mod models;

use plinth_hal::ExitClass;

use crate::ipi::turn::Turn;
use crate::object::table::Id;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Lock, Ordering};

/// Forget cached translations before the next entry.
pub(crate) const FLUSH: u32 = 1 << 0;
/// Stop the root VS and wait for a start.
pub(crate) const RESET: u32 = 1 << 1;
/// Start the root VS if it waits.
pub(crate) const START: u32 = 1 << 2;
/// Take the declared answers that are new.
pub(crate) const POLICY: u32 = 1 << 3;

/// Exit to the extension, because it asked for that.
pub(crate) const ATTENTION: u32 = 1 << 4;
/// Hand an NMI of the guest's own to it, which came while the extension ran.
pub(crate) const NMI: u32 = 1 << 5;

/// Look at the timer. A PP whose timer is set leaves this with itself before each run.
pub(crate) const TIMER: u32 = 1 << 6;
/// Give back the interrupts that have stopped the extension.
pub(crate) const INTERRUPTS: u32 = 1 << 7;

/// Leave the hypervisor together with all others.
pub(crate) const PROMOTE: u32 = 1 << 8;

/// Look whether exits are traced, and finish the record of the one before.
pub(crate) const TRACE: u32 = 1 << 9;

/// What [`Mailbox::start_entry`] holds while no start is asked for.
const NOWHERE: u64 = u64::MAX;
/// What [`Mailbox::user_epoch`] holds while the PP is not in the extension.
const OUTSIDE: u64 = u64::MAX;
/// What [`Mailbox::active_vm`] holds before the first VS is active.
const NO_VM: u64 = u64::MAX;

/// How far a PP is on its way under the hypervisor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Standing {
    /// Nobody has said that there is such a PP, or it has left.
    Outside,
    /// The machine has it, and the root VM has not started it yet.
    Cold,
    /// The root VM has started it; it is on its way here.
    Starting,
    /// It runs under the hypervisor.
    Launched,
    /// It has stopped there for good: it runs nothing, and does not leave.
    Failed,
}

/// How a PP hears of what another one wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PpCall {
    /// It waits in the hardware: it is reset and called.
    StartCold,
    /// It may not have heard that.
    StartAgain,
    /// It may be running a guest.
    Kick,
}

/// The part of a PP that others may touch.
pub(crate) struct Mailbox {
    /// A [`Standing`].
    standing: AtomicU8,
    /// The interrupt controller's id of it.
    pub(crate) hardware_id: AtomicU32,
    requests: AtomicU32,
    start_entry: AtomicU64,
    /// Held while a PP starts this one.
    starts: Lock<()>,
    in_guest: AtomicBool,
    /// The VM of the VS that is active here.
    active_vm: AtomicU64,
    kick_in_flight: AtomicBool,
    /// It has not answered another PP in time, and has not been heard of since.
    lost: AtomicBool,
    /// The host epoch in which the PP entered the extension.
    user_epoch: AtomicU64,
    /// Exits by class, written by this PP alone.
    counts: [AtomicU64; plinth_extension_api::abi::EXIT_CLASSES],
    /// What was last seen of the extension here.
    pub(crate) turn: Lock<Turn>,
}

impl Mailbox {
    pub(crate) const fn new() -> Self {
        Self {
            standing: AtomicU8::new(Standing::Outside as u8),
            hardware_id: AtomicU32::new(u32::MAX),
            requests: AtomicU32::new(0),
            start_entry: AtomicU64::new(NOWHERE),
            starts: Lock::new(()),
            in_guest: AtomicBool::new(false),
            active_vm: AtomicU64::new(NO_VM),
            kick_in_flight: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            user_epoch: AtomicU64::new(OUTSIDE),
            counts: [const { AtomicU64::new(0) }; plinth_extension_api::abi::EXIT_CLASSES],
            turn: Lock::new(Turn::new()),
        }
    }

    /// How far it is.
    pub(crate) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::SeqCst) {
            standing if standing == Standing::Cold as u8 => Standing::Cold,
            standing if standing == Standing::Starting as u8 => Standing::Starting,
            standing if standing == Standing::Launched as u8 => Standing::Launched,
            standing if standing == Standing::Failed as u8 => Standing::Failed,
            _ => Standing::Outside,
        }
    }

    /// Says how far it is. A PP that others may start or reset sees what they ask for once it is launched: they
    /// leave their request before they look how far it is.
    pub(crate) fn set_standing(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::SeqCst);
    }

    /// Has it start at `entry`, for another PP. `call` calls it; false where the machine cannot.
    ///
    /// One PP at a time does that: a call that overtook the reset before it would start a processor that the reset then
    /// stops on its way.
    pub(crate) fn start(&self, entry: u64, call: impl FnOnce(PpCall) -> bool) {
        let Ok(_one) = self.starts.lock() else { return };
        let cold = self.claim_start();
        self.post_start(entry);
        match self.standing() {
            Standing::Starting if cold => {
                if !call(PpCall::StartCold) {
                    self.set_standing(Standing::Cold);
                }
            }
            Standing::Starting => _ = call(PpCall::StartAgain),
            Standing::Launched if self.start_kick() => _ = call(PpCall::Kick),
            Standing::Launched | Standing::Cold | Standing::Outside | Standing::Failed => {}
        }
    }

    /// Makes the caller the one that starts it, if it is cold and nobody else does.
    fn claim_start(&self) -> bool {
        let (cold, starting) = (Standing::Cold as u8, Standing::Starting as u8);
        let claimed =
            self.standing.compare_exchange(cold, starting, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if claimed {
            self.clear();
        }
        claimed
    }

    /// Whether this is the PP with that hardware id.
    pub(crate) fn is(&self, hardware_id: u32) -> bool {
        self.hardware_id.load(Ordering::Relaxed) == hardware_id
    }

    /// Forgets what others wanted before a launch.
    pub(crate) fn clear(&self) {
        self.requests.store(0, Ordering::SeqCst);
        self.start_entry.store(NOWHERE, Ordering::SeqCst);
        self.kick_in_flight.store(false, Ordering::SeqCst);
    }

    /// Leaves a request for the next entry. Returns whether the PP runs a guest now, and so must be
    /// kicked and waited for.
    pub(crate) fn post(&self, request: u32) -> bool {
        self.requests.fetch_or(request, Ordering::SeqCst);
        self.in_guest.load(Ordering::SeqCst)
    }

    /// Leaves a request to reset; a start that was asked for before it is void.
    pub(crate) fn post_reset(&self) -> bool {
        self.start_entry.store(NOWHERE, Ordering::SeqCst);
        self.post(RESET)
    }

    /// Leaves a request to start at `entry`, unless there is one already.
    pub(crate) fn post_start(&self, entry: u64) -> bool {
        let first =
            self.start_entry.compare_exchange(NOWHERE, entry, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        self.post(if first { START } else { 0 })
    }

    /// Says that the extension is about to run, with what the TLB holds since the epoch `seen`. Returns the epoch that
    /// is noted instead, if there is a newer one.
    #[inline]
    pub(crate) fn enter_user(&self, epoch: &AtomicU64, seen: u64) -> Option<u64> {
        self.user_epoch.store(seen, Ordering::SeqCst);
        (epoch.load(Ordering::SeqCst) != seen).then(|| self.note_epoch(epoch))
    }

    /// Once is enough: whoever begins an epoch later finds this one here, and takes the PP for one that is behind.
    #[cold]
    fn note_epoch(&self, epoch: &AtomicU64) -> u64 {
        let now = epoch.load(Ordering::SeqCst);
        self.user_epoch.store(now, Ordering::SeqCst);
        now
    }

    /// Says that the extension stopped.
    #[inline]
    pub(crate) fn leave_user(&self) {
        self.user_epoch.store(OUTSIDE, Ordering::Release);
    }

    /// Whether the extension may still run here with translations from before `epoch`.
    pub(crate) fn is_behind(&self, epoch: u64) -> bool {
        self.user_epoch.load(Ordering::SeqCst) < epoch
    }

    /// Marks a kick as sent, by the PP that is going to send it. Returns false where one is in flight already.
    pub(crate) fn start_kick(&self) -> bool {
        !self.kick_in_flight.swap(true, Ordering::SeqCst)
    }

    /// Whether a guest still runs without having seen `request`.
    pub(crate) fn is_deaf_to(&self, request: u32) -> bool {
        self.in_guest.load(Ordering::SeqCst) && self.requests.load(Ordering::SeqCst) & request != 0
    }

    /// Whether a kick is on its way here.
    pub(crate) fn expects_kick(&self) -> bool {
        self.kick_in_flight.load(Ordering::SeqCst)
    }

    /// Says which VM the VS is of that is about to be active. Whoever sees that it runs sees this too.
    pub(crate) fn set_active_vm(&self, vm: Id) {
        self.active_vm.store(vm.raw(), Ordering::Relaxed);
    }

    /// Whether a VS of this VM is active here. One that becomes active later looks for requests first, and flushes.
    pub(crate) fn runs(&self, vm: Id) -> bool {
        self.active_vm.load(Ordering::Relaxed) == vm.raw()
    }

    /// Whether it has not answered in time, and has not been heard of since.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// It has not answered in time. Returns whether it had until now.
    pub(crate) fn set_lost(&self) -> bool {
        !self.lost.swap(true, Ordering::SeqCst)
    }

    /// It has looked for requests. Returns whether it was lost until now.
    #[inline]
    pub(crate) fn is_found(&self) -> bool {
        self.is_lost() && self.lost.swap(false, Ordering::SeqCst)
    }

    /// A kick arrived, or what looks like one. Returns whether it really was.
    pub(crate) fn finish_kick(&self) -> bool {
        self.kick_in_flight.swap(false, Ordering::SeqCst)
    }

    /// Whether it runs a guest.
    pub(crate) fn is_in_guest(&self) -> bool {
        self.in_guest.load(Ordering::SeqCst)
    }

    /// Whether any request waits.
    #[inline]
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::SeqCst) != 0
    }

    /// Takes all requests.
    pub(crate) fn take_requests(&self) -> u32 {
        self.requests.swap(0, Ordering::SeqCst)
    }

    /// Where a [`START`] wants the VS to start, once for each.
    pub(crate) fn take_start_entry(&self) -> Option<u64> {
        Some(self.start_entry.swap(NOWHERE, Ordering::SeqCst)).filter(|entry| *entry != NOWHERE)
    }

    /// Says that a guest is about to run. Returns false, and takes it back, where a request came first.
    #[inline]
    pub(crate) fn enter_guest(&self) -> bool {
        self.in_guest.store(true, Ordering::SeqCst);
        if self.has_requests() {
            self.leave_guest();
            return false;
        }
        true
    }

    /// Says that the guest stopped.
    #[inline]
    pub(crate) fn leave_guest(&self) {
        self.in_guest.store(false, Ordering::Release);
    }

    /// Counts `exits` more of a class. Only the PP itself may call it.
    #[inline]
    pub(crate) fn count(&self, class: ExitClass, exits: u64) {
        let counter = &self.counts[class as usize];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(exits), Ordering::Relaxed);
    }

    /// Exits so far.
    pub(crate) fn all_exits(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }

    /// Exits of a class so far.
    pub(crate) fn exits(&self, class: ExitClass) -> u64 {
        self.counts[class as usize].load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_kick_is_in_flight_at_a_time() {
        let mailbox = Mailbox::new();
        mailbox.post(RESET);
        assert!(mailbox.start_kick());
        mailbox.post(START);
        assert!(!mailbox.start_kick(), "the first kick serves both requests");
        assert!(mailbox.finish_kick());
        assert!(!mailbox.finish_kick(), "what comes now is the guest's own");
        assert_eq!(mailbox.take_requests(), RESET | START);
    }

    #[test]
    fn a_guest_is_not_entered_past_a_request() {
        let mailbox = Mailbox::new();
        assert!(!mailbox.post(FLUSH), "nothing runs: no kick needed");
        assert!(!mailbox.enter_guest());
        mailbox.take_requests();
        assert!(mailbox.enter_guest());
        assert!(mailbox.post(FLUSH));
        assert!(mailbox.is_deaf_to(FLUSH));
        mailbox.leave_guest();
        assert!(!mailbox.is_deaf_to(FLUSH));
    }

    #[test]
    fn the_first_start_after_a_reset_counts() {
        let mailbox = Mailbox::new();
        mailbox.post_start(1);
        mailbox.post_reset();
        mailbox.post_start(2);
        mailbox.post_start(3);
        assert_eq!(mailbox.take_requests(), RESET | START);
        assert_eq!(mailbox.take_start_entry(), Some(2));
        assert_eq!(mailbox.take_start_entry(), None);
    }

    #[test]
    fn a_cold_processor_is_started_once() {
        let mailbox = Mailbox::new();
        assert!(!mailbox.claim_start(), "there is none");
        mailbox.set_standing(Standing::Cold);
        mailbox.post_start(1);
        assert!(mailbox.claim_start());
        assert_eq!(mailbox.take_requests(), 0, "what came before does not count");
        assert!(!mailbox.claim_start());
        assert_eq!(mailbox.standing(), Standing::Starting);
    }

    #[test]
    fn the_extension_is_behind_only_while_it_runs() {
        let (mailbox, epoch) = (Mailbox::new(), AtomicU64::new(4));
        assert!(!mailbox.is_behind(5));
        assert_eq!(mailbox.enter_user(&epoch, 3), Some(4));
        assert_eq!(mailbox.enter_user(&epoch, 4), None);
        assert!(mailbox.is_behind(5));
        assert!(!mailbox.is_behind(4));
        mailbox.leave_user();
        assert!(!mailbox.is_behind(5));
    }
}

//! Requests from one PP to another.
//!
//! Each PP has one mailbox, a word of request bits and a flag `in_guest`. The sender first sets its bit
//! (`post`), then reads `in_guest`. The receiver first sets `in_guest` (`enter_guest`), then reads the bits.
//! All four accesses are sequentially consistent. So at least one of the two PPs sees the other's write:
//! either the receiver takes the request before it enters the guest, or the sender sees that the guest runs
//! and sends a kick.
//!
//! A kick forces an exit. It is a hardware event that looks like an event of the guest (an NMI on x86). So at
//! most one kick is in flight for each PP, and the flag `kick_in_flight` tells a kick from the guest's own
//! NMI. One kick serves every request that was posted before the exit. `wait` waits for the effect of a
//! request.

#[cfg(all(test, loom))]
mod models;

use plinth_hal::ExitClass;

use crate::ipi::turn::Turn;
use crate::object::table::Id;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Lock, Ordering};

/// Invalidate the nested translations before the next entry.
pub(crate) const FLUSH: u32 = 1 << 0;
/// Stop the root VS and wait for a start (x86 INIT).
pub(crate) const RESET: u32 = 1 << 1;
/// Start the root VS if it waits for a start (x86 SIPI).
pub(crate) const START: u32 = 1 << 2;
/// Reload the declared answers of the active VM.
pub(crate) const POLICY: u32 = 1 << 3;

/// Exit to the extension, which asked for the exit.
pub(crate) const ATTENTION: u32 = 1 << 4;
/// Inject an NMI of the guest that arrived while the extension ran.
pub(crate) const NMI: u32 = 1 << 5;

/// Compare the timer with the counter. A PP whose timer is armed posts this to itself before each run.
pub(crate) const TIMER: u32 = 1 << 6;
/// Give back the interrupts that preempted the extension.
pub(crate) const INTERRUPTS: u32 = 1 << 7;

/// Leave the hypervisor together with all other PPs.
pub(crate) const PROMOTE: u32 = 1 << 8;

/// Finish the trace record of the last exit, and check whether tracing is still on.
pub(crate) const TRACE: u32 = 1 << 9;

/// [`Mailbox::start_entry`] while no start is requested.
const NOWHERE: u64 = u64::MAX;
/// [`Mailbox::user_epoch`] while the extension does not run on the PP.
const OUTSIDE: u64 = u64::MAX;
/// [`Mailbox::active_vm`] before the first VS is active.
const NO_VM: u64 = u64::MAX;

/// The state of a PP: whether it runs under the hypervisor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum PpState {
    /// Unknown to the kernel, or has left the hypervisor.
    Absent,
    /// The machine has the processor, and the root VM has not started it yet (offline).
    Offline,
    /// The root VM has started the processor, which is on its way to the kernel.
    Starting,
    /// Runs under the hypervisor (online).
    Online,
    /// Stopped for good inside the hypervisor: it runs nothing and does not leave.
    Failed,
}

/// The message that a PP in some state needs from the sender of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PpCall {
    /// Offline: reset and start the processor.
    StartCold,
    /// Starting: repeat the start message, which the processor may have missed.
    StartAgain,
    /// Online: force an exit, if a guest runs.
    Kick,
}

/// The part of a PP that other PPs access.
pub(crate) struct Mailbox {
    /// A [`PpState`].
    state: AtomicU8,
    /// The id of the processor in the interrupt controller.
    pub(crate) hardware_id: AtomicU32,
    requests: AtomicU32,
    start_entry: AtomicU64,
    /// Held by the PP that starts this PP.
    starts: Lock<()>,
    in_guest: AtomicBool,
    /// The VM of the active VS.
    active_vm: AtomicU64,
    kick_in_flight: AtomicBool,
    /// The PP did not react in time to another PP, and has not looked at its requests since.
    lost: AtomicBool,
    /// The epoch in which the PP last entered the extension.
    user_epoch: AtomicU64,
    /// Exits by class. Only this PP writes them.
    counts: [AtomicU64; plinth_extension_api::abi::EXIT_CLASSES],
    /// The extension's present turn on this PP, as the other PPs' watchdogs see it.
    pub(crate) turn: Lock<Turn>,
}

impl Mailbox {
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicU8::new(PpState::Absent as u8),
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

    /// The state of the PP.
    pub(crate) fn state(&self) -> PpState {
        match self.state.load(Ordering::SeqCst) {
            state if state == PpState::Offline as u8 => PpState::Offline,
            state if state == PpState::Starting as u8 => PpState::Starting,
            state if state == PpState::Online as u8 => PpState::Online,
            state if state == PpState::Failed as u8 => PpState::Failed,
            _ => PpState::Absent,
        }
    }

    /// Sets the state of the PP. The sender of a start or reset posts the request before it reads this state,
    /// and a PP that becomes `Launched` looks at its requests afterwards. So no request is missed.
    pub(crate) fn set_state(&self, state: PpState) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    /// Starts the PP at `entry` on behalf of another PP. `call` sends the message that the state requires,
    /// and returns false if the machine cannot.
    ///
    /// Only one PP at a time starts this one. Otherwise a start message could overtake the reset before it,
    /// and the reset would then stop the processor during its start-up.
    pub(crate) fn start(&self, entry: u64, call: impl FnOnce(PpCall) -> bool) {
        let Ok(_one) = self.starts.lock() else { return };
        let cold = self.claim_start();
        self.post_start(entry);
        match self.state() {
            PpState::Starting if cold => {
                if !call(PpCall::StartCold) {
                    self.set_state(PpState::Offline);
                }
            }
            PpState::Starting => _ = call(PpCall::StartAgain),
            PpState::Online if self.start_kick() => _ = call(PpCall::Kick),
            PpState::Online | PpState::Offline | PpState::Absent | PpState::Failed => {}
        }
    }

    /// Changes the state from `Cold` to `Starting`. Returns whether this caller made the change.
    fn claim_start(&self) -> bool {
        let (cold, starting) = (PpState::Offline as u8, PpState::Starting as u8);
        let claimed = self.state.compare_exchange(cold, starting, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if claimed {
            self.clear();
        }
        claimed
    }

    /// Whether this PP has the hardware id.
    pub(crate) fn is(&self, hardware_id: u32) -> bool {
        self.hardware_id.load(Ordering::Relaxed) == hardware_id
    }

    /// Discards the requests from before a launch.
    pub(crate) fn clear(&self) {
        self.requests.store(0, Ordering::SeqCst);
        self.start_entry.store(NOWHERE, Ordering::SeqCst);
        self.kick_in_flight.store(false, Ordering::SeqCst);
    }

    /// Posts a request for the next entry. Returns whether the PP runs a guest, and so needs a kick.
    pub(crate) fn post(&self, request: u32) -> bool {
        self.requests.fetch_or(request, Ordering::SeqCst);
        self.in_guest.load(Ordering::SeqCst)
    }

    /// Posts a reset, and discards a start that was posted before it.
    pub(crate) fn post_reset(&self) -> bool {
        self.start_entry.store(NOWHERE, Ordering::SeqCst);
        self.post(RESET)
    }

    /// Posts a start at `entry`, unless a start is posted already.
    pub(crate) fn post_start(&self, entry: u64) -> bool {
        let first =
            self.start_entry.compare_exchange(NOWHERE, entry, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        self.post(if first { START } else { 0 })
    }

    /// Marks that the extension is about to run here, with a TLB that is clean since the epoch `seen`.
    /// Returns the present epoch if it is newer; the caller then invalidates the TLB.
    #[inline]
    pub(crate) fn enter_user(&self, epoch: &AtomicU64, seen: u64) -> Option<u64> {
        self.user_epoch.store(seen, Ordering::SeqCst);
        (epoch.load(Ordering::SeqCst) != seen).then(|| self.note_epoch(epoch))
    }

    /// Records the present epoch. One store is enough: a PP that begins a still newer epoch finds this older
    /// one recorded, and treats this PP as behind.
    #[cold]
    fn note_epoch(&self, epoch: &AtomicU64) -> u64 {
        let now = epoch.load(Ordering::SeqCst);
        self.user_epoch.store(now, Ordering::SeqCst);
        now
    }

    /// Marks that the extension has stopped.
    #[inline]
    pub(crate) fn leave_user(&self) {
        self.user_epoch.store(OUTSIDE, Ordering::Release);
    }

    /// Whether the extension may still run here with translations from before `epoch`.
    pub(crate) fn is_behind(&self, epoch: u64) -> bool {
        self.user_epoch.load(Ordering::SeqCst) < epoch
    }

    /// Marks a kick as in flight. The caller sends it. Returns false if a kick is in flight already.
    pub(crate) fn start_kick(&self) -> bool {
        !self.kick_in_flight.swap(true, Ordering::SeqCst)
    }

    /// Whether a guest still runs that has not seen `request`.
    pub(crate) fn is_deaf_to(&self, request: u32) -> bool {
        self.in_guest.load(Ordering::SeqCst) && self.requests.load(Ordering::SeqCst) & request != 0
    }

    /// Whether a kick to this PP is in flight.
    pub(crate) fn expects_kick(&self) -> bool {
        self.kick_in_flight.load(Ordering::SeqCst)
    }

    /// Records the VM of the VS that becomes active. A PP that sees `in_guest` set sees this value too.
    pub(crate) fn set_active_vm(&self, vm: Id) {
        self.active_vm.store(vm.raw(), Ordering::Relaxed);
    }

    /// Whether a VS of this VM is active here. A VS that becomes active later looks at its requests first,
    /// and so sees the invalidation.
    pub(crate) fn runs(&self, vm: Id) -> bool {
        self.active_vm.load(Ordering::Relaxed) == vm.raw()
    }

    /// Whether the PP did not react in time and has not looked at its requests since.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Marks the PP as lost. Returns whether it was not lost before.
    pub(crate) fn set_lost(&self) -> bool {
        !self.lost.swap(true, Ordering::SeqCst)
    }

    /// Called by the PP itself when it looks at its requests: clears the mark. Returns whether the PP was
    /// lost.
    #[inline]
    pub(crate) fn is_found(&self) -> bool {
        self.is_lost() && self.lost.swap(false, Ordering::SeqCst)
    }

    /// Called on an exit that a kick may have caused. Returns whether a kick was in flight.
    pub(crate) fn finish_kick(&self) -> bool {
        self.kick_in_flight.swap(false, Ordering::SeqCst)
    }

    /// Whether a guest runs here.
    pub(crate) fn is_in_guest(&self) -> bool {
        self.in_guest.load(Ordering::SeqCst)
    }

    /// Whether any request is posted.
    #[inline]
    pub(crate) fn has_requests(&self) -> bool {
        self.requests.load(Ordering::SeqCst) != 0
    }

    /// Takes all requests.
    pub(crate) fn take_requests(&self) -> u32 {
        self.requests.swap(0, Ordering::SeqCst)
    }

    /// The address of a posted [`START`]; each start is returned once.
    pub(crate) fn take_start_entry(&self) -> Option<u64> {
        Some(self.start_entry.swap(NOWHERE, Ordering::SeqCst)).filter(|entry| *entry != NOWHERE)
    }

    /// Marks that a guest is about to run. Returns false, and clears the mark, if a request is posted.
    #[inline]
    pub(crate) fn enter_guest(&self) -> bool {
        self.in_guest.store(true, Ordering::SeqCst);
        if self.has_requests() {
            self.leave_guest();
            return false;
        }
        true
    }

    /// Marks that the guest has stopped.
    #[inline]
    pub(crate) fn leave_guest(&self) {
        self.in_guest.store(false, Ordering::Release);
    }

    /// Adds `exits` to the count of a class. Only the PP itself calls it.
    #[inline]
    pub(crate) fn count(&self, class: ExitClass, exits: u64) {
        let counter = &self.counts[class as usize];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(exits), Ordering::Relaxed);
    }

    /// The number of exits of all classes.
    pub(crate) fn all_exits(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }

    /// The number of exits of a class.
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
        mailbox.set_state(PpState::Offline);
        mailbox.post_start(1);
        assert!(mailbox.claim_start());
        assert_eq!(mailbox.take_requests(), 0, "what came before does not count");
        assert!(!mailbox.claim_start());
        assert_eq!(mailbox.state(), PpState::Starting);
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

//! The machine: what its processors share, and what a test may look at or break.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use plinth_hal::page_table::MemoryType;
use plinth_hal::{Event, PAGE_SIZE, PhysicalMemory, ProcessorEvent, Spa};

use crate::RootState;
use crate::extension::Extension;
use crate::ram::Ram;

/// End of the memory that the machine's map shows.
pub const MEMORY_END: u64 = 32 << 20;
/// End of the physical address space.
pub const PHYSICAL_END: u64 = 1 << 40;
/// Memory that the machine's map does not show.
pub const HIGH_MEMORY: Range<u64> = 4 << 30..(4 << 30) + (1 << 20);
/// What the loader gave to the hypervisor.
pub const RESERVATION: Range<u64> = 8 << 20..16 << 20;
/// The page below all others that the loader gave to the hypervisor.
pub const LOW_PAGE: u64 = 0x9000;
/// The page by which guests start and stop processors.
pub const CONTROL_PAGE: u64 = 31 << 20;
/// The lowest of the extension's addresses.
pub const USER_BASE: u64 = 1 << 46;
/// A system register whose accesses always exit.
pub const OWNED_REGISTER: u64 = 0x17;
/// Bit of ID leaf [`FEATURE_LEAF`] in its first result: this processor can run guests.
pub const VIRTUALIZATION: u32 = 1 << 2;
/// The ID leaf with the processor's features.
pub const FEATURE_LEAF: u32 = 1;

/// Ticks of the counter per second: so many that looks at it, which take one each, do not make time fly.
pub(crate) const FREQUENCY: u64 = 50_000_000;

const PROCESSORS: usize = 8;

/// How long anything in a test may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a slow kick takes.
const SLOW_KICK: Duration = Duration::from_millis(20);
/// How long a slow reset takes.
const SLOW_RESET: Duration = Duration::from_millis(5);

/// The number of the devices' interrupt.
pub const DEVICE_INTERRUPT: u8 = 0xD0;

/// Something that a guest program left for the test to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// A value that it reported.
    Value(u64),
    /// An event that was delivered to it.
    Event(Event),
    /// An interrupt that it has taken; of a device's, [`DEVICE_INTERRUPT`].
    Interrupt(u8),
}

/// Faults that a test puts into the machine or into the backend.
#[derive(Debug, Default)]
pub struct Trouble {
    /// The next kick does not arrive.
    pub loses_kick: AtomicBool,
    /// A kick to another processor takes its time to arrive.
    pub delays_kicks: AtomicBool,
    /// The backend forgets to flush TLBs.
    pub ignores_flushes: AtomicBool,
    /// The backend forgets to mark state as changed.
    pub ignores_marks: AtomicBool,
    /// Processors, by number, that refuse to enter any VS.
    pub refuses_entry: AtomicU64,
    /// Interrupts take many instructions to arrive at a running guest, so that a sender that does not wait is
    /// found out.
    pub slow_interrupts: AtomicBool,
    /// The bare machine cannot take a VS back.
    pub refuses_promotion: AtomicBool,
    /// Processors whose VS waits for a start are turned off, not taken back.
    pub turns_off: AtomicBool,
    /// Processors, by number, on which the kernel has failed while a guest ran.
    pub dead: AtomicU64,
    /// The machine cannot start a processor.
    pub refuses_start: AtomicBool,
    /// Processors do not hear the first call that starts them.
    pub misses_first_start: AtomicBool,
    /// What resets a processor takes its time, and the processor may hear another call meanwhile.
    pub slow_reset: AtomicBool,
}

/// Why a processor's thread ends without leaving the hypervisor: the payload of its unwinding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerLoss {
    /// The test is over.
    Off,
    /// The machine was restarted.
    Reset,
}

/// What other processors can reach of one.
#[derive(Default)]
struct Line {
    interrupt: AtomicBool,
    device: AtomicBool,
    asleep: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
    /// How its program has ended.
    ended: Mutex<Option<RootState>>,
}

/// What happens before a read of so many bytes at an address.
type ReadHook = Box<dyn Fn(Spa, usize) + Send + Sync>;

/// What starts a processor, by its number.
type ColdStart = Box<dyn Fn(usize) + Send + Sync>;

/// The machine.
pub struct Machine {
    /// Its memory.
    pub ram: Ram,
    /// What is broken about it.
    pub trouble: Trouble,
    pub(crate) extension: OnceLock<Extension>,
    lines: [Line; PROCESSORS],
    loss: OnceLock<PowerLoss>,
    trace: Mutex<Vec<Trace>>,
    registers: Mutex<BTreeMap<u64, u64>>,
    ports: Mutex<BTreeMap<u64, u64>>,
    uncached: Mutex<Range<u64>>,
    device_writes: Mutex<Vec<u64>>,
    forwarded: Mutex<Vec<ProcessorEvent>>,
    cold_start: OnceLock<ColdStart>,
    /// Processors, by number, that have heard a call to start; never cleared by the kernel's failure to launch them.
    heard: AtomicU64,
    /// How often a processor has heard such a call.
    cold_starts: AtomicU64,
    states: AtomicU64,
    ticks: AtomicU64,
    /// The kernel has a window to page 0.
    page_zero: AtomicBool,
    /// What the kernel has had written back from the caches, in that order.
    written_back: Mutex<Vec<Range<u64>>>,
    read_hook: OnceLock<ReadHook>,
}

/// Locks, whatever became of a thread that held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// A machine whose kernel may write to `pool`. It lives for ever, as machines do.
    pub fn new(pool: Range<u64>) -> &'static Self {
        let banks = [0..CONTROL_PAGE, CONTROL_PAGE + PAGE_SIZE..MEMORY_END, HIGH_MEMORY];
        Box::leak(Box::new(Self {
            ram: Ram::new(&banks, pool),
            trouble: Trouble::default(),
            extension: OnceLock::new(),
            lines: Default::default(),
            loss: OnceLock::new(),
            trace: Mutex::default(),
            registers: Mutex::new((0..0x20).map(|register| (register, register << 8)).collect()),
            ports: Mutex::default(),
            uncached: Mutex::default(),
            device_writes: Mutex::default(),
            forwarded: Mutex::default(),
            cold_start: OnceLock::new(),
            heard: AtomicU64::new(0),
            cold_starts: AtomicU64::new(0),
            states: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            page_zero: AtomicBool::new(false),
            written_back: Mutex::default(),
            read_hook: OnceLock::new(),
        }))
    }

    /// The interrupt controller's id of processor `number`: anything but its number.
    pub const fn hardware_id(number: usize) -> u32 {
        10 + 3 * number as u32
    }

    /// What the machine's counter shows; never the same twice.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// The processor's own answer to an ID read.
    pub const fn id_answer(leaf: u32, subleaf: u32) -> [u32; 4] {
        let first = if leaf == FEATURE_LEAF { VIRTUALIZATION | 1 } else { leaf.wrapping_mul(0x11) };
        [first, subleaf, 0xB0B0, 0xC0C0]
    }

    /// What the counter shows without being looked at.
    pub(crate) fn now(&self) -> u64 {
        self.ticks.load(Ordering::SeqCst)
    }

    /// Lets time pass, which it does not do by itself.
    pub fn pass(&self, time: Duration) {
        self.ticks.fetch_add(time.as_micros() as u64 * (FREQUENCY / 1_000_000), Ordering::SeqCst);
    }

    /// A non-maskable interrupt for the processor with that id.
    pub fn interrupt(&self, hardware_id: u32) {
        let line = self.line(hardware_id);
        line.interrupt.store(true, Ordering::SeqCst);
        let _guard = lock(&line.lock);
        line.wake.notify_all();
    }

    /// The same, once it has been on its way for a while.
    pub(crate) fn interrupt_later(&'static self, hardware_id: u32) {
        std::thread::spawn(move || {
            std::thread::sleep(SLOW_KICK);
            self.interrupt(hardware_id);
        });
    }

    /// Whether an interrupt is pending; it no longer is.
    pub(crate) fn take_interrupt(&self, hardware_id: u32) -> bool {
        self.line(hardware_id).interrupt.swap(false, Ordering::SeqCst)
    }

    /// Raises a processor's interrupt of devices, or takes it back. Returns whether it was raised.
    pub fn set_device_interrupt(&self, hardware_id: u32, on: bool) -> bool {
        self.line(hardware_id).device.swap(on, Ordering::SeqCst)
    }

    /// Whether an interrupt of a device's is pending.
    pub(crate) fn is_device_waiting(&self, hardware_id: u32) -> bool {
        self.line(hardware_id).device.load(Ordering::SeqCst)
    }

    /// Whether an interrupt is pending.
    pub fn is_interrupted(&self, hardware_id: u32) -> bool {
        self.line(hardware_id).interrupt.load(Ordering::SeqCst)
    }

    /// Sleeps until an interrupt is pending, or `wake`.
    pub(crate) fn sleep(&self, hardware_id: u32, wake: impl Fn() -> bool) {
        let line = self.line(hardware_id);
        let mut guard = lock(&line.lock);
        while !wake() && !line.interrupt.load(Ordering::SeqCst) {
            self.check_power();
            line.asleep.store(true, Ordering::SeqCst);
            let waited = line.wake.wait_timeout(guard, Duration::from_millis(5));
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        line.asleep.store(false, Ordering::SeqCst);
    }

    /// What the kernel has had written back from the caches since it was last asked.
    pub fn take_written_back(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *lock(&self.written_back))
    }

    /// Has `hook` called whenever the kernel is about to read so many bytes at an address: a processor may be slow there.
    pub fn before_reads(&self, hook: impl Fn(Spa, usize) + Send + Sync + 'static) {
        let _ = self.read_hook.set(Box::new(hook));
    }

    /// Whether a processor sleeps: it has done all that was asked of it.
    pub fn is_asleep(&self, hardware_id: u32) -> bool {
        self.line(hardware_id).asleep.load(Ordering::SeqCst)
    }

    /// A processor's program is over.
    pub(crate) fn end_program(&self, hardware_id: u32, state: RootState) {
        lock(&self.line(hardware_id).ended).get_or_insert(state);
    }

    /// How it has ended, if it is over; once.
    pub(crate) fn take_end(&self, hardware_id: u32) -> Option<RootState> {
        lock(&self.line(hardware_id).ended).take()
    }

    fn line(&self, hardware_id: u32) -> &Line {
        &self.lines[Self::number(hardware_id)]
    }

    const fn number(hardware_id: u32) -> usize {
        (hardware_id as usize - 10) / 3
    }

    /// Ends every processor's thread.
    pub fn lose_power(&self, loss: PowerLoss) {
        let _ = self.loss.set(loss);
    }

    /// Why the power is gone, if it is.
    pub fn power_loss(&self) -> Option<PowerLoss> {
        self.loss.get().copied()
    }

    /// Ends the calling processor's thread if the power is gone.
    pub(crate) fn check_power(&self) {
        if let Some(loss) = self.power_loss() {
            std::panic::resume_unwind(Box::new(loss));
        }
    }

    /// Adds to the trace.
    pub(crate) fn record(&self, entry: Trace) {
        lock(&self.trace).push(entry);
    }

    /// What guests have reported so far.
    pub fn trace(&self) -> Vec<Trace> {
        lock(&self.trace).clone()
    }

    /// The values in the trace.
    pub fn values(&self) -> Vec<u64> {
        let value = |entry: &Trace| if let Trace::Value(value) = entry { Some(*value) } else { None };
        lock(&self.trace).iter().filter_map(value).collect()
    }

    /// A system register, if the machine has it.
    pub fn register(&self, register: u64) -> Option<u64> {
        lock(&self.registers).get(&register).copied()
    }

    /// Sets a system register. Returns whether the machine has it.
    pub fn set_register(&self, register: u64, value: u64) -> bool {
        lock(&self.registers).get_mut(&register).map(|there| *there = value).is_some()
    }

    /// What was last written to a port.
    pub fn port(&self, port: u64) -> u64 {
        lock(&self.ports).get(&port).copied().unwrap_or(0xFF)
    }

    /// Writes a port.
    pub fn set_port(&self, port: u64, value: u64) {
        lock(&self.ports).insert(port, value);
    }

    /// Makes a range of memory, in whole pages, the one that is uncached.
    ///
    /// Returns the one before.
    pub(crate) fn set_uncached(&self, range: Range<u64>) -> Range<u64> {
        let range = range.start & !(PAGE_SIZE - 1)..range.end & !(PAGE_SIZE - 1);
        std::mem::replace(&mut *lock(&self.uncached), range)
    }

    /// The type of memory at an address, and to where it is the same.
    pub(crate) fn memory_type(&self, at: Spa) -> (MemoryType, Spa) {
        let Range { start, end } = lock(&self.uncached).clone();
        match at.raw() {
            at if at < start => (MemoryType::WriteBack, Spa::new(start)),
            at if at < end => (MemoryType::Uncached, Spa::new(end)),
            _ => (MemoryType::WriteBack, Spa::new(u64::MAX)),
        }
    }

    /// A write to the control page that starts and stops nothing reaches the device.
    pub(crate) fn write_device(&self, value: u64) {
        lock(&self.device_writes).push(value);
    }

    /// The writes that reached the device behind the control page.
    pub fn device_writes(&self) -> Vec<u64> {
        lock(&self.device_writes).clone()
    }

    pub(crate) fn forward(&self, event: ProcessorEvent) {
        lock(&self.forwarded).push(event);
    }

    /// Says how a processor starts.
    pub(crate) fn on_cold_start(&self, start: impl Fn(usize) + Send + Sync + 'static) {
        let _ = self.cold_start.set(Box::new(start));
    }

    /// Resets a processor, and calls it to start. Returns whether the machine can.
    pub(crate) fn start_cold(&self, hardware_id: u32) -> bool {
        if self.trouble.refuses_start.load(Ordering::SeqCst) {
            return false;
        }
        if self.trouble.slow_reset.load(Ordering::SeqCst) {
            std::thread::sleep(SLOW_RESET);
        }
        self.heard.fetch_and(!(1 << Self::number(hardware_id)), Ordering::SeqCst);
        if !self.trouble.misses_first_start.load(Ordering::SeqCst) {
            self.call_cold(hardware_id);
        }
        true
    }

    /// Calls a processor to start: only one that waits for it does.
    pub(crate) fn call_cold(&self, hardware_id: u32) {
        let number = Self::number(hardware_id);
        let bit = 1 << number;
        if self.heard.fetch_or(bit, Ordering::SeqCst) & bit == 0
            && let Some(start) = self.cold_start.get()
        {
            self.cold_starts.fetch_add(1, Ordering::SeqCst);
            start(number);
        }
    }

    /// How often a processor has begun to run the kernel because another one called it.
    pub fn cold_starts(&self) -> u64 {
        self.cold_starts.load(Ordering::SeqCst)
    }

    /// What guests wanted done to processors that do not run under the hypervisor.
    pub fn forwarded(&self) -> Vec<ProcessorEvent> {
        lock(&self.forwarded).clone()
    }

    /// A number that no VS had before.
    pub(crate) fn next_state(&self) -> u64 {
        self.states.fetch_add(1, Ordering::Relaxed)
    }
}

/// Waits, yielding, until `done`; panics after a while and ends with the power.
pub(crate) fn wait_until(machine: &Machine, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        machine.check_power();
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::yield_now();
    }
}

/// The kernel's way to the memory.
#[derive(Clone, Copy)]
pub struct Memory(pub &'static Machine);

impl Memory {
    /// Whether the kernel can access memory at `at`: page 0 only by its window.
    fn is_outside(&self, at: Spa) -> bool {
        self.0.ram.has(at) && (at.raw() >= PAGE_SIZE || self.0.page_zero.load(Ordering::SeqCst))
    }
}

impl PhysicalMemory for Memory {
    fn read_u64(&self, at: Spa) -> u64 {
        self.0.ram.load(at)
    }

    fn write_u64(&self, at: Spa, value: u64) {
        self.0.ram.check_pool(at, 8);
        self.0.ram.store(at, value);
    }

    fn read_bytes(&self, at: Spa, buffer: &mut [u8]) {
        if let Some(hook) = self.0.read_hook.get() {
            hook(at, buffer.len());
        }
        self.0.ram.load_bytes(at, buffer);
    }

    fn write_bytes(&self, at: Spa, bytes: &[u8]) {
        self.0.ram.check_pool(at, bytes.len() as u64);
        self.0.ram.store_bytes(at, bytes);
    }

    fn read_outside_u64(&self, at: Spa) -> Option<u64> {
        self.is_outside(at).then(|| self.0.ram.load(at))
    }

    fn read_outside(&self, at: Spa, buffer: &mut [u8]) -> bool {
        let there = self.is_outside(at);
        if there {
            self.0.ram.load_bytes(at, buffer);
        }
        there
    }

    fn write_outside(&self, at: Spa, bytes: &[u8]) -> bool {
        let reserved = at.raw() < RESERVATION.end && at.raw() + bytes.len() as u64 > RESERVATION.start;
        assert!(!reserved, "the kernel writes to the reservation at {at} as if it were the root VM's");
        let there = self.is_outside(at);
        if there {
            self.0.ram.store_bytes(at, bytes);
        }
        there
    }

    fn zero_page(&self, frame: Spa) {
        assert!(frame.is_aligned(PAGE_SIZE), "{frame} is no page");
        for offset in (0..PAGE_SIZE).step_by(8) {
            self.write_u64(Spa::new(frame.raw() + offset), 0);
        }
    }

    fn write_back(&self, at: Spa, size: u64) {
        self.0.ram.check_pool(at, size);
        lock(&self.0.written_back).push(at.raw()..at.raw() + size);
    }

    fn map_page_zero(&self, window: Spa) {
        self.0.ram.check_pool(window, PAGE_SIZE);
        self.0.page_zero.store(true, Ordering::SeqCst);
    }
}

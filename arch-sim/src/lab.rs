//! A machine with the kernel on it, played by the loader: the place where a test begins.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plinth_extension_api::abi::{ExitClass, GENERAL_REGISTERS};
use plinth_hal::{PAGE_SIZE, Spa, SpaRange, UserVa};
use plinth_kernel::logger::{Connections, Console, LOGGER, Origin};
use plinth_kernel::{Departure, Entry, Kernel, Platform, PpResources, PrepareError};
use plinth_launch::image::Machine as ImageMachine;
use plinth_launch::{
    LaunchInfo, LaunchStatus, MAGIC, Range, SEGMENT_EXECUTE, SEGMENT_WRITE, Segment, VERSION,
};

use crate::cpu::SimCpu;
use crate::extension::Extension;
use crate::format::SimFormat;
use crate::image::ExtensionImage;
use crate::isa::{Op, SIZE};
use crate::machine::{
    CONTROL_PAGE, LOW_PAGE, MEMORY_END, Machine, Memory, PHYSICAL_END, PowerLoss, RESERVATION, USER_BASE,
    lock,
};
use crate::{RootState, Sim};

/// Of the kernel's code, the part by which the extension is entered and left.
pub const ENTRY_CODE: SpaRange = SpaRange::new(Spa::new(RESERVATION.start), PAGE_SIZE);
/// Pages of each processor's own for the backend, which entering and leaving takes.
pub const BACKEND_PAGES: usize = 1;
/// Where the pool begins: the kernel's image is below it.
const POOL: u64 = RESERVATION.start + 0x10000;
/// Where the program of a processor's root VS lies; each has a page of its own.
const PROGRAMS: u64 = 0x10_0000;
/// Stack for making a kernel, in bytes.
const KERNEL_STACK: usize = 64 << 20;
/// How many entries of the trace a test that hangs shows.
const SHOWN: usize = 20;
/// How long a test may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a test may choose.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Pages in the kernel's pool.
    pub pool_pages: u64,
    /// The extension's file.
    pub image: ExtensionImage,
    /// Random bits.
    pub entropy: u64,
    /// The launch contract's memory end, in bytes.
    pub memory_end: u64,
    /// How many processors the loader launches.
    pub launched: usize,
    /// How many more there are, which the root VM may start.
    pub cold: usize,
    /// The kernel's own options.
    pub command_line: &'static str,
    /// The extension has tables of its own.
    pub separate_tables: bool,
}

impl Setup {
    /// The loader launches one processor; the root VM may start `cold` more, by numbers from 1 on.
    pub fn with_cold(cold: usize) -> Self {
        Self { launched: 1, cold, ..Self::default() }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pool_pages: 900,
            image: ExtensionImage::default(),
            entropy: 0x1234,
            memory_end: MEMORY_END,
            launched: 4,
            cold: 0,
            command_line: "",
            separate_tables: false,
        }
    }
}

/// How a processor's time under the hypervisor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It never began; the state is what the launch was called with.
    Abandoned(LaunchStatus, RootState),
    /// The bare machine goes on from there.
    Promoted(RootState),
    /// It has come to the end of its program, and stays there under the hypervisor.
    Done(RootState),
    /// The machine stopped.
    PowerLost(PowerLoss),
}

/// The machine, the kernel on it, and the processors at work.
pub struct Lab {
    /// The machine.
    pub machine: &'static Machine,
    /// The kernel.
    pub kernel: &'static Kernel<Sim>,
    running: Running,
}

/// A way into the kernel's loop.
type Run = fn(&Kernel<Sim>, PpResources, SimCpu, RootState) -> Departure<Sim>;

/// The processors' threads, in the order in which they began.
type Running = Arc<Mutex<Vec<(usize, JoinHandle<Ended>)>>>;

impl Lab {
    /// A machine on which `extension` is going to run.
    pub fn new(extension: Extension) -> Self {
        Self::with(&Setup::default(), extension).expect("the ordinary setup is right")
    }

    /// The same with another setup.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn with(setup: &Setup, extension: Extension) -> Result<Self, PrepareError> {
        start_log();
        let machine = Machine::new(POOL..POOL + setup.pool_pages * PAGE_SIZE);
        let _ = machine.extension.set(extension);
        let kernel = make_kernel();
        kernel.prepare(platform(machine, setup))?;
        for pp in 1..=setup.cold {
            kernel.prepare_pp(pp, BACKEND_PAGES)?;
            kernel.expect_pp(pp, Machine::hardware_id(pp))?;
        }
        let running = Running::default();
        let started = Arc::downgrade(&running);
        machine.on_cold_start(move |pp| {
            let Some(running) = started.upgrade() else { return };
            lock(&running)
                .push((pp, std::thread::spawn(move || run_processor(kernel, machine, pp, Kernel::run_pp))));
        });
        Ok(Self { machine, kernel, running })
    }

    /// Where the program of a processor's root VS lies.
    pub const fn program_of(pp: usize) -> u64 {
        PROGRAMS + pp as u64 * PAGE_SIZE
    }

    /// The state of the OS on a processor at launch: about to run its program.
    pub fn root_state(pp: usize) -> RootState {
        let registers = std::array::from_fn(|register| (pp * 100 + register) as u64);
        RootState { instruction_pointer: Self::program_of(pp), registers }
    }

    /// Puts a program into memory.
    pub fn load(&self, at: u64, program: &[Op]) {
        load(self.machine, at, program);
    }

    /// Launches a processor whose OS goes on with `program`. Returns once it is the root VM, or has ended.
    ///
    /// # Panics
    /// If neither happens in time.
    pub fn launch(&mut self, pp: usize, program: &[Op]) {
        self.bring_up(pp, program, Kernel::run_pp);
    }

    /// The same for a processor that the root VM starts by a call of the firmware's, which the backend interposes.
    ///
    /// # Panics
    /// As [`Lab::launch`].
    pub fn start_by_call(&mut self, pp: usize, program: &[Op]) {
        self.bring_up(pp, program, Kernel::run_called_pp);
    }

    fn bring_up(&mut self, pp: usize, program: &[Op], run: Run) {
        self.load(Self::program_of(pp), program);
        let before = self.kernel.launched_pps();
        let (kernel, machine) = (self.kernel, self.machine);
        let handle = std::thread::spawn(move || run_processor(kernel, machine, pp, run));
        let start = Instant::now();
        while self.kernel.launched_pps() <= before && !handle.is_finished() {
            assert!(start.elapsed() < PATIENCE, "processor {pp} neither launched nor failed");
            std::thread::sleep(Duration::from_micros(50));
        }
        lock(&self.running).push((pp, handle));
    }

    /// Waits until a processor has left the hypervisor, or has come to the end of its program.
    ///
    /// # Panics
    /// If it does not, or with the panic that it ended by.
    pub fn end(&mut self, pp: usize) -> Ended {
        let start = Instant::now();
        loop {
            let mut running = lock(&self.running);
            // One that the root VM starts may be on its way still.
            let position = running.iter().position(|(running, _)| *running == pp);
            let finished = position.filter(|position| running[*position].1.is_finished());
            if let Some(position) = finished {
                let (_, handle) = running.remove(position);
                return handle.join().unwrap_or_else(|payload| resume_unwind(payload));
            }
            drop(running);
            if let Some(state) = self.machine.take_end(Machine::hardware_id(pp)) {
                return Ended::Done(state);
            }
            assert!(position.is_some() || start.elapsed() < PATIENCE, "processor {pp} was never launched");
            if start.elapsed() > PATIENCE {
                self.machine.lose_power(PowerLoss::Off);
                let trace = self.machine.trace();
                let last = &trace[trace.len().saturating_sub(SHOWN)..];
                panic!("processor {pp} hangs; exits {:?}; end of the trace {last:?}", self.counts(pp));
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Launches one processor with `program` and waits until it is done.
    pub fn run(&mut self, program: &[Op]) -> Ended {
        self.launch(0, program);
        self.end(0)
    }

    /// The exits on a processor, by class.
    fn counts(&self, pp: usize) -> Vec<(ExitClass, u64)> {
        let counts = ExitClass::ALL.iter().map(|class| (*class, self.exits(pp, *class)));
        counts.filter(|(_, exits)| *exits != 0).collect()
    }

    /// Exits of a class on a processor.
    pub fn exits(&self, pp: usize, class: ExitClass) -> u64 {
        self.kernel.exit_count(pp, class)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.machine.lose_power(PowerLoss::Off);
    }
}

/// The log's level where the environment says nothing: information.
const LOG_LEVEL: u64 = 3;

/// The kernel's log, which all machines of a test program share; on standard error too, if the environment asks for it:
/// `SIM_LOG=4` for a test that fails.
fn start_log() {
    let level = std::env::var("SIM_LOG").ok().and_then(|level| level.parse().ok());
    let console = level.map(|_| &StandardError as &dyn Console);
    let connections = Connections { console, origin: Some(&Here), mirror: None };
    LOGGER.start(level.unwrap_or(LOG_LEVEL), connections);
}

thread_local! {
    /// The processor that the thread plays.
    static HERE: Cell<Option<(&'static Machine, usize)>> = const { Cell::new(None) };
}

/// The processor that runs this.
struct Here;

impl Origin for Here {
    fn counter(&self) -> u64 {
        HERE.get().map_or(0, |(machine, _)| machine.now())
    }

    fn pp(&self) -> Option<usize> {
        HERE.get().map(|(_, pp)| pp)
    }
}

struct StandardError;

impl Console for StandardError {
    fn write(&self, bytes: &[u8]) {
        eprint!("{}", String::from_utf8_lossy(bytes));
    }
}

/// A kernel: a static on real machines, and too large for a test's stack.
fn make_kernel() -> &'static Kernel<Sim> {
    let make = || -> &'static Kernel<Sim> { Box::leak(Box::default()) };
    let maker = std::thread::Builder::new().stack_size(KERNEL_STACK).spawn(make);
    maker.expect("a thread is to be had").join().expect("a kernel that has not launched touches nothing")
}

/// Puts a program into a machine's memory.
pub fn load(machine: &Machine, at: u64, program: &[Op]) {
    for (index, op) in program.iter().enumerate() {
        for (word, value) in op.encode().into_iter().enumerate() {
            machine.ram.store(Spa::new(at + index as u64 * SIZE + word as u64 * 8), value);
        }
    }
}

fn platform(machine: &'static Machine, setup: &Setup) -> Platform<Sim> {
    Platform {
        info: contract(setup),
        command_line: setup.command_line.as_bytes(),
        extension: Vec::leak(setup.image.bytes()),
        memory: Memory(machine),
        host_format: if setup.separate_tables { SimFormat::separate() } else { SimFormat::new() },
        nested_format: SimFormat::new(),
        elf_machine: ImageMachine::X86_64,
        physical_end: PHYSICAL_END,
        devices: [Some(SpaRange::new(Spa::new(CONTROL_PAGE), PAGE_SIZE)), None, None, None],
        trapped: SpaRange::new(Spa::new(CONTROL_PAGE), PAGE_SIZE).into(),
        start_page: (setup.cold != 0).then_some(Spa::new(LOW_PAGE)),
        user_base: UserVa::new(USER_BASE),
        entry: Entry { code: ENTRY_CODE, pages: BACKEND_PAGES },
    }
}

fn contract(setup: &Setup) -> LaunchInfo {
    let mut info = LaunchInfo {
        magic: MAGIC,
        version: VERSION,
        reservation: Range { start: RESERVATION.start, size: RESERVATION.end - RESERVATION.start },
        kernel_segment_count: 2,
        pool: Range { start: POOL, size: setup.pool_pages * PAGE_SIZE },
        memory_end: setup.memory_end,
        low_page: Range { start: LOW_PAGE, size: PAGE_SIZE },
        pp_count: setup.launched as u64,
        entropy: [setup.entropy; 4],
        ..LaunchInfo::default()
    };
    let segment =
        |at: u64, flags| Segment { range: Range { start: RESERVATION.start + at, size: 0x4000 }, flags };
    info.kernel_segments[0] = segment(0, SEGMENT_EXECUTE);
    info.kernel_segments[1] = segment(0x4000, SEGMENT_WRITE);
    info
}

/// What a loader's call of the kernel's entry does, on the processor's own thread.
fn run_processor(kernel: &'static Kernel<Sim>, machine: &'static Machine, pp: usize, run: Run) -> Ended {
    let root = Lab::root_state(pp);
    HERE.set(Some((machine, pp)));
    let resources = match kernel.prepare_pp(pp, BACKEND_PAGES) {
        Ok(resources) => resources,
        Err(error) => return Ended::Abandoned(error.into(), root),
    };
    let cpu = SimCpu::new(machine, pp, resources.user_root);
    let departed = catch_unwind(AssertUnwindSafe(|| run(kernel, resources, cpu, root)));
    match departed {
        Ok(Departure::Abandon(status, root)) => Ended::Abandoned(status, root),
        Ok(Departure::Promote(vs, registers)) => {
            let registers: [u64; GENERAL_REGISTERS] = registers.take(std::array::from_fn(|number| number));
            Ended::Promoted(RootState { instruction_pointer: vs.instruction_pointer, registers })
        }
        Err(payload) => match payload.downcast::<PowerLoss>() {
            Ok(loss) => Ended::PowerLost(*loss),
            Err(payload) => resume_unwind(payload),
        },
    }
}

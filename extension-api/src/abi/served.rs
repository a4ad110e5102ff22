//! What the kernel tells the root VM's kernel about itself, by the hypercalls that it answers without the extension.
//!
//! Every structure is little endian and without gaps. The two that may grow begin with their size in bytes: a reader takes as
//! much as it knows, and what is beyond the size that it finds is not there.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::table::{constants, layout};

layout! {
    /// What [`HYPERCALL_STATUS`](super::HYPERCALL_STATUS) writes: the hypervisor as a whole.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
    MachineStatus as MACHINE_STATUS {
        /// Bytes of this structure.
        size: u32,
        /// The newest version of the ABI that the kernel serves.
        abi_version: u32,
        /// The kernel's release: UTF-8, filled up with zeroes.
        release: [u8; 16],
        /// `BACKEND_SVM` and the like.
        backend: u32,
        /// `MAY_STOP_ALWAYS` and the like.
        may_stop: u32,
        /// How many numbers of PPs there are, from 0 on; of some there may be no processor.
        pps: u32,
        /// How many PPs run under the hypervisor.
        launched: u32,
        /// The machine's counter now, which each record of the log and of a trace tells too.
        counter: u64,
        /// The counter when the first PP was launched.
        launched_at: u64,
        /// The counter's ticks per second; 0 where the machine does not say.
        frequency: u64,
        /// Bytes of the pool that the kernel hands out.
        pool: u64,
        /// Bytes of it that are free.
        pool_free: u64,
        /// VMs that there are, the root VM included.
        vms: u32,
        /// VPs that there are.
        vps: u32,
        /// VSs that there are.
        vss: u32,
        /// `EXTENSION_RUNNING` and the like.
        extension: u32,
        /// Bytes of the extension's file.
        extension_size: u64,
        /// The SHA-256 of the extension's file.
        extension_hash: [u8; 32],
        /// Why the extension is gone, where it is: UTF-8, filled up with zeroes.
        extension_end: [u8; 128],
        /// The cursor of the oldest record of the log.
        log_oldest: u64,
        /// The cursor of the next record of the log.
        log_newest: u64,
        /// The classes of exits that are traced, a bit for each; 0 while nothing is.
        traced: u64,
        /// How many records of its trace each PP keeps; 0 before the first trace.
        trace_records: u64,
    }
}

layout! {
    /// What [`HYPERCALL_PP_STATUS`](super::HYPERCALL_PP_STATUS) writes: one PP.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
    PpStatus as PP_STATUS {
        /// Bytes of this structure.
        size: u32,
        /// The PP's number.
        pp: u32,
        /// `PP_LAUNCHED` and the like.
        standing: u32,
        /// The interrupt controller's id of it: APIC id, MPIDR affinity; `0xFFFF_FFFF` while nobody has told.
        hardware_id: u32,
        /// 1 where it has not answered another PP in time, and has not been heard of since.
        is_lost: u32,
        /// How many of `exits` count.
        exit_classes: u32,
        /// Exits of each class.
        exits: [u64; 32],
        /// The cursor of the oldest record of its trace.
        trace_oldest: u64,
        /// The cursor of the next record of its trace.
        trace_newest: u64,
    }
}

layout! {
    /// What stands before the text of each record of the log. The text is UTF-8 without a line's end, and filled up with
    /// zeroes to a multiple of 8 bytes. A record's cursor counts the bytes of all before it, back to the launch.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
    LogRecord as LOG_RECORD {
        /// The machine's counter.
        counter: u64,
        /// The PP that has written it; `0xFFFF` for a processor that is none yet.
        pp: u16,
        /// 1 error, 2 warning, 3 information, 4 debug, 5 trace.
        level: u16,
        /// Bytes of the text, without the zeroes behind it.
        length: u32,
    }
}

layout! {
    /// The first bytes of the log's copy in the OS's own memory, which the kernel keeps up where the launch contract names some.
    ///
    /// The ring begins 4096 bytes behind the first of these; the byte that a cursor counts is at the cursor modulo `capacity` in it.
    /// Whoever reads takes `newest`, then `oldest`, copies what is between, and takes `oldest` again: what is older by then may be
    /// overwritten. That holds while the hypervisor runs, after a crash and when it is gone.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
    LogCopy as LOG_COPY {
        /// The text `PLINTHLG`; written last.
        magic: [u8; 8],
        /// Bytes of the ring.
        capacity: u64,
        /// The cursor of the oldest record that is whole.
        oldest: u64,
        /// The cursor of the next record.
        newest: u64,
    }
}

layout! {
    /// An exit of the root VM's. A record's cursor is its number: the PP's first is 0.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
    TraceRecord as TRACE_RECORD {
        /// The machine's counter when the VS had exited.
        counter: u64,
        /// As in the exit page; of an ID read or a hypercall the first general register (x86: RAX, the CPUID leaf).
        number: u64,
        /// Address of the instruction that exited.
        instruction_pointer: u64,
        /// Ticks of the counter from then until a VS was about to run again; the most that fits where it took longer.
        duration: u32,
        /// As in the exit page, as much of it as fits.
        detail: u16,
        /// The exit's class.
        class: u16,
    }
}

/// What [`LogCopy::magic`] holds.
pub const LOG_MAGIC: [u8; 8] = *b"PLINTHLG";

constants! {
    /// What numbers in what the kernel tells about itself mean.
    SERVED:
    /// No processor's: the kernel is under test.
    BACKEND_SIMULATED = 0;
    /// AMD SVM.
    BACKEND_SVM = 1;
    /// Intel VMX.
    BACKEND_VMX = 2;
    /// ARMv8 EL2.
    BACKEND_EL2 = 3;
    /// Who may stop the hypervisor: the root VM's kernel, whatever the extension says.
    MAY_STOP_ALWAYS = 0;
    /// Who may stop the hypervisor: the extension, and the root VM's kernel where it is gone.
    MAY_STOP_EXTENSION = 1;
    /// Who may stop the hypervisor: nobody.
    MAY_STOP_NEVER = 2;
    /// The extension's start has not ended.
    EXTENSION_STARTING = 0;
    /// The extension runs.
    EXTENSION_RUNNING = 1;
    /// The extension is gone: it faulted.
    EXTENSION_FAULTED = 2;
    /// The extension is gone: it asked to exit.
    EXTENSION_EXITED = 3;
    /// The extension is gone: it did not return in time.
    EXTENSION_OVERDUE = 4;
    /// The extension is gone: it left a callback in a way that it may not.
    EXTENSION_MISUSED = 5;
    /// The PP is not there, or has left the hypervisor.
    PP_OUTSIDE = 0;
    /// The machine has the PP, and the root VM has not started it yet.
    PP_COLD = 1;
    /// The root VM has started the PP; it is on its way.
    PP_STARTING = 2;
    /// The PP runs under the hypervisor.
    PP_LAUNCHED = 3;
    /// The PP has stopped for good.
    PP_FAILED = 4;
    /// Where the ring of the log's copy begins, in bytes.
    LOG_COPY_RING = 4096;
    /// Bytes of the log's ring, in the kernel and in the copy.
    LOG_CAPACITY = 64 * 1024;
    /// The most bytes of a record's text.
    LOG_TEXT = 400;
    /// The PP of a record that none has written.
    LOG_NO_PP = 0xFFFF;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_each_of_them() {
        const PAGE: usize = 4096;
        assert!(size_of::<MachineStatus>() <= PAGE && size_of::<PpStatus>() <= PAGE);
        assert_eq!((size_of::<LogRecord>(), size_of::<TraceRecord>()), (16, 32));
        assert!(size_of::<LogRecord>() as u64 + LOG_TEXT <= PAGE as u64);
        assert!(LOG_CAPACITY.is_power_of_two() && size_of::<LogCopy>() as u64 <= LOG_COPY_RING);
    }

    #[test]
    fn every_class_has_its_bit_and_its_count() {
        const { assert!(crate::abi::EXIT_CLASSES <= 32) };
    }
}

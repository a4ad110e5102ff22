//! Watches a page of the running OS: what is not allowed on it exits, is logged with the address of the
//! instruction, is let through by itself, and the page is watched again.
//!
//! The page is the one with the OS's system call entry, which rootkits like to patch: it may be run unseen, but not
//! written, nor read where the machine has such pages. Or the OS names one by hypercall.
//!
//! The VM's own tables have the page restricted, and all VSs use them. The one that met the restriction sees the
//! memory by a view in which nothing is restricted, for one instruction. Other processors stay watched meanwhile.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use plinth_extension_api::abi::{MemoryAccess, Permissions, register};
use plinth_extension_api::{Exit, ExitClass, Extension, Failure, Plinth, Resume, ViewId, VmId};
use plinth_extension_api::{extension, log, passthrough};
use plinth_extension_page_hook::{HOOK, REFUSED, UNHOOK, WHERE};

const PAGE: u64 = 4096;
const NO_PAGE: u64 = u64::MAX;

/// How many hits of a page are logged.
const LOGGED: u64 = 32;

/// Where programs enter the OS's kernel (AMD64 APM vol. 2, 6.1.1; Arm ARM, VBAR_EL1).
const ENTRY: u64 =
    if cfg!(target_arch = "aarch64") { register::ARM_SYSTEM + 0xC600 } else { register::X86_LSTAR };

struct PageHook {
    page: AtomicU64,
    /// The OS's system call entry, once seen.
    entry: AtomicU64,
    /// The view without restrictions.
    open: AtomicU64,
    hits: AtomicU64,
    last: AtomicU64,
}

impl Extension for PageHook {
    fn start(&self, plinth: Plinth) -> Result<(), Failure> {
        self.open.store(plinth.vm_view_create(VmId::ROOT)?.raw(), SeqCst);
        plinth.vm_intercept_ids(VmId::ROOT)
    }

    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        let plinth = exit.plinth();
        let done = match exit.class() {
            ExitClass::Memory if exit.number() & !(PAGE - 1) == self.page.load(SeqCst) => self.hit(exit),
            ExitClass::Memory if is_open(exit) => Ok(()),
            ExitClass::Step => watch_again(exit),
            _ if exit.is_hypercall(HOOK) => {
                let hooked = self.hook(plinth, exit.general(ARGUMENT));
                return exit.answer_hypercall(hooked.map_or(REFUSED, |()| 0));
            }
            _ if exit.is_hypercall(UNHOOK) => {
                let hits = self.unhook(plinth);
                return exit.answer_hypercall(hits.unwrap_or(REFUSED));
            }
            _ if exit.is_hypercall(WHERE) => return exit.answer_hypercall(self.last.load(SeqCst)),
            class => {
                if class == ExitClass::IdRead {
                    self.follow_entry(exit);
                }
                return passthrough::vmexit(exit);
            }
        };
        done.map_or(Resume::GiveUp, |()| Resume::Run)
    }
}

impl PageHook {
    fn hook(&self, plinth: Plinth, argument: u64) -> Result<(), Failure> {
        self.unhook(plinth)?;
        let (page, kept) = (argument & !(PAGE - 1), Permissions::from_bits_truncate(argument));
        // Before the page is restricted: another processor may hit it at once.
        self.page.store(page, SeqCst);
        plinth
            .vm_protect(VmId::ROOT, page, PAGE, kept)
            .inspect_err(|failure| {
                log::warn!("page-hook: {page:#x} cannot be restricted to {kept:?}: {failure}")
            })
            .inspect_err(|_| self.page.store(NO_PAGE, SeqCst))
    }

    fn unhook(&self, plinth: Plinth) -> Result<u64, Failure> {
        let page = self.page.load(SeqCst);
        if page != NO_PAGE {
            plinth.vm_protect(VmId::ROOT, page, PAGE, Permissions::all())?;
            self.page.store(NO_PAGE, SeqCst);
        }
        Ok(self.hits.swap(0, SeqCst))
    }

    /// Hooks the page of the OS's system call entry, which is in the upper half of the addresses. An OS reads IDs while it
    /// starts a processor: that is when to look.
    fn follow_entry(&self, exit: &Exit<'_>) {
        let (plinth, vs) = (exit.plinth(), exit.vs());
        let entry = plinth.vs_read(vs, ENTRY).unwrap_or(0);
        if entry >> 63 == 0 || self.entry.load(SeqCst) == entry {
            return;
        }
        let Ok(at) = plinth.vs_translate(vs, entry, MemoryAccess::EXECUTE) else { return };
        self.entry.store(entry, SeqCst);
        log::info!("page-hook: pp {}: system calls enter at {entry:#x}, which is {at:#x}", exit.pp());
        let least = [Permissions::EXECUTE, Permissions::READ | Permissions::EXECUTE];
        least.into_iter().any(|kept| self.hook(plinth, at & !(PAGE - 1) | kept.bits()).is_ok());
    }

    /// Lets one instruction through.
    fn hit(&self, exit: &Exit<'_>) -> Result<(), Failure> {
        let (pp, at, address) = (exit.pp(), exit.instruction_pointer(), exit.number());
        if self.hits.fetch_add(1, SeqCst) < LOGGED {
            log::info!("page-hook: pp {pp}: {at:#x} touches {address:#x} (access {:#x})", exit.detail());
        }
        self.last.store(at, SeqCst);
        exit.plinth().vs_set_view(exit.vs(), ViewId::from_raw(self.open.load(SeqCst)))?;
        exit.plinth().vs_step(exit.vs(), true)
    }
}

/// Whether another processor has unhooked the page meanwhile.
fn is_open(exit: &Exit<'_>) -> bool {
    let mapping = exit.plinth().vm_query(VmId::ROOT, exit.number());
    mapping.is_ok_and(|mapping| mapping.permissions == Permissions::all())
}

fn watch_again(exit: &Exit<'_>) -> Result<(), Failure> {
    exit.plinth().vs_step(exit.vs(), false)?;
    exit.plinth().vs_set_view(exit.vs(), ViewId::OWN)
}

/// The general register with a hypercall's argument: RBX, X1.
const ARGUMENT: usize = if cfg!(target_arch = "aarch64") { 1 } else { 3 };

extension!(
    PageHook = PageHook {
        page: AtomicU64::new(NO_PAGE),
        entry: AtomicU64::new(0),
        open: AtomicU64::new(0),
        hits: AtomicU64::new(0),
        last: AtomicU64::new(0),
    },
    groups: [VM, VP, VS, INTRINSIC]
);

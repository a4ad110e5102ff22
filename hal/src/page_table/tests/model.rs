//! Random operations on a table and on a map of pages, compared page by page after each.

use super::formats::{Canonical, Giant, Large, Shape, StageTwo, Toy};
use super::machine::{Memory, Tlb};
use super::std::collections::BTreeMap;
use super::std::rc::Rc;
use super::std::vec::Vec;
use crate::addr::{PAGE_SIZE, Spa};
use crate::page_table::{Attributes, InputAddress, MapError, MemoryType, PageTable, Permissions};
use proptest::prelude::*;

/// Where a page leads.
pub(super) type Page = (u64, Attributes);

/// One step, in pages of the offset space.
#[derive(Clone, Debug)]
enum Step {
    Map { at: u64, to: u64, pages: u64, attributes: Attributes, budget: Option<usize> },
    Unmap { at: u64, pages: u64, budget: Option<usize> },
    Protect { at: u64, pages: u64, attributes: Attributes, budget: Option<usize> },
    Merge { at: u64, pages: u64 },
    MergeAlong { at: u64, pages: u64 },
}

struct Bench<S: Shape> {
    table: PageTable<Toy<S>>,
    memory: Memory,
    tlb: Tlb,
    model: BTreeMap<u64, Page>,
}

fn total_bits<S: Shape>() -> u32 {
    u32::from(S::LEVELS) * 2 + S::EXTRA
}

/// The raw input address of a page of the offset space; beyond it, one that no table reaches.
fn address<S: Shape>(page: u64) -> u64 {
    let unused = 64 - total_bits::<S>();
    let signed = ((page << unused) as i64 >> unused) as u64;
    if S::SIGNED && page >> total_bits::<S>() == 0 {
        signed.wrapping_mul(PAGE_SIZE)
    } else {
        page * PAGE_SIZE
    }
}

impl<S: Shape> Bench<S> {
    fn new() -> Self {
        let tlb = Tlb::new();
        let mut memory = Memory::new(S::CAREFUL, Rc::clone(&tlb.flushes));
        let table = PageTable::new(&mut memory, Toy::<S>::new()).unwrap();
        Self { table, memory, tlb, model: BTreeMap::new() }
    }

    fn step(&mut self, step: &Step) {
        self.cache_all();
        let frames = self.memory.in_use();
        let (result, budget) = self.apply(step);
        self.memory.budget = usize::MAX;
        let expected = self.expected(step);
        match result {
            Err(MapError::OutOfFrames) => self.ran_out(step, budget, frames),
            _ => assert_eq!(result, expected, "{step:?}"),
        }
        if result.is_ok() {
            self.follow(step);
        }
        self.compare();
    }

    fn ran_out(&self, step: &Step, budget: Option<usize>, frames: usize) {
        assert!(budget.is_some(), "{step:?} ran out of frames that there were");
        assert_eq!(self.expected(step), Ok(()));
        assert!(self.memory.in_use() <= frames, "{step:?} failed and kept frames");
    }

    fn apply(&mut self, step: &Step) -> (Result<(), MapError>, Option<usize>) {
        let Self { table, memory, tlb, .. } = self;
        let input = |page| S::Input::from_raw(address::<S>(page));
        let limit = |memory: &mut Memory, budget: Option<usize>| {
            memory.budget = budget.unwrap_or(usize::MAX);
            budget
        };
        match *step {
            Step::Map { at, to, pages, attributes, budget } => {
                let budget = limit(memory, budget);
                let spa = Spa::new(to * PAGE_SIZE);
                (table.map(memory, tlb, input(at), spa, pages * PAGE_SIZE, attributes), budget)
            }
            Step::Unmap { at, pages, budget } => {
                let budget = limit(memory, budget);
                (table.unmap(memory, tlb, input(at), pages * PAGE_SIZE), budget)
            }
            Step::Protect { at, pages, attributes, budget } => {
                let budget = limit(memory, budget);
                (table.protect(memory, tlb, input(at), pages * PAGE_SIZE, attributes), budget)
            }
            Step::Merge { at, pages } => (table.merge(memory, tlb, input(at), pages * PAGE_SIZE), None),
            Step::MergeAlong { at, pages } => {
                (table.merge_along(memory, tlb, input(at), pages * PAGE_SIZE), None)
            }
        }
    }

    /// What the model says about a step.
    fn expected(&self, step: &Step) -> Result<(), MapError> {
        let (at, pages) = match *step {
            Step::Map { at, pages, .. } | Step::Unmap { at, pages, .. } => (at, pages),
            Step::Protect { at, pages, .. } | Step::Merge { at, pages } => (at, pages),
            Step::MergeAlong { at, pages, .. } => (at, pages),
        };
        let total = 1 << total_bits::<S>();
        let half = total / 2;
        let across = S::SIGNED && at < half && at + pages > half;
        if pages == 0 || at + pages > total || across {
            return Err(MapError::OutOfRange);
        }
        let find = |mapped| (at..at + pages).find(|page| self.model.contains_key(page) == mapped);
        match step {
            Step::Map { .. } => find(true).map_or(Ok(()), |p| Err(MapError::AlreadyMapped(address::<S>(p)))),
            Step::Merge { .. } | Step::MergeAlong { .. } => Ok(()),
            _ => find(false).map_or(Ok(()), |p| Err(MapError::NotMapped(address::<S>(p)))),
        }
    }

    /// Does to the model what was done to the table.
    fn follow(&mut self, step: &Step) {
        match *step {
            Step::Map { at, to, pages, attributes, .. } => {
                self.model.extend((0..pages).map(|i| (at + i, ((to + i) * PAGE_SIZE, attributes))));
            }
            Step::Unmap { at, pages, .. } => self.model.retain(|page, _| !(at..at + pages).contains(page)),
            Step::Protect { at, pages, attributes, .. } => {
                self.model.range_mut(at..at + pages).for_each(|(_, page)| page.1 = attributes);
            }
            Step::Merge { .. } | Step::MergeAlong { .. } => {}
        }
    }

    /// The TLB sees every page that is mapped.
    fn cache_all(&mut self) {
        let seen = self.model.iter().map(|(&page, &mapping)| (address::<S>(page), mapping));
        self.tlb.cached.extend(seen);
    }

    /// Every page leads where the model says, and no cached translation is a lie.
    fn compare(&self) {
        for page in 0..1 << total_bits::<S>() {
            let at = S::Input::from_raw(address::<S>(page) + 0x123);
            let found = self.table.query(&self.memory, at);
            let found = found.map(|mapping| (mapping.spa.raw() - 0x123, mapping.attributes));
            assert_eq!(found, self.model.get(&page).copied(), "page {page:#x}");
            let cached = self.tlb.cached.get(&address::<S>(page));
            assert!(cached.is_none() || cached.copied() == found, "page {page:#x} is stale in the TLB");
        }
    }

    /// Unmaps everything one way or the other, and counts the frames.
    fn end(mut self) {
        if self.model.len().is_multiple_of(2) {
            let pages: Vec<u64> = self.model.keys().copied().collect();
            for at in pages {
                self.step(&Step::Unmap { at, pages: 1, budget: None });
            }
            assert_eq!(self.memory.in_use(), 1 << S::EXTRA, "empty tables were kept");
        }
        self.table.destroy(&mut self.memory);
        assert_eq!(self.memory.in_use(), 0, "frames leaked");
    }
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let permissions = prop_oneof![
        Just(Permissions::READ),
        Just(Permissions::READ | Permissions::WRITE),
        Just(Permissions::READ | Permissions::EXECUTE),
    ];
    let memory = prop_oneof![4 => Just(MemoryType::WriteBack), 1 => Just(MemoryType::Uncached)];
    (permissions, memory).prop_map(|(permissions, memory)| Attributes { permissions, memory })
}

/// Positions and sizes that often, but not always, sit on the boundaries of leaves.
fn position() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..256, (0u64..64).prop_map(|i| i * 4), (0u64..16).prop_map(|i| i * 16)]
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..4, 1u64..40, (1u64..20).prop_map(|i| i * 4), (1u64..12).prop_map(|i| i * 16)]
}

fn budget() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![3 => Just(None), 2 => (0usize..6).prop_map(Some)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (position(), any::<bool>(), 0u64..256, size(), attributes(), budget()).prop_map(
            |(at, same, to, pages, attributes, budget)| {
                Step::Map { at, to: if same { at } else { to }, pages, attributes, budget }
            }),
        2 => (position(), size(), budget()).prop_map(|(at, pages, budget)| Step::Unmap { at, pages, budget }),
        2 => (position(), size(), attributes(), budget()).prop_map(
            |(at, pages, attributes, budget)| Step::Protect { at, pages, attributes, budget }),
        1 => (position(), size()).prop_map(|(at, pages)| Step::Merge { at, pages }),
        1 => (position(), size()).prop_map(|(at, pages)| Step::MergeAlong { at, pages }),
    ]
}

/// Aims steps at what is mapped, so that most of them succeed.
fn aim(step: Step, anchors: &[(u64, u64)]) -> Step {
    let near = |at: u64, pages: u64| match anchors.get(at as usize % (anchors.len() + 1)) {
        Some(&(start, length)) => {
            let inside = start + at % length;
            (inside, pages.min(start + length - inside))
        }
        None => (at, pages),
    };
    match step {
        Step::Unmap { at, pages, budget } => {
            let (at, pages) = near(at, pages);
            Step::Unmap { at, pages, budget }
        }
        Step::Protect { at, pages, attributes, budget } => {
            let (at, pages) = near(at, pages);
            Step::Protect { at, pages, attributes, budget }
        }
        other => other,
    }
}

fn run<S: Shape>(steps: Vec<Step>) {
    let mut bench = Bench::<S>::new();
    let mut anchors = Vec::new();
    for step in steps {
        let step = aim(step, &anchors);
        bench.step(&step);
        if let Step::Map { at, pages, .. } = step
            && pages > 0
        {
            anchors.push((at, pages));
        }
    }
    bench.end();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn giant_leaves(steps in prop::collection::vec(step(), 1..32)) {
        run::<Giant>(steps);
    }

    #[test]
    fn large_leaves(steps in prop::collection::vec(step(), 1..32)) {
        run::<Large>(steps);
    }

    #[test]
    fn stage_two(steps in prop::collection::vec(step(), 1..32)) {
        run::<StageTwo>(steps);
    }

    #[test]
    fn canonical_addresses(steps in prop::collection::vec(step(), 1..32)) {
        run::<Canonical>(steps);
    }
}

#[test]
fn out_of_frames_at_every_point() {
    let rx = Attributes::new(Permissions::READ | Permissions::EXECUTE, MemoryType::WriteBack);
    let rw = Attributes::new(Permissions::READ | Permissions::WRITE, MemoryType::WriteBack);
    for budget in (0..8).map(Some) {
        let mut bench = Bench::<Giant>::new();
        bench.step(&Step::Map { at: 1, to: 2, pages: 70, attributes: rw, budget });
        bench.step(&Step::Map { at: 128, to: 128, pages: 32, attributes: rw, budget: None });
        bench.step(&Step::Protect { at: 134, pages: 16, attributes: rx, budget });
        bench.step(&Step::Unmap { at: 129, pages: 28, budget });
        bench.end();
    }
}

/// Who takes a page away and gives it back, again and again, uses no more frames than who does so once.
#[test]
fn permissions_that_come_back_give_the_tables_back() {
    let rx = Attributes::new(Permissions::READ | Permissions::EXECUTE, MemoryType::WriteBack);
    let rw = Attributes::new(Permissions::READ | Permissions::WRITE, MemoryType::WriteBack);
    let mut bench = Bench::<Giant>::new();
    bench.step(&Step::Map { at: 0, to: 0, pages: 256, attributes: rw, budget: None });
    let frames = bench.memory.in_use();
    for at in [0, 3, 17, 255] {
        bench.step(&Step::Protect { at, pages: 1, attributes: rx, budget: None });
        assert!(bench.memory.in_use() > frames, "a leaf is split");
        bench.step(&Step::Protect { at, pages: 1, attributes: rw, budget: None });
        bench.step(&Step::MergeAlong { at, pages: 1 });
        assert_eq!(bench.memory.in_use(), frames, "page {at}");
    }
    bench.end();
}

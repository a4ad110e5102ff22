//! The declared answers of a VM: a hash table of CPUID leaves (or ID registers) that the backend answers
//! without entering the extension.
//!
//! An extension declares an answer with bits to keep from the machine's value and bits to set. The backend
//! applies the answer in its fast path, so a lookup is short: open addressing with linear probing, in a table
//! that is at most half full.

use plinth_extension_api::abi::{ANY_SUBLEAF, IdAnswer, MAX_ID_ANSWERS};

/// Slots of the hash table: twice the maximum of answers, which keeps probe sequences short.
const SLOTS: usize = MAX_ID_ANSWERS as usize * 2;

/// The table holds [`MAX_ID_ANSWERS`] answers already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyFull;

/// One slot of the hash table. `used` is false in an empty slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    used: bool,
    answer: IdAnswer,
}

const EMPTY: Slot = Slot { used: false, answer: IdAnswer { leaf: 0, subleaf: 0, keep: [0; 4], set: [0; 4] } };

/// The declared answers of a VM.
#[derive(Clone, Debug)]
pub struct IdPolicy {
    slots: [Slot; SLOTS],
    count: usize,
}

impl IdPolicy {
    /// A table without answers.
    pub const fn new() -> Self {
        Self { slots: [EMPTY; SLOTS], count: 0 }
    }

    /// The number of answers.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether the table holds no answer.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The slot at which the search for `leaf` begins. The hash mixes the top bits, in which the hypervisor
    /// range and the extended range differ, with the low bits, in which the leaves of a range differ.
    #[inline]
    const fn home(leaf: u32) -> usize {
        (leaf ^ leaf >> 25) as usize % SLOTS
    }

    /// Adds an answer, or replaces the existing answer for the same leaf and sub-leaf.
    ///
    /// # Errors
    /// [`PolicyFull`] for a new leaf once the table holds [`MAX_ID_ANSWERS`] answers.
    pub fn declare(&mut self, answer: IdAnswer) -> Result<(), PolicyFull> {
        let mut at = Self::home(answer.leaf);
        while self.slots[at].used {
            let there = &self.slots[at].answer;
            if there.leaf == answer.leaf && there.subleaf == answer.subleaf {
                self.slots[at].answer = answer;
                return Ok(());
            }
            at = (at + 1) % SLOTS;
        }
        if self.count as u64 == MAX_ID_ANSWERS {
            return Err(PolicyFull);
        }
        self.slots[at] = Slot { used: true, answer };
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// The declared answer to a read of `leaf` and `subleaf`, if there is one.
    #[inline]
    pub fn find(&self, leaf: u32, subleaf: u32) -> Option<&IdAnswer> {
        let mut at = Self::home(leaf);
        loop {
            let slot = &self.slots[at];
            if !slot.used {
                return None;
            }
            let answer = &slot.answer;
            if answer.leaf == leaf && (answer.subleaf == ANY_SUBLEAF || answer.subleaf == subleaf) {
                return Some(answer);
            }
            at = (at + 1) % SLOTS;
        }
    }
}

impl Default for IdPolicy {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(leaf: u32, subleaf: u32, set: u32) -> IdAnswer {
        IdAnswer { leaf, subleaf, keep: [0; 4], set: [set; 4] }
    }

    #[test]
    fn an_answer_is_found_by_leaf_and_subleaf() {
        let mut policy = IdPolicy::new();
        policy.declare(answer(7, 0, 1)).unwrap();
        policy.declare(answer(7, 1, 2)).unwrap();
        policy.declare(answer(0x8000_0007, ANY_SUBLEAF, 3)).unwrap();
        assert_eq!(policy.find(7, 0).unwrap().set[0], 1);
        assert_eq!(policy.find(7, 1).unwrap().set[0], 2);
        assert_eq!(policy.find(7, 2), None);
        assert_eq!(policy.find(0x8000_0007, 99).unwrap().set[0], 3);
        assert_eq!(policy.find(0, 0), None);
    }

    #[test]
    fn the_last_answer_for_a_leaf_counts() {
        let mut policy = IdPolicy::new();
        policy.declare(answer(1, ANY_SUBLEAF, 1)).unwrap();
        policy.declare(answer(1, ANY_SUBLEAF, 2)).unwrap();
        assert_eq!(policy.len(), 1);
        assert_eq!(policy.find(1, 0).unwrap().set[0], 2);
    }

    #[test]
    fn a_full_table_refuses_and_still_finds() {
        let mut policy = IdPolicy::new();
        for leaf in 0..MAX_ID_ANSWERS as u32 {
            policy.declare(answer(leaf * 128, 0, leaf)).unwrap();
        }
        assert_eq!(policy.declare(answer(9999, 0, 0)), Err(PolicyFull));
        assert_eq!(policy.find(63 * 128, 0).unwrap().set[0], 63);
        assert_eq!(policy.find(64 * 128, 0), None);
    }
}

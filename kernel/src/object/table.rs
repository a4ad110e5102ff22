//! Object ids with a generation, and the tables that they index.
//!
//! An id names one object for ever. After the object is destroyed its slot may be reused, but with the next
//! generation, so a stale id is an error and never names another object. A PP that works on an object for
//! long, as on its active VS, takes the object out of its slot: exits then need no lock, and other PPs find
//! the slot busy.

#[cfg(all(test, loom))]
mod models;

use plinth_extension_api::abi::Error;

use crate::sync::Lock;

/// The id of an object: slot index in bits 15:0, generation in bits 47:16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Id(u64);

impl Id {
    const fn new(index: usize, generation: u32) -> Self {
        Self(index as u64 | (generation as u64) << 16)
    }

    /// The id that the extension passed. Any number is safe.
    pub(crate) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    const fn generation(self) -> u64 {
        self.0 >> 16
    }
}

/// The content of a slot.
enum Content<T> {
    Free,
    Here(T),
    /// Taken out by the PP that works on the object.
    Taken,
}

struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

/// A fixed number of slots for objects of one kind.
pub(crate) struct Table<T, const N: usize> {
    slots: [Lock<Slot<T>>; N],
}

impl<T, const N: usize> Table<T, N> {
    pub(crate) const fn new() -> Self {
        Self { slots: [const { Lock::new(Slot { generation: 0, content: Content::Free }) }; N] }
    }

    /// Puts an object into a free slot.
    ///
    /// # Errors
    /// The object itself if no slot is free.
    pub(crate) fn insert(&self, object: T) -> Result<Id, T> {
        for (index, slot) in self.slots.iter().enumerate() {
            let Ok(mut slot) = slot.lock() else { continue };
            if matches!(slot.content, Content::Free) {
                slot.content = Content::Here(object);
                return Ok(Id::new(index, slot.generation));
            }
        }
        Err(object)
    }

    /// Calls `work` on an object in its slot.
    ///
    /// # Errors
    /// [`Error::StaleId`]; [`Error::Busy`] if a PP has taken the object.
    pub(crate) fn with<R>(&self, id: Id, work: impl FnOnce(&mut T) -> R) -> Result<R, Error> {
        let mut slot = self.slot(id)?.lock()?;
        match Self::current(&mut slot, id)? {
            Content::Here(object) => Ok(work(object)),
            _ => Err(Error::Busy),
        }
    }

    /// Takes an object out of its slot if `allowed` agrees, for work without the lock.
    ///
    /// # Errors
    /// As [`Self::with`], or the error of `allowed`.
    pub(crate) fn take(&self, id: Id, allowed: impl FnOnce(&T) -> Result<(), Error>) -> Result<T, Error> {
        let mut slot = self.slot(id)?.lock()?;
        let content = Self::current(&mut slot, id)?;
        if let Content::Here(object) = content {
            allowed(object)?;
        }
        match core::mem::replace(content, Content::Taken) {
            Content::Here(object) => Ok(object),
            Content::Taken | Content::Free => Err(Error::Busy),
        }
    }

    /// Puts an object back that [`Self::take`] took. If the lock of the slot is lost, the object stays taken.
    pub(crate) fn put_back(&self, id: Id, object: T) {
        if let Ok(Ok(mut slot)) = self.slot(id).map(Lock::lock) {
            slot.content = Content::Here(object);
        }
    }

    /// Removes an object if `allowed` agrees. Its id is stale from then on.
    ///
    /// # Errors
    /// As [`Self::with`], or the error of `allowed`.
    pub(crate) fn remove(&self, id: Id, allowed: impl FnOnce(&T) -> Result<(), Error>) -> Result<T, Error> {
        let mut slot = self.slot(id)?.lock()?;
        let content = Self::current(&mut slot, id)?;
        let Content::Here(object) = content else { return Err(Error::Busy) };
        allowed(object)?;
        let removed = core::mem::replace(content, Content::Free);
        slot.generation = slot.generation.wrapping_add(1);
        match removed {
            Content::Here(object) => Ok(object),
            Content::Taken | Content::Free => Err(Error::Busy),
        }
    }

    /// Removes one object that satisfies `wanted` and that no PP has taken.
    pub(crate) fn remove_where(&self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        self.slots.iter().find_map(|slot| {
            let mut slot = slot.lock().ok()?;
            if !matches!(&slot.content, Content::Here(object) if wanted(object)) {
                return None;
            }
            slot.generation = slot.generation.wrapping_add(1);
            match core::mem::replace(&mut slot.content, Content::Free) {
                Content::Here(object) => Some(object),
                Content::Taken | Content::Free => None,
            }
        })
    }

    /// Frees the slot of an object that was taken and will not be put back.
    pub(crate) fn forget_taken(&self, id: Id) {
        if let Ok(Ok(mut slot)) = self.slot(id).map(Lock::lock)
            && matches!(Self::current(&mut slot, id), Ok(Content::Taken))
        {
            slot.content = Content::Free;
            slot.generation = slot.generation.wrapping_add(1);
        }
    }

    /// Calls `work` on every object that no PP has taken, until one call fails. Skips a slot whose lock is
    /// lost.
    pub(crate) fn each<E>(&self, mut work: impl FnMut(&mut T) -> Result<(), E>) -> Result<(), E> {
        self.slots.iter().filter_map(|slot| slot.lock().ok()).try_for_each(|mut slot| {
            match &mut slot.content {
                Content::Here(object) => work(object),
                Content::Taken | Content::Free => Ok(()),
            }
        })
    }

    /// The number of objects.
    pub(crate) fn count(&self) -> usize {
        let is_free =
            |slot: &Lock<Slot<T>>| slot.lock().is_ok_and(|slot| matches!(slot.content, Content::Free));
        self.slots.iter().filter(|slot| !is_free(slot)).count()
    }

    fn slot(&self, id: Id) -> Result<&Lock<Slot<T>>, Error> {
        self.slots.get(id.index()).ok_or(Error::StaleId)
    }

    fn current(slot: &mut Slot<T>, id: Id) -> Result<&mut Content<T>, Error> {
        if u64::from(slot.generation) != id.generation() || matches!(slot.content, Content::Free) {
            return Err(Error::StaleId);
        }
        Ok(&mut slot.content)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_never_names_the_next_object() {
        let table: Table<u32, 2> = Table::new();
        let first = table.insert(1).unwrap();
        assert_eq!(table.remove(first, |_| Ok(())), Ok(1));
        let second = table.insert(2).unwrap();
        assert_eq!(first.index(), second.index());
        assert_eq!(table.with(first, |object| *object), Err(Error::StaleId));
        assert_eq!(table.with(second, |object| *object), Ok(2));
    }

    #[test]
    fn a_taken_object_is_busy_until_put_back() {
        let table: Table<u32, 1> = Table::new();
        let id = table.insert(7).unwrap();
        assert_eq!(table.take(id, |_| Err(Error::Denied)), Err(Error::Denied));
        assert_eq!(table.take(id, |_| Ok(())), Ok(7));
        assert_eq!(table.take(id, |_| Ok(())), Err(Error::Busy));
        assert_eq!(table.with(id, |_| ()), Err(Error::Busy));
        assert_eq!(table.remove(id, |_| Ok(())), Err(Error::Busy));
        table.put_back(id, 8);
        assert_eq!(table.with(id, |object| *object), Ok(8));
    }

    #[test]
    fn objects_go_by_what_they_are() {
        let table: Table<u32, 2> = Table::new();
        let id = table.insert(7).unwrap();
        assert_eq!(table.remove_where(|object| *object == 8), None);
        assert_eq!(table.remove_where(|object| *object == 7), Some(7));
        assert_eq!(table.with(id, |object| *object), Err(Error::StaleId));
    }

    #[test]
    fn any_number_is_a_safe_id() {
        let table: Table<u32, 2> = Table::new();
        let id = table.insert(1).unwrap();
        for raw in [u64::MAX, 1, 2, 0xffff, 1 << 16, id.raw() | 1 << 63] {
            assert_eq!(table.with(Id::from_raw(raw), |_| ()), Err(Error::StaleId), "{raw:#x}");
        }
    }

    #[test]
    fn a_full_table_gives_the_object_back() {
        let table: Table<u32, 1> = Table::new();
        table.insert(1).unwrap();
        assert_eq!(table.insert(2), Err(2));
        assert_eq!(table.count(), 1);
    }
}

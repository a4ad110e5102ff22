//! State that each PP has for itself.

use crate::exit::Exit;

/// How many PPs there can be.
pub const MAX_PPS: usize = 64;

/// One `T` for each PP. A callback gets that of its own PP, so there is nothing to lock: `T` is a `Cell`, or a struct
/// of `Cell`s. Make it 64 bytes large or a multiple, and PPs do not wait for each other's cache lines either.
///
/// ```
/// use core::cell::Cell;
/// use plinth_extension_api::{Exit, MAX_PPS, PerPp};
///
/// struct Counter {
///     exits: PerPp<Cell<u64>>,
/// }
///
/// impl Counter {
///     const fn new() -> Self {
///         Self { exits: PerPp::new([const { Cell::new(0) }; MAX_PPS]) }
///     }
///
///     fn count(&self, exit: &Exit<'_>) {
///         self.exits.of(exit).update(|exits| exits + 1);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct PerPp<T>([T; MAX_PPS]);

// SAFETY: `of` gives a PP its own value and no other's: the exit that it takes is that PP's and stays there (`Exit` is not
// `Send`). The fail callback may run while the vmexit callback of the same PP is interrupted, but on the same
// PP, and only after an instruction that Rust does not know to come back.
unsafe impl<T: Send> Sync for PerPp<T> {}

impl<T> PerPp<T> {
    /// Begins with these values.
    pub const fn new(values: [T; MAX_PPS]) -> Self {
        Self(values)
    }

    /// The value of the PP that serves this exit.
    ///
    /// # Panics
    /// Never: the kernel numbers PPs below [`MAX_PPS`].
    #[inline]
    pub fn of(&self, exit: &Exit<'_>) -> &T {
        &self.0[exit.pp() as usize]
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;
    use crate::abi::{ExitClass, ExitPage};
    use crate::exit::tests::{exit, page};

    #[test]
    fn each_pp_has_its_own() {
        let values = PerPp::new([const { Cell::new(0) }; MAX_PPS]);
        for pp in [0, 63, 63] {
            let mut page = ExitPage { pp, ..page() };
            values.of(&exit(&mut page, ExitClass::Nmi)).update(|value| value + 1);
        }
        assert_eq!([0, 1, 63].map(|pp| values.0[pp].get()), [1, 0, 2]);
    }
}

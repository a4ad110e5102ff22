//! The log, by cursor.

use plinth_extension_api::abi::{Error, Failure};
use plinth_hal::Arch;

use super::Results;
use crate::pp::Pp;
use crate::report::logger::{LOGGER, RECORD, Unreadable};

/// The argument with the cursor.
const CURSOR: u8 = 2;
/// How often the answer begins again where records are overwritten meanwhile.
const ATTEMPTS: usize = 4;

impl<A: Arch> Pp<'_, A> {
    /// [`HYPERCALL_LOG`](plinth_extension_api::abi::HYPERCALL_LOG).
    pub(super) fn tell_log(&mut self, page: u64, cursor: u64) -> Result<Results, Failure> {
        for _ in 0..ATTEMPTS {
            let first = match LOGGER.start_at(cursor) {
                Ok(first) => first,
                Err(Unreadable::NoRecord) => return Err(Failure::argument(CURSOR, Error::InvalidArgument)),
                Err(Unreadable::Overwritten) => continue,
            };
            if let Some(results) = self.log_from(page, first)? {
                return Ok(results);
            }
        }
        Err(Error::Busy.into())
    }

    /// Fills the page from the record at `first` on; `None` where that one is overwritten meanwhile.
    fn log_from(&self, page: u64, first: u64) -> Result<Option<Results>, Failure> {
        let mut page = self.answer_page(page)?;
        let (mut next, mut record) = (first, [0; RECORD]);
        // BOUND: the page has room for so many.
        while let Ok(size) = LOGGER.read(next, &mut record) {
            let bytes = record.get(..size).unwrap_or_default();
            if bytes.is_empty() || !page.has_room(size) {
                break;
            }
            page.append(bytes)?;
            next = next.saturating_add(size as u64);
        }
        let (oldest, newest) = LOGGER.range();
        let is_overtaken = page.used() == 0 && first < oldest;
        Ok((!is_overtaken).then_some([page.used(), first, next, newest]))
    }
}

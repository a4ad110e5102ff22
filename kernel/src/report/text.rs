//! Text in a buffer of fixed size, for code that cannot allocate.

use core::fmt::{self, Write};

/// At most `N` bytes of text. Longer text is truncated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// An empty text.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// The bytes of the text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The text, padded with zeroes to `N` bytes.
    pub(crate) const fn filled_up(&self) -> [u8; N] {
        self.bytes
    }
}

impl<const N: usize> Write for Text<N> {
    /// Appends as many whole characters as fit.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = N.saturating_sub(self.length);
        let cut = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let free = self.bytes.iter_mut().skip(self.length);
        free.zip(text.bytes().take(cut)).for_each(|(to, from)| *to = from);
        self.length = self.length.saturating_add(cut);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_two_characters() {
        let mut text = Text::<8>::new();
        write!(text, "abcde").unwrap();
        write!(text, "f\u{e9}\u{e9}").unwrap();
        assert_eq!(text.as_bytes(), "abcdef\u{e9}".as_bytes());
        write!(text, "\u{e9}g").unwrap();
        assert_eq!((text.as_bytes().len(), text.filled_up().len()), (8, 8));
    }
}

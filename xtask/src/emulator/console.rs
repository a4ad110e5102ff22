//! Reads a console: finds expected texts in their order, and lines that must not be there.

use anstream::adapter::StripBytes;
use regex::RegexSet;

/// What came over a console so far, and what is still awaited.
pub(crate) struct Console<'a> {
    expected: &'a [String],
    forbidden: &'a RegexSet,
    escapes: StripBytes,
    /// How many of the expected texts were seen.
    seen: usize,
    /// The end of what was read, too short to hold the next expected text.
    window: Vec<u8>,
    line: Vec<u8>,
    lines: Vec<String>,
    bad_line: Option<String>,
}

impl<'a> Console<'a> {
    /// A console on which nothing was written yet.
    pub(crate) fn new(expected: &'a [String], forbidden: &'a RegexSet) -> Self {
        let (window, line, lines) = (Vec::new(), Vec::new(), Vec::new());
        Self { expected, forbidden, escapes: StripBytes::new(), seen: 0, window, line, lines, bad_line: None }
    }

    /// Takes what was just written.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut escapes = std::mem::take(&mut self.escapes);
        for part in escapes.strip_next(bytes) {
            self.take_lines(part);
            // Firmware breaks long lines at its screen's width, so line ends do not count.
            self.window.extend(part.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
            self.advance();
        }
        self.escapes = escapes;
    }

    fn take_lines(&mut self, part: &[u8]) {
        for &byte in part {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => {}
                _ => self.line.push(byte),
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if self.bad_line.is_none() && self.forbidden.is_match(&line) {
            self.bad_line = Some(line.clone());
        }
        self.lines.push(line);
    }

    /// Finds as many of the expected texts as there are by now.
    fn advance(&mut self) {
        while let Some(text) = self.expected.get(self.seen) {
            let Some(place) = find(&self.window, text.as_bytes()) else {
                let keep = self.window.len().min(text.len().saturating_sub(1));
                self.window.drain(..self.window.len() - keep);
                return;
            };
            self.window.drain(..place + text.len());
            self.seen += 1;
        }
        self.window.clear();
    }

    /// The first expected text that is still missing.
    pub(crate) fn missing(&self) -> Option<&'a str> {
        self.expected.get(self.seen).map(String::as_str)
    }

    /// The first line that must not be there.
    pub(crate) fn bad_line(&self) -> Option<&str> {
        self.bad_line.as_deref()
    }

    /// There will be no more: a last line without an end counts as a line.
    pub(crate) fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    /// Every line, without escape sequences.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console<'a>(expected: &'a [String], forbidden: &'a RegexSet, input: &[&str]) -> Console<'a> {
        let mut console = Console::new(expected, forbidden);
        for part in input {
            console.feed(part.as_bytes());
        }
        console
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_text_is_found_across_reads_and_without_a_line_end() {
        let expected = texts(&["login:"]);
        assert_eq!(console(&expected, &RegexSet::empty(), &["plinth lo", "gin: "]).missing(), None);
    }

    #[test]
    fn texts_count_in_their_order_only() {
        let expected = texts(&["one", "two"]);
        assert_eq!(console(&expected, &RegexSet::empty(), &["two\none\n"]).missing(), Some("two"));
        assert_eq!(console(&expected, &RegexSet::empty(), &["onetwo"]).missing(), None);
    }

    #[test]
    fn a_text_is_found_where_the_firmware_broke_it() {
        let expected = texts(&["a long line"]);
        assert_eq!(console(&expected, &RegexSet::empty(), &["a lo\r", "\nng line\r\n"]).missing(), None);
    }

    #[test]
    fn escape_sequences_hide_nothing() {
        let expected = texts(&["boot ok"]);
        let forbidden = RegexSet::empty();
        let mut console = console(&expected, &forbidden, &["\x1b[2J\x1b[01;01Hboot \x1b[", "0mok\r\nx"]);
        assert_eq!(console.missing(), None);
        console.finish();
        assert_eq!(console.into_lines(), ["boot ok", "x"]);
    }

    #[test]
    fn the_first_forbidden_line_is_kept() {
        let forbidden = RegexSet::new(["^BUG:", "panic"]).unwrap();
        let console = console(&[], &forbidden, &["no BUG: here\nkernel panic\r\n", "BUG: x\n"]);
        assert_eq!(console.bad_line(), Some("kernel panic"));
    }
}

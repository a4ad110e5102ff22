//! What the user sees while something takes a while: a spinner on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One step of the work, shown from its creation until [`Step::done`] or drop.
pub(crate) struct Step {
    bar: ProgressBar,
    text: String,
    start: Instant,
}

impl Step {
    /// A step of unknown length.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::with_bar(ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})", text.into())
    }

    /// A step of `bytes` bytes.
    pub(crate) fn bytes(text: impl Into<String>, bytes: u64) -> Self {
        let template = "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes}";
        Self::with_bar(ProgressBar::new(bytes), template, text.into())
    }

    fn with_bar(bar: ProgressBar, template: &str, text: String) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(text.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        if !std::io::stderr().is_terminal() {
            eprintln!("{text} …");
        }
        Self { bar, text, start: Instant::now() }
    }

    /// How many bytes of a [`Step::bytes`] are there by now.
    pub(crate) fn at(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// Ends the step with a line that stays.
    pub(crate) fn done(self) {
        self.bar.finish_and_clear();
        eprintln!("{} ({:.1} s)", self.text, self.start.elapsed().as_secs_f64());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

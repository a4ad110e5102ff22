//! `vmmctl top`: exits a second by class and PP, as they happen.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use plinth_extension_api::abi::{ExitClass, MachineStatus, PpStatus};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};

use crate::Failure;
use crate::device::Device;
use crate::hypervisor::{Hypervisor, word};

/// What the page is made of: the counts at two times.
struct Page {
    status: MachineStatus,
    before: Vec<PpStatus>,
    now: Vec<PpStatus>,
    /// Seconds between.
    seconds: f64,
}

impl Page {
    /// Exits a second on a PP, of one class or of all.
    fn rate(&self, pp: &PpStatus, class: Option<ExitClass>) -> f64 {
        let count =
            |pp: &PpStatus| class.map_or_else(|| pp.exits.iter().sum(), |class| pp.exits[class as usize]);
        let before = self.before.iter().find(|before| before.pp == pp.pp).map_or(0, count);
        count(pp).saturating_sub(before) as f64 / self.seconds.max(1e-3)
    }

    fn sum(&self, class: Option<ExitClass>) -> f64 {
        self.now.iter().map(|pp| self.rate(pp, class)).sum()
    }

    /// The classes that there has been any exit of, those with most in this moment first.
    fn classes(&self) -> Vec<ExitClass> {
        let has_any = |class: &ExitClass| self.now.iter().any(|pp| pp.exits[*class as usize] != 0);
        let mut classes: Vec<_> = ExitClass::ALL.iter().copied().filter(has_any).collect();
        classes.sort_by(|one, other| self.sum(Some(*other)).total_cmp(&self.sum(Some(*one))));
        classes
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body] = Layout::vertical([Constraint::Length(3), Constraint::Min(0)]).areas(frame.area());
        let status = &self.status;
        let extension = ["starting", "running", "faulted", "exited", "overdue", "misused"];
        let head_lines = vec![
            Line::from(format!(
                "Plinth: {:.0} exits/s on {} PPs; extension {}; pool {} KiB free",
                self.sum(None),
                status.launched,
                word(&extension, status.extension),
                status.pool_free >> 10
            )),
            Line::from("q ends"),
        ];
        frame.render_widget(ratatui::widgets::Paragraph::new(head_lines), head);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let names = ["exits/s".to_owned(), "all".to_owned()].into_iter();
        let titles = names.chain(self.now.iter().map(|pp| format!("pp {}", pp.pp)));
        let row = |class: Option<ExitClass>| {
            let name = class.map_or("all", ExitClass::name).to_owned();
            let rates = self.now.iter().map(|pp| format!("{:>8.0}", self.rate(pp, class)));
            Row::new([name, format!("{:>8.0}", self.sum(class))].into_iter().chain(rates))
        };
        let rows = [row(None).style(bold)]
            .into_iter()
            .chain(self.classes().into_iter().map(|class| row(Some(class))));
        let widths =
            [Constraint::Length(26)].into_iter().chain(vec![Constraint::Length(8); self.now.len() + 1]);
        frame.render_widget(Table::new(rows, widths).header(Row::new(titles).style(bold)), body);
    }
}

/// Shows the page until `q`, Escape or Ctrl-C.
pub(crate) fn top(interval: f64, device: &mut dyn Device) -> Result<u8, Failure> {
    let mut hypervisor = Hypervisor::new(device)?;
    let interval = Duration::from_secs_f64(interval.clamp(0.1, 60.0));
    // Before the terminal is taken: what cannot be shown is said.
    let status = hypervisor.status()?;
    let before = hypervisor.pps(&status)?;
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        let text = "top fills a terminal, and this is none; `vmmctl status` or `vmmctl trace` suit a program or a file";
        return Err(Failure::Usage(text.to_owned()));
    }
    let mut terminal = ratatui::try_init()?;
    let result = show(&mut hypervisor, &mut terminal, before, interval);
    ratatui::try_restore()?;
    result.map(|()| 0)
}

fn show(
    hypervisor: &mut Hypervisor<'_>,
    terminal: &mut ratatui::DefaultTerminal,
    mut before: Vec<PpStatus>,
    interval: Duration,
) -> Result<(), Failure> {
    let mut taken = Instant::now();
    while !asked_to_end(interval)? {
        let status = hypervisor.status()?;
        let now = hypervisor.pps(&status)?;
        let seconds = std::mem::replace(&mut taken, Instant::now()).elapsed().as_secs_f64();
        let page = Page { status, before, now, seconds };
        terminal.draw(|frame| page.draw(frame))?;
        before = page.now;
    }
    Ok(())
}

/// Waits for the next page. Returns whether a key has asked for the end.
fn asked_to_end(interval: Duration) -> Result<bool, Failure> {
    let clock = Instant::now();
    while let Some(left) = interval.checked_sub(clock.elapsed()) {
        if !event::poll(left)? {
            return Ok(false);
        }
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let is_interrupt =
                key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use zerocopy::FromZeros as _;

    use super::*;

    fn pp(number: u32, exits: &[(ExitClass, u64)]) -> PpStatus {
        let mut status = PpStatus { pp: number, ..PpStatus::new_zeroed() };
        for (class, count) in exits {
            status.exits[*class as usize] = *count;
        }
        status
    }

    #[test]
    fn the_page_has_a_column_for_each_pp_and_the_busiest_class_first() {
        let page = Page {
            status: MachineStatus {
                launched: 2,
                extension: 1,
                pool_free: 1 << 20,
                ..MachineStatus::new_zeroed()
            },
            before: vec![pp(0, &[(ExitClass::IdRead, 100)]), pp(1, &[(ExitClass::Nmi, 7)])],
            now: vec![
                pp(0, &[(ExitClass::IdRead, 120), (ExitClass::Hypercall, 400)]),
                pp(1, &[(ExitClass::Nmi, 7), (ExitClass::IdRead, 10)]),
            ],
            seconds: 2.0,
        };
        let mut terminal = Terminal::new(TestBackend::new(70, 8)).unwrap();
        terminal.draw(|frame| page.draw(frame)).unwrap();
        let text = terminal.backend().to_string();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.trim_matches('"').split_whitespace().collect())
            .filter(|line: &Vec<_>| !line.is_empty())
            .collect();
        assert_eq!(lines[0].join(" "), "Plinth: 215 exits/s on 2 PPs; extension running; pool 1024 KiB free");
        assert_eq!(lines[2], ["exits/s", "all", "pp", "0", "pp", "1"]);
        assert_eq!(lines[3], ["all", "215", "210", "5"]);
        assert_eq!(lines[4], ["hypercall", "200", "200", "0"]);
        assert_eq!(lines[5], ["id", "read", "15", "10", "5"]);
        assert_eq!(lines[6], ["nmi", "0", "0", "0"]);
    }

    #[test]
    fn a_pp_that_is_new_counts_from_nothing_and_one_that_began_again_not_backwards() {
        let page = Page {
            status: MachineStatus::new_zeroed(),
            before: vec![pp(0, &[(ExitClass::IdRead, 100)])],
            now: vec![pp(0, &[(ExitClass::IdRead, 10)]), pp(3, &[(ExitClass::IdRead, 5)])],
            seconds: 1.0,
        };
        assert_eq!((page.rate(&page.now[0], None), page.rate(&page.now[1], None)), (0.0, 5.0));
    }
}

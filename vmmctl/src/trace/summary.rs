//! The trace in a few lines: which exits there were most of, what about, from where, and what they took.

use std::collections::BTreeMap;
use std::io::Write;

use super::{Exit, Recording};
use crate::Failure;
use crate::symbols::Symbols;

/// How many exits there were of a kind, and their time in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Sum {
    count: u64,
    time: f64,
    longest: f64,
}

impl Sum {
    fn add(&mut self, exit: &Exit) {
        self.count += 1;
        self.time += exit.duration;
        self.longest = self.longest.max(exit.duration);
    }
}

/// The sums by a key, the largest first.
fn sums<K: Ord>(exits: &[Exit], key: impl Fn(&Exit) -> K) -> Vec<(K, Sum)> {
    let mut sums = BTreeMap::<K, Sum>::new();
    exits.iter().for_each(|exit| sums.entry(key(exit)).or_default().add(exit));
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.count));
    sums
}

pub(super) fn write(
    recording: &Recording,
    symbols: &Symbols,
    top: usize,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let seconds = (recording.length / 1e9).max(1e-9);
    let exits = &recording.exits;
    let count = exits.len();
    writeln!(out, "{count} exits in {seconds:.3} s on {} PPs", recording.pps.len())?;
    if recording.lost != 0 {
        writeln!(
            out,
            "{} more were overwritten before they were read: trace fewer classes with --classes",
            recording.lost
        )?;
    }
    if count == 0 {
        return Ok(());
    }
    let mut table = |title: &str, rows: Vec<(String, Sum)>| -> Result<(), Failure> {
        writeln!(
            out,
            "\n{:>8} {:>9} {:>9} {:>9} {:>6}  {title}",
            "exits", "exits/s", "mean ns", "max ns", "time"
        )?;
        for (name, sum) in rows.into_iter().take(top) {
            let share = 100.0 * sum.time / (recording.length.max(1.0) * recording.pps.len().max(1) as f64);
            writeln!(
                out,
                "{:>8} {:>9.0} {:>9.0} {:>9.0} {share:>5.1}%  {name}",
                sum.count,
                sum.count as f64 / seconds,
                sum.time / sum.count as f64,
                sum.longest
            )?;
        }
        Ok(())
    };
    let named = |rows: Vec<(&str, Sum)>| rows.into_iter().map(|(name, sum)| (name.to_owned(), sum)).collect();
    table("class", named(sums(exits, |exit| exit.class)))?;
    table("class and number", sums(exits, |exit| format!("{} {}", exit.class, exit.subject())))?;
    let at = sums(exits, |exit| (exit.class, exit.instruction_pointer)).into_iter();
    table(
        "class and place",
        at.map(|((class, at), sum)| (format!("{class} at {}", symbols.name(at)), sum)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, symbols};
    use super::*;

    const GOLDEN: &str = "\
3 exits in 0.000 s on 3 PPs

   exits   exits/s   mean ns    max ns   time  class
       2    200000      2000      2500  13.3%  id read
       1    100000       500       500   1.7%  register write

   exits   exits/s   mean ns    max ns   time  class and number
       2    200000      2000      2500  13.3%  id read 0x7
       1    100000       500       500   1.7%  register write 0x10

   exits   exits/s   mean ns    max ns   time  class and place
       2    200000      2000      2500  13.3%  id read at cpu_init+0x10
       1    100000       500       500   1.7%  register write at write_tsc
";

    #[test]
    fn the_most_frequent_come_first() {
        let mut out = Vec::new();
        write(&sample(), &symbols(), 10, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), GOLDEN);
    }

    #[test]
    fn a_loss_is_said_and_nothing_is_no_table() {
        let mut out = Vec::new();
        write(&Recording { exits: vec![], lost: 5, ..sample() }, &symbols(), 10, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("0 exits in")
                && text.contains("5 more were overwritten")
                && !text.contains("class\n")
        );
    }
}

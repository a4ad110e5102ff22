//! The trace as a table for other programs: one line for each exit, after a line with the names.

use std::io::Write;

use super::Recording;
use crate::Failure;
use crate::symbols::Symbols;

pub(super) fn write(recording: &Recording, symbols: &Symbols, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "start_ns,duration_ns,pp,class,number,detail,instruction_pointer,symbol")?;
    for exit in &recording.exits {
        let symbol = symbols.find(exit.instruction_pointer).unwrap_or_default();
        writeln!(
            out,
            "{:.0},{:.0},{},{},{:#x},{},{:#x},{symbol}",
            exit.start,
            exit.duration,
            exit.pp,
            exit.class,
            exit.number,
            exit.detail,
            exit.instruction_pointer
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, symbols};
    use super::*;

    #[test]
    fn every_line_has_every_field() {
        let mut out = Vec::new();
        write(&sample(), &symbols(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "1000,1500,0,id read,0x7,4,0xffffffff81000010,cpu_init+0x10");
        assert_eq!(lines[2], "2000,500,1,register write,0x10,4,0xffffffff81000100,write_tsc");
        assert!(lines.len() == 4 && lines.iter().all(|line| line.split(',').count() == 8));
    }
}

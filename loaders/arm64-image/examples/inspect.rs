//! Shows what Plinth reads from a device tree: `inspect FILE.dtb`. The first thing to try for a new board.

use std::error::Error;

use plinth_device_tree::Tree;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("inspect FILE.dtb")?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    let tree = Tree::new(&bytes).map_err(|error| format!("{path}: {error}"))?;
    let (kind, base) = tree.console();
    println!("console: kind {kind} at {base:#x}");
    println!("interrupt controller: {:x?}", tree.gic());
    println!("PSCI: {:?}", tree.firmware());
    for processor in tree.processors() {
        println!("processor: {processor:x?}");
    }
    for bank in tree.banks() {
        println!("memory: {:#x}, {:#x} bytes", bank.start, bank.size);
    }
    for range in tree.reserved() {
        println!("reserved: {:#x}, {:#x} bytes", range.start, range.size);
    }
    Ok(())
}

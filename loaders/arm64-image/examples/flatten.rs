//! Makes an arm64 Image of a test guest's ELF file: `flatten ELF IMAGE`.

use std::error::Error;

use plinth_arm64_image::pack::flatten;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [elf, image] = arguments.as_slice() else { return Err("flatten ELF IMAGE".into()) };
    std::fs::write(image, flatten(&std::fs::read(elf)?)?)?;
    Ok(())
}

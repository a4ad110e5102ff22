//! Puts a bootable file together: `pack OUTPUT LOADER KERNEL EXTENSION PAYLOAD [INITRD [COMMAND LINE [MIB LOG [CONSOLE ADDRESS [OPTIONS]]]]]`.

use std::error::Error;

use plinth_arm64_image::archive::{Kind, Settings};
use plinth_arm64_image::pack::pack;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [output, loader, files @ ..] = arguments.as_slice() else {
        return Err(
            "pack OUTPUT LOADER KERNEL EXTENSION PAYLOAD [INITRD [COMMAND LINE [MIB LOG [CONSOLE ADDRESS [OPTIONS]]]]]"
                .into(),
        );
    };
    let kinds = [Kind::Kernel, Kind::Extension, Kind::Payload, Kind::Initrd];
    let mut parts = Vec::new();
    for (kind, path) in kinds.into_iter().zip(files) {
        parts.push((kind, std::fs::read(path).map_err(|error| format!("{path}: {error}"))?));
    }
    if let Some(text) = files.get(4) {
        parts.push((Kind::CommandLine, text.clone().into_bytes()));
    }
    if let Some(text) = files.get(9) {
        parts.push((Kind::Options, text.clone().into_bytes()));
    }
    let number = |index: usize, default: u64| files.get(index).map_or(Ok(default), |text| parse(text));
    let (mebibytes, log_level, console) = (number(5, 32)?, number(6, 3)?, (number(7, 0)?, number(8, 0)?));
    parts.push((Kind::Settings, Settings { mebibytes, log_level, console }.to_bytes().to_vec()));
    let parts: Vec<_> = parts.iter().map(|(kind, bytes)| (*kind, bytes.as_slice())).collect();
    std::fs::write(output, pack(&std::fs::read(loader)?, &parts)?)?;
    Ok(())
}

fn parse(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16))
}

//! Reads, writes and translates at an address that the root VM names: there may be no memory.

#![no_std]
#![no_main]

use plinth_extension_api::abi::{Error, MemoryAccess};
use plinth_extension_api::{Exit, Extension, Failure, Resume, VmId, extension, log};
use plinth_test_extensions::{HOLE_READ, HOLE_WRITE, argument, at_test, hole};

struct Holes;

impl Extension for Holes {
    fn vmexit(&self, exit: &mut Exit<'_>) -> Resume {
        at_test(exit, |exit| {
            let result = access(exit, argument(exit), exit.general(2)).unwrap_or_else(refused);
            exit.answer_hypercall(result)
        })
    }
}

fn access(exit: &Exit<'_>, operation: u64, address: u64) -> Result<u64, Failure> {
    match operation {
        HOLE_READ => read(exit, address).map(|word| if word == u64::MAX { hole::ONES } else { hole::DONE }),
        HOLE_WRITE => invert(exit, address),
        _ => exit.plinth().vs_translate(exit.vs(), address, MemoryAccess::empty()).map(|_| hole::DONE),
    }
}

fn read(exit: &Exit<'_>, address: u64) -> Result<u64, Failure> {
    let mut word = [0; 8];
    exit.plinth().vm_read_memory(VmId::ROOT, address, &mut word)?;
    Ok(u64::from_ne_bytes(word))
}

fn invert(exit: &Exit<'_>, address: u64) -> Result<u64, Failure> {
    let write = |word: u64| exit.plinth().vm_write_memory(VmId::ROOT, address, &word.to_ne_bytes());
    let before = read(exit, address)?;
    write(!before)?;
    let stays = read(exit, address)? == !before;
    write(before)?;
    Ok(if stays { hole::DONE } else { hole::ONES })
}

fn refused(failure: Failure) -> u64 {
    let about_the_address = failure == Failure::argument(2, Error::NotMapped);
    if about_the_address {
        return hole::NOT_MAPPED;
    }
    log::warn!("holes: {failure}");
    hole::OTHER
}

extension!(Holes);

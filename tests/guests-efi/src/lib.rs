//! What EFI applications do that test firmware which goes on under Plinth.

#![no_std]

pub mod timer;

//! The kernel image for ARMv8.

#![no_std]
#![no_main]

mod image;

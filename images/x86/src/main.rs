//! The kernel image for x86-64: one file for both vendors, which picks the backend when it is launched.

#![no_std]
#![no_main]

mod entry;
mod image;

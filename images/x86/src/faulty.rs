//! The same image with faults that a test guest can set off, so that the kernel's answers to them are seen. Its name is
//! another one, so that it is never taken for the image that is released.

#![no_std]
#![no_main]

mod entry;
mod image;

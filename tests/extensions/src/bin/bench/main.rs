//! Answers one ID read and one other exit by itself, declares the answer of another ID read, and makes many system calls
//! at the test hypercall, so that a guest can count what each costs.

#![no_std]
#![no_main]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64::Bench;
#[cfg(target_arch = "x86_64")]
use x86_64::Bench;

plinth_extension_api::extension!(Bench);

//! Plinth's loader for UEFI firmware: an EFI application that launches the hypervisor under the
//! running firmware and then starts what is to boot under it.
//!
//! `plinth.toml` beside it says which kernel, which extension and which next image; see
//! [`plinth_loader_uefi::config::Config`]. Its load options may say `status`, `stop` or `stop next` instead; see
//! [`plinth_loader_uefi::command::Command`].
//!
//! Whatever is wrong with Plinth's files or with the machine, it says so and lets the machine boot on.

#![cfg_attr(target_os = "uefi", no_main, no_std)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod app;

/// There is no firmware to talk to on a host.
#[cfg(not(target_os = "uefi"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "plinth-uefi is an EFI application: build it with --target x86_64-unknown-uefi or aarch64-unknown-uefi"
    );
    std::process::ExitCode::FAILURE
}

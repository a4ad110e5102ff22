//! The Intel VMX backend.

#![no_std]

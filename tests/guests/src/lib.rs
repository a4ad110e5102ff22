//! Test guests.
#![no_std]

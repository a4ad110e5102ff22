//! The engine against a naive model, on a machine whose TLBs never forget by themselves.

extern crate std;

mod basics;
mod formats;
mod machine;
mod model;

//! How processors start and stop: the root VM's PSCI calls are served here, by the firmware or out of a spin table.

pub(crate) mod firmware;
pub(crate) mod handler;
pub(crate) mod pen;
pub(crate) mod secondary;

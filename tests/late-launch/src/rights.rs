//! A process that gives up its rights with the device open.

use std::io::Error;

use crate::device::{CALL, Device, INFO, LAUNCH, RESERVE, Request, STOP};

/// Gives up all rights, having opened the device before: no request is served.
pub(crate) fn unprivileged() -> Result<usize, String> {
    let device = Device::open().map_err(|error| format!("/dev/plinth: {error}"))?;
    // SAFETY: They change nothing but this process's rights.
    let dropped = unsafe { libc::setgid(65534) == 0 && libc::setuid(65534) == 0 };
    if !dropped {
        return Err(format!("rights cannot be given up: {}", Error::last_os_error()));
    }
    match Device::open() {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {}
        other => return Err(format!("opening: {other:?}")),
    }
    let kinds = [INFO, RESERVE, LAUNCH, STOP, CALL];
    for kind in kinds {
        match device.ask(&mut Request::new(kind)) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            other => return Err(format!("{kind:?}: {other:?}")),
        }
    }
    match device.map(0, 4096, libc::PROT_READ, |_| ()) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(kinds.len() + 2),
        other => Err(format!("mmap: {other:?}")),
    }
}

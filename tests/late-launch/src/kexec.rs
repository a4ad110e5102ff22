//! Starts another kernel, which no shell of busybox's can.

use std::ffi::CString;
use std::fs::File;
use std::io::Error;
use std::os::fd::AsRawFd;

/// `KEXEC_FILE_ON_CRASH` of linux/kexec.h.
const ON_CRASH: u64 = 2;

/// kexec_file_load in include/uapi/asm-generic/unistd.h, which arm64 has; `libc` lacks it for musl there.
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: libc::c_long = 294;
#[cfg(not(target_arch = "aarch64"))]
const KEXEC_FILE_LOAD: libc::c_long = libc::SYS_kexec_file_load;

/// Loads another kernel, for now or for a crash.
pub(crate) fn load_kernel(kernel: &str, initrd: &str, arguments: &str, on_crash: bool) -> Result<(), String> {
    #[cfg(target_arch = "aarch64")]
    if !on_crash {
        return crate::kexec_arm::load_kernel(kernel, initrd, arguments);
    }
    let open = |path: &str| File::open(path).map_err(|error| format!("{path}: {error}"));
    let (kernel, initrd) = (open(kernel)?, open(initrd)?);
    let line = CString::new(arguments).map_err(|error| error.to_string())?;
    let size = line.as_bytes_with_nul().len();
    let flags = if on_crash { ON_CRASH } else { 0 };
    // SAFETY: The call reads the two files and the text, whose length it is told.
    let result = unsafe {
        libc::syscall(KEXEC_FILE_LOAD, kernel.as_raw_fd(), initrd.as_raw_fd(), size, line.as_ptr(), flags)
    };
    if result == 0 { Ok(()) } else { Err(format!("kexec_file_load: {}", Error::last_os_error())) }
}

/// Goes on with the kernel that was loaded.
pub(crate) fn enter_kernel() -> Result<(), String> {
    // SAFETY: It ends this system in good order; nothing of this process's is needed afterwards.
    unsafe { libc::reboot(libc::LINUX_REBOOT_CMD_KEXEC) };
    Err(format!("reboot: {}", Error::last_os_error()))
}

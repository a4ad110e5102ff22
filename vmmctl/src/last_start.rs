//! What the last start was told, for `restart` and for what starts Plinth again after the machine has slept.

use std::fs;

use crate::StartOptions;
use crate::host::Host;

/// Remembers the options of a start that has succeeded, until the next boot. Where that fails, a restart uses the defaults.
pub(crate) fn remember(options: &StartOptions, host: &Host) -> std::io::Result<()> {
    let path = host.last_start();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, serde_json::to_string_pretty(options)?)
}

/// The options of the last start, if there was one since the machine booted.
pub(crate) fn recall(host: &Host) -> Option<StartOptions> {
    serde_json::from_slice(&fs::read(host.last_start()).ok()?).ok()
}

//! Communication between physical processors (PPs): requests and kicks, waiting for their effect, TLB
//! shootdown, and the epochs of the extension's translations.
//!
//! * `mailbox`: how a PP posts a request to another PP, and how a kick is told from the guest's own NMI.
//! * `wait`: how a PP waits for the effect, and what happens when the other PP does not react.
//! * `shootdown`: both together, for the nested tables of a VM.
//! * `epoch`: the lazy shootdown for the extension's own tables.
//! * `turn`: how long the extension has been running on a PP, for the watchdog of the other PPs.

pub(crate) mod epoch;
pub(crate) mod mailbox;
pub(crate) mod rendezvous;
pub(crate) mod shootdown;
pub(crate) mod turn;
pub(crate) mod wait;

//! What PPs say to each other: requests and kicks, waits for their answers, and the epochs of the extension's translations.

pub(crate) mod epoch;
pub(crate) mod mailbox;
pub(crate) mod rendezvous;
pub(crate) mod shootdown;
pub(crate) mod turn;
pub(crate) mod wait;

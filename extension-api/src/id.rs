//! Ids of the kernel's objects: one type for each kind, so that none is taken for another.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            #[repr(transparent)]
            pub struct $name(u64);

            impl $name {
                /// The id that a call or the exit page gave.
                #[inline]
                pub const fn from_raw(raw: u64) -> Self {
                    Self(raw)
                }

                /// The id as calls take it.
                #[inline]
                pub const fn raw(self) -> u64 {
                    self.0
                }
            }
        )*
    };
}

ids! {
    /// A virtual machine.
    VmId;
    /// A virtual processor.
    VpId;
    /// One register state of a virtual processor.
    VsId;
    /// A view of a VM's memory.
    ViewId;
}

impl ViewId {
    /// The VM's own tables.
    pub const OWN: Self = Self(0);
}

impl VmId {
    /// The VM of the OS that was running when the hypervisor launched.
    pub const ROOT: Self = Self(crate::abi::ROOT_VM);
}

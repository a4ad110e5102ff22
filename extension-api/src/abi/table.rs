//! Numbers and layouts that are also data: the macros that define each once, for the program and for the tables
//! from which the specification, the C header and the snapshot are made.

/// A constant of the ABI.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    /// Its name in Rust; in C with `PLINTH_` before it.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// What it means.
    pub text: &'static str,
}

/// A field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type in Rust: `u32`, `u64`, or an array of one of these.
    pub kind: &'static str,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// What it holds.
    pub text: &'static str,
}

/// A structure that kernel and extension share.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its name in Rust.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Its fields, in order, without gaps.
    pub fields: &'static [Field],
    /// What it is.
    pub text: &'static str,
}

/// Defines `u64` constants and the table of them.
macro_rules! constants {
    ($(#[doc = $about:literal])+ $table:ident: $($(#[doc = $doc:literal])+ $name:ident = $value:expr;)*) => {
        $($(#[doc = $doc])+ pub const $name: u64 = $value;)*

        $(#[doc = $about])+
        pub const $table: &[$crate::abi::Constant] = &[
            $($crate::abi::Constant { name: stringify!($name), value: $name, text: concat!($($doc),+) },)*
        ];
    };
}

/// Defines a `repr(C)` structure and the table of its fields.
macro_rules! layout {
    (
        $(#[doc = $about:literal])+ $(#[derive($($derive:ident),*)])? $name:ident as $table:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $kind:ty,)*
        }
    ) => {
        $(#[doc = $about])+
        $(#[derive($($derive),*)])?
        #[repr(C)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $kind,)*
        }

        #[doc = concat!("The layout of [`", stringify!($name), "`].")]
        pub const $table: $crate::abi::Layout = $crate::abi::Layout {
            name: stringify!($name),
            size: size_of::<$name>(),
            fields: &[$($crate::abi::Field {
                name: stringify!($field),
                kind: stringify!($kind),
                offset: core::mem::offset_of!($name, $field),
                text: concat!($($doc),+),
            },)*],
            text: concat!($($about),+),
        };
    };
}

pub(crate) use {constants, layout};

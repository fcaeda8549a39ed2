//! Raw declarations of [engram_um](https://docs.rs/engram-um), one for one with `engram_um.h`, which is the manual: what each
//! function needs, returns, owns and fails with stands there. The safe crate is `engram-um`.
//!
//! Enumerations are fixed-width integers with constants, so that a value from a newer library is never undefined behaviour.
//! Structs start with `struct_size`; their `INIT` constants (and `Default`) equal the header's `_INIT` macros.
//!
//! `build.rs` asks pkg-config for an installed library first and builds the bundled sources with CMake otherwise;
//! `ENGRAM_UM_BUILD=system` or `ENGRAM_UM_BUILD=bundled` forces one of them.

#![no_std]
#![allow(non_camel_case_types)]

use core::ffi::{c_char, c_void};
use core::marker::{PhantomData, PhantomPinned};
use core::mem::size_of;
use core::ptr;

/// A type that is only ever pointed to; its pointers are opaque numbers, never dereferenced.
macro_rules! opaque {
    ($name:ident) => {
        #[repr(C)]
        pub struct $name {
            _data: [u8; 0],
            _marker: PhantomData<(*mut u8, PhantomPinned)>,
        }
    };
}

/// `Default`, equal to the header's `_INIT` macro and `_init` function.
macro_rules! default {
    ($name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                Self::INIT
            }
        }
    };
}

mod buffer;
mod context;
mod costs;
mod decision;
mod faults;
mod functions;
mod launch;
mod observe;
mod similarity;
mod status;
mod words;

pub use buffer::*;
pub use context::*;
pub use costs::*;
pub use decision::*;
pub use faults::*;
pub use functions::*;
pub use launch::*;
pub use observe::*;
pub use similarity::*;
pub use status::*;
pub use words::*;

//! The C library's pointers.

use crate::error::{check, Result};
use crate::sys;
use std::ptr;

/// A handle, or an address that the library gave.
pub(crate) struct Handle<T>(pub(crate) *mut T);

// SAFETY: handles are numbers, and all functions of the library may be called from any thread at any time.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as for Send.
unsafe impl<T> Sync for Handle<T> {}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Handle<T> {}

/// What a creating call writes to its out-parameter.
pub(crate) fn created<T>(create: impl FnOnce(*mut *mut T) -> sys::eum_status) -> Result<Handle<T>> {
    let mut out = ptr::null_mut();
    check(create(&mut out))?;
    Ok(Handle(out))
}

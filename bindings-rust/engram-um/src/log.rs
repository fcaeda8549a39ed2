//! Log callbacks: closures that the C library knows by number.
//!
//! The library may log until the last of a context's insides has ended, on a thread of its own and after the last handle is
//! gone. So it is given a number instead of an address; a number whose closure has been removed logs nothing.

use crate::words::LogLevel;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void, CStr};
use std::mem::forget;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, PoisonError, RwLock};

type Callback = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

struct Registry {
    next: usize,
    callbacks: BTreeMap<usize, Callback>,
}

static REGISTRY: RwLock<Registry> = RwLock::new(Registry { next: 1, callbacks: BTreeMap::new() });

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// A registered closure; dropping this removes it.
pub(crate) struct Registration(usize);

impl Registration {
    pub(crate) fn new(callback: Callback) -> Self {
        let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
        let id = registry.next;
        registry.next += 1;
        registry.callbacks.insert(id, callback);
        Self(id)
    }

    /// What the C library hands back to [`forward`].
    pub(crate) fn user(&self) -> *mut c_void {
        self.0 as *mut c_void
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed = REGISTRY.write().unwrap_or_else(PoisonError::into_inner).callbacks.remove(&self.0);
        drop(removed); // After the lock: the closure may own what drops registrations of its own.
    }
}

/// Whether this thread is inside a log callback, where nothing may wait.
pub(crate) fn in_callback() -> bool {
    IN_CALLBACK.with(Cell::get)
}

/// The C callback: finds the closure and calls it. A panic ends here, because it must not cross C.
pub(crate) unsafe extern "C" fn forward(user: *mut c_void, level: i32, message: *const c_char) {
    let callback = REGISTRY.read().unwrap_or_else(PoisonError::into_inner).callbacks.get(&(user as usize)).cloned();
    let (Some(callback), false) = (callback, message.is_null()) else { return };
    // SAFETY: the library's message ends with a 0 byte and lives as long as this call.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    let before = IN_CALLBACK.with(|flag| flag.replace(true));
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        callback(LogLevel::from_raw(level), &message);
        drop(callback); // Perhaps the last owner of the closure, whose destructor may panic as well.
    }));
    IN_CALLBACK.with(|flag| flag.set(before));
    if let Err(panic) = outcome {
        forget(panic); // Its destructor is the program's, too.
    }
}

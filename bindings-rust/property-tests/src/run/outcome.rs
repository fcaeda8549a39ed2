//! What the library answered, and whether it may.

use super::Outcome;
use engram_um_sys as sys;
use std::ffi::CStr;

fn name(status: sys::eum_status) -> String {
    // SAFETY: gives a static string that ends with a 0 byte, for every number.
    unsafe { CStr::from_ptr(sys::eum_status_name(status)) }.to_string_lossy().into_owned()
}

fn sentence() -> String {
    let mut error = sys::eum_error::INIT;
    // SAFETY: `error` is valid and says its own size; the library's text ends with a 0 byte.
    unsafe {
        sys::eum_last_error(&mut error);
        CStr::from_ptr(error.sentence.as_ptr()).to_string_lossy().into_owned()
    }
}

pub(super) fn ok(status: sys::eum_status, what: &str) -> Outcome {
    expect(status, &[], what).map(|_| ())
}

/// Whether the call did it: it must where `refusals` is empty, and must be refused with one of them otherwise.
pub(super) fn expect(status: sys::eum_status, refusals: &[sys::eum_status], what: &str) -> Outcome<bool> {
    permit(status, refusals, &[], what)
}

/// The same, where it may also be refused with one of `others`.
pub(super) fn permit(
    status: sys::eum_status,
    refusals: &[sys::eum_status],
    others: &[sys::eum_status],
    what: &str,
) -> Outcome<bool> {
    if refusals.is_empty() && status == sys::EUM_OK {
        return Ok(true);
    }
    if refusals.contains(&status) || others.contains(&status) {
        return if sentence().is_empty() {
            Err(format!("{what}: {} without a sentence", name(status)))
        } else {
            Ok(false)
        };
    }
    let wanted = refusals.iter().map(|status| name(*status)).collect::<Vec<_>>();
    let why = if status == sys::EUM_OK { String::new() } else { sentence() };
    Err(format!("{what}: {} ({why}), expected one of {wanted:?}", name(status)))
}

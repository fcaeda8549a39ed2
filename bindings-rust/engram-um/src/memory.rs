//! What all buffers are made of: a handle of the C library, and the lease that the CPU holds on it.
//!
//! A slice needs a live map for as long as it is used, which only the borrow checker knows. So a map stays when the slice has
//! gone, and ends lazily: a write lease at the next use of any kind, a read lease at the next use that needs `&mut`. That is
//! sound because the slice borrowed the buffer: no such use can come while it lives.

use crate::context::Context;
use crate::error::{check, Error, ErrorKind, Result};
use crate::handle::{created, Handle};
use crate::info::Decision;
use crate::sys;
use crate::words::Role;
use bytemuck::Pod;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The alignment that the library's own memory has at least.
const ALIGNMENT: usize = 64;

/// `len` elements of memory that the library knows.
pub struct Memory<T> {
    /// NULL once ownership was given up.
    handle: Handle<sys::eum_buffer>,
    len: usize,
    lease: Mutex<Lease>,
    context: Context,
    elements: PhantomData<T>,
}

/// The map that the CPU holds on the whole buffer.
#[derive(Clone, Copy)]
enum Lease {
    None,
    Read(Handle<c_void>),
    Write(Handle<c_void>),
}

/// The size of `len` elements, as far as a slice of them can exist.
pub(crate) fn bytes_of<T>(len: usize) -> Result<usize> {
    let size = size_of::<T>();
    len.checked_mul(size).filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or_else(|| {
        let sentence = format!("{len} elements of {size} bytes do not fit in the address space; make it smaller");
        Error::new(ErrorKind::SizeOverflow, sentence)
    })
}

impl<T: Pod> Memory<T> {
    /// Memory of the library's own, all zero or not yet defined.
    pub(crate) fn create(context: &Context, len: usize, zeroed: bool) -> Result<Self> {
        let bytes = bytes_of::<T>(len)?;
        if align_of::<T>() > ALIGNMENT {
            let sentence = format!(
                "an element needs an alignment of {} bytes and a buffer gives {ALIGNMENT}; use a smaller alignment",
                align_of::<T>()
            );
            return Err(Error::new(ErrorKind::Misaligned, sentence));
        }
        let flags = if zeroed { sys::EUM_BUFFER_ZEROED } else { 0 };
        let config = sys::eum_buffer_config { flags, ..sys::eum_buffer_config::INIT };
        let handle = created(|out| {
            // SAFETY: `config` lives through the call; `out` is valid.
            unsafe { sys::eum_buffer_create(context.as_raw(), bytes, &config, out) }
        })?;
        Ok(Self::of(handle, len, context))
    }

    /// Memory that exists already.
    ///
    /// # Safety
    /// What `config` says of the memory is true until this is dropped (if it is leaked: until the last operation on it has
    /// returned), and it holds `len` elements.
    pub(crate) unsafe fn wrap(context: &Context, len: usize, config: &sys::eum_wrap_config) -> Result<Self> {
        let handle = created(|out| {
            // SAFETY: the caller vouches for the memory; `config` lives through the call and `out` is valid.
            unsafe { sys::eum_buffer_wrap(context.as_raw(), config, out) }
        })?;
        Ok(Self::of(handle, len, context))
    }

    fn of(handle: Handle<sys::eum_buffer>, len: usize, context: &Context) -> Self {
        Self { handle, len, lease: Mutex::new(Lease::None), context: context.clone(), elements: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn as_raw(&self) -> *mut sys::eum_buffer {
        self.handle.0
    }

    /// The first `len` elements, as the C library is told of them. `len` is at most the buffer's.
    pub(crate) fn view(&self, len: usize) -> sys::eum_view {
        sys::eum_view { buffer: self.handle.0, offset: 0, bytes: len * size_of::<T>() }
    }

    /// Elements `offset..offset + len`, checked.
    fn range(&self, offset: usize, len: usize) -> Result<sys::eum_view> {
        if offset.checked_add(len).map_or(true, |end| end > self.len) {
            let sentence = format!(
                "{len} elements from element {offset} on end after the buffer, which holds {}; use a smaller range",
                self.len
            );
            return Err(Error::new(ErrorKind::OutOfBounds, sentence));
        }
        Ok(sys::eum_view { buffer: self.handle.0, offset: offset * size_of::<T>(), bytes: len * size_of::<T>() })
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unmap(&self, lease: &mut Lease) -> Result<()> {
        let mapped = match std::mem::replace(lease, Lease::None) {
            Lease::None => return Ok(()),
            Lease::Read(mapped) | Lease::Write(mapped) => mapped,
        };
        // SAFETY: the address came from a map of this buffer that has not ended, and no slice of it is alive: the callers end
        // read leases only with `&mut self`, and a slice of a write lease has borrowed `self` mutably.
        check(unsafe { sys::eum_buffer_unmap(self.handle.0, mapped.0) })
    }

    /// Before the memory is read by anybody: ends a write lease.
    pub(crate) fn before_read(&self) -> Result<()> {
        let mut lease = self.lease();
        match *lease {
            Lease::Write(_) => self.unmap(&mut lease),
            Lease::Read(_) | Lease::None => Ok(()),
        }
    }

    /// Before the memory is written by anybody: ends any lease.
    pub(crate) fn before_write(&mut self) -> Result<()> {
        self.unmap(&mut self.lease())
    }

    fn map(&self, access: sys::eum_access) -> Result<Handle<c_void>> {
        created(|out| {
            // SAFETY: `out` is valid; the view is within the buffer.
            unsafe { sys::eum_buffer_map(self.view(self.len), access, out) }
        })
    }

    /// The mapped address as what a slice can be made of.
    fn pointer(&self, mapped: Handle<c_void>) -> Result<NonNull<T>> {
        NonNull::new(mapped.0.cast::<T>()).filter(|p| p.as_ptr() as usize % align_of::<T>() == 0).ok_or_else(|| {
            let sentence =
                format!("{:p} is not a multiple of the {} bytes that an element needs", mapped.0, align_of::<T>());
            Error::new(ErrorKind::Misaligned, sentence)
        })
    }

    pub(crate) fn as_slice(&self) -> Result<&[T]> {
        let mut lease = self.lease();
        if let Lease::Write(_) = *lease {
            self.unmap(&mut lease)?;
        }
        let pointer = match *lease {
            Lease::Read(mapped) => self.pointer(mapped)?,
            _ if self.is_untouched() => NonNull::dangling(),
            _ => {
                let mapped = self.map(sys::EUM_ACCESS_READ)?;
                *lease = Lease::Read(mapped);
                self.pointer(mapped)?
            }
        };
        // SAFETY: the map covers `len` elements and lives until a `&mut` use, which this borrow excludes; all that writes
        // them has finished, what would write them is refused or needs `&mut`; every bit pattern is a T (Pod).
        Ok(unsafe { slice::from_raw_parts(pointer.as_ptr(), self.len) })
    }

    pub(crate) fn as_mut_slice(&mut self) -> Result<&mut [T]> {
        let pointer = {
            let mut lease = self.lease();
            if let Lease::Read(_) = *lease {
                self.unmap(&mut lease)?;
            }
            match *lease {
                Lease::Write(mapped) => self.pointer(mapped)?,
                _ if self.is_untouched() => NonNull::dangling(),
                _ => {
                    let mapped = self.map(sys::EUM_ACCESS_READ_WRITE)?;
                    *lease = Lease::Write(mapped);
                    self.pointer(mapped)?
                }
            }
        };
        // SAFETY: as in `as_slice`; the map is exclusive, and so is this borrow.
        Ok(unsafe { slice::from_raw_parts_mut(pointer.as_ptr(), self.len) })
    }

    /// Whether there is no byte to map.
    fn is_untouched(&self) -> bool {
        self.len == 0 || size_of::<T>() == 0
    }

    pub(crate) fn write(&mut self, offset: usize, source: &[T]) -> Result<()> {
        let view = self.range(offset, source.len())?;
        self.before_write()?;
        // SAFETY: `source` holds the view's bytes, without padding (Pod), and is not needed after the call.
        check(unsafe { sys::eum_buffer_write(view, source.as_ptr().cast()) })
    }

    pub(crate) fn read(&self, offset: usize, target: &mut [T]) -> Result<()> {
        let view = self.range(offset, target.len())?;
        self.before_read()?;
        // SAFETY: `target` has room for the view's bytes, and every bit pattern is a T (Pod).
        check(unsafe { sys::eum_buffer_read(view, target.as_mut_ptr().cast()) })
    }

    /// Brings all bytes to the host's side, so that nothing is left to be written back there later.
    pub(crate) fn bring_home(&mut self) -> Result<()> {
        self.as_slice()?;
        self.before_write()
    }

    pub(crate) fn set_role(&mut self, role: Role) -> Result<()> {
        // SAFETY: any number may be given as a role.
        check(unsafe { sys::eum_buffer_set_role(self.handle.0, role.to_raw()) })
    }

    pub(crate) fn explain(&self) -> Result<Decision> {
        let mut decision = sys::eum_decision::INIT;
        // SAFETY: `decision` is valid and says its own size.
        check(unsafe { sys::eum_buffer_explain(self.handle.0, &mut decision) })?;
        Ok(Decision::from_raw(decision))
    }

    /// Gives up ownership; on success this is empty and only good for dropping.
    pub(crate) fn give_up(&mut self) -> Result<sys::eum_raw> {
        self.before_write()?;
        let mut raw = sys::eum_raw::INIT;
        // SAFETY: `raw` is valid and says its own size.
        check(unsafe { sys::eum_buffer_into_raw(self.handle.0, &mut raw) })?;
        self.handle = Handle(ptr::null_mut());
        Ok(raw)
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: this is the only owner of the handle (NULL does nothing), and no slice is alive. Live maps end with it. A
        // failure leaves nothing to do in a destructor.
        let _ = unsafe { sys::eum_buffer_destroy(self.handle.0) };
    }
}

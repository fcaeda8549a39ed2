//! Buffers: memory that the CPU and kernels share.

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::info::Decision;
use crate::memory::{bytes_of, Memory};
use crate::sys;
use crate::words::Role;
use bytemuck::Pod;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;

/// What every buffer can do.
macro_rules! shared_methods {
    () => {
        /// Number of elements.
        pub fn len(&self) -> usize {
            self.memory.len()
        }

        /// Whether there are no elements.
        pub fn is_empty(&self) -> bool {
            self.memory.len() == 0
        }

        /// The elements, to read. Waits for the jobs that write them, and for no others.
        ///
        /// The read lease that this takes lasts until the next use that needs `&mut`: reading again costs nothing, and kernels
        /// may read at the same time.
        pub fn as_slice(&self) -> Result<&[T]> {
            self.memory.as_slice()
        }

        /// Copies elements from `offset` on into `target`. Waits for the jobs that write them.
        pub fn read(&self, offset: usize, target: &mut [T]) -> Result<()> {
            self.memory.read(offset, target)
        }

        /// The context that the buffer belongs to.
        pub fn context(&self) -> &Context {
            self.memory.context()
        }

        /// How the buffer is held, why, and what its last use moved.
        pub fn explain(&self) -> Result<Decision> {
            self.memory.explain()
        }

        /// Says what the buffer is used for, from the next use on.
        pub fn set_role(&mut self, role: Role) -> Result<()> {
            self.memory.set_role(role)
        }

        /// The same, in passing. A role is a hint: one that the library does not know changes nothing.
        #[must_use]
        pub fn with_role(mut self, role: Role) -> Self {
            let _ = self.memory.set_role(role);
            self
        }

        /// Ends the lease of earlier slices now, instead of at the next use. Only devices without concurrent access to managed
        /// memory need that, where a lease keeps kernels from starting.
        pub fn unmap(&mut self) -> Result<()> {
            self.memory.before_write()
        }

        /// The C handle, borrowed: valid as long as the buffer, not to be destroyed.
        pub fn as_raw(&self) -> *mut sys::eum_buffer {
            self.memory.as_raw()
        }
    };
}

macro_rules! debug {
    ($name:ident $($lifetime:lifetime)?) => {
        impl<$($lifetime,)? T: Pod> fmt::Debug for $name<$($lifetime,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("len", &self.len()).finish_non_exhaustive()
            }
        }
    };
}

// ----------------------------------------------------------------------------------------------------- owned -----------

/// Memory of the library's own: one buffer that the CPU and kernels share, moved where it is needed by the library.
///
/// `T` is any plain old data ([`bytemuck::Pod`]): numbers, arrays of them (`[f32; 768]`), structs of them without padding.
/// Dropping a buffer that jobs still use is fine: the memory goes when they are done.
pub struct UnifiedBuffer<T> {
    pub(crate) memory: Memory<T>,
}

impl<T: Pod> UnifiedBuffer<T> {
    /// `len` elements whose bytes are all zero.
    pub fn zeroed(context: &Context, len: usize) -> Result<Self> {
        Ok(Self { memory: Memory::create(context, len, true)? })
    }

    /// A copy of `elements`.
    pub fn from_slice(context: &Context, elements: &[T]) -> Result<Self> {
        let mut memory = Memory::create(context, elements.len(), false)?;
        memory.write(0, elements)?;
        Ok(Self { memory })
    }

    shared_methods!();

    /// The elements, to change. Waits for the jobs that use them, and for no others. The write lease that this takes ends with
    /// the next use of the buffer.
    pub fn as_mut_slice(&mut self) -> Result<&mut [T]> {
        self.memory.as_mut_slice()
    }

    /// Copies `source` over the elements from `offset` on, by the fastest way there is.
    pub fn write(&mut self, offset: usize, source: &[T]) -> Result<()> {
        self.memory.write(offset, source)
    }

    /// Gives up ownership: waits for the jobs that use the buffer and brings all bytes to the host's side. The memory lives on,
    /// also without its context, until the caller calls `release(release_user, address, bytes)` of the result once, from any
    /// thread, or hands it to [`UnifiedBuffer::from_raw`]. Forgetting it leaks the memory.
    ///
    /// On failure the buffer is in the error, unharmed.
    pub fn into_raw(mut self) -> std::result::Result<sys::eum_raw, IntoRawError<T>> {
        self.memory.give_up().map_err(|error| IntoRawError { buffer: self, error })
    }

    /// Takes over memory from [`UnifiedBuffer::into_raw`], or memory of another origin with a release function, which is called
    /// once when the buffer ends. On failure the memory is still the caller's.
    ///
    /// # Safety
    /// `raw` describes memory of `raw.bytes` bytes, initialised (where the CPU can reach it) and of the kind that it says, which
    /// nobody else uses from now on; `raw.release` frees it from any thread, given `raw.release_user`, the address and the
    /// size; `raw` is not used again after success.
    pub unsafe fn from_raw(context: &Context, raw: sys::eum_raw, len: usize) -> Result<Self> {
        if bytes_of::<T>(len)? > raw.bytes {
            let sentence = format!(
                "{len} elements need more than the {} bytes of the raw memory; use a smaller length",
                raw.bytes
            );
            return Err(Error::new(ErrorKind::BufferTooShort, sentence));
        }
        let config = sys::eum_wrap_config {
            address: if raw.address.is_null() { raw.device_address } else { raw.address },
            bytes: raw.bytes,
            memory: raw.memory,
            ownership: sys::EUM_OWNED,
            release: raw.release,
            release_user: raw.release_user,
            ..sys::eum_wrap_config::INIT
        };
        // SAFETY: the caller vouches for the memory, which is the library's from here on; the length was checked.
        Ok(Self { memory: unsafe { Memory::wrap(context, len, &config)? } })
    }
}

debug!(UnifiedBuffer);

/// A buffer that could not be given up, and why. Turns into an [`Error`] with `?`.
pub struct IntoRawError<T> {
    /// The buffer, as it was.
    pub buffer: UnifiedBuffer<T>,
    /// Why not.
    pub error: Error,
}

impl<T> From<IntoRawError<T>> for Error {
    fn from(failed: IntoRawError<T>) -> Self {
        failed.error
    }
}

impl<T> fmt::Debug for IntoRawError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoRawError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for IntoRawError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for IntoRawError<T> {}

// --------------------------------------------------------------------------------------------------- borrowed ----------

// Leaking a borrowed buffer ends the borrow while the library still knows the memory. That is sound because only blocking
// operations take borrowed buffers: when one returns, no kernel or copy is under way, and nothing is left to be written back.

/// A slice of the program's own that kernels read, without a copy of it being made where the device allows that.
pub struct BorrowedBuffer<'a, T> {
    pub(crate) memory: Memory<T>,
    borrow: PhantomData<&'a [T]>,
}

impl<'a, T: Pod> BorrowedBuffer<'a, T> {
    /// Wraps `elements`, which stay where they are. Nothing is ever stored into them.
    pub fn new(context: &Context, elements: &'a [T]) -> Result<Self> {
        let address = elements.as_ptr().cast::<c_void>().cast_mut();
        // SAFETY: the elements are borrowed for 'a, unwritten, and the buffer is read-only.
        let memory = unsafe { borrow(context, address, elements.len(), sys::EUM_WRAP_READ_ONLY)? };
        Ok(Self { memory, borrow: PhantomData })
    }

    shared_methods!();
}

debug!(BorrowedBuffer 'a);

/// A slice of the program's own that kernels read and write. Each operation leaves its results in the slice itself.
pub struct BorrowedBufferMut<'a, T> {
    pub(crate) memory: Memory<T>,
    borrow: PhantomData<&'a mut [T]>,
}

impl<'a, T: Pod> BorrowedBufferMut<'a, T> {
    /// Wraps `elements`, which stay where they are.
    pub fn new(context: &Context, elements: &'a mut [T]) -> Result<Self> {
        // SAFETY: the elements are borrowed for 'a, and nobody else uses them meanwhile.
        let memory = unsafe { borrow(context, elements.as_mut_ptr().cast(), elements.len(), 0)? };
        Ok(Self { memory, borrow: PhantomData })
    }

    shared_methods!();

    /// The elements, to change. The write lease that this takes ends with the next use of the buffer.
    pub fn as_mut_slice(&mut self) -> Result<&mut [T]> {
        self.memory.as_mut_slice()
    }

    /// Copies `source` over the elements from `offset` on.
    pub fn write(&mut self, offset: usize, source: &[T]) -> Result<()> {
        self.memory.write(offset, source)?;
        self.memory.bring_home()
    }
}

debug!(BorrowedBufferMut 'a);

/// # Safety
/// As [`Memory::wrap`], of `len` elements at `address`.
unsafe fn borrow<T: Pod>(context: &Context, address: *mut c_void, len: usize, flags: u32) -> Result<Memory<T>> {
    let bytes = bytes_of::<T>(len)?;
    let config = sys::eum_wrap_config { address, bytes, flags, ..sys::eum_wrap_config::INIT };
    // SAFETY: the caller vouches for the memory; INIT is borrowed host memory.
    unsafe { Memory::wrap(context, len, &config) }
}

// ----------------------------------------------------------------------------------------------------- traits ----------

pub(crate) mod sealed {
    use super::{BorrowedBuffer, BorrowedBufferMut, Memory, Pod, Result, UnifiedBuffer};

    /// Only this crate has one. Generic code of others sees these methods through the public traits, and two of it could swap
    /// the memory of a borrowed buffer into one that outlives the borrow.
    pub struct Internal(pub(crate) ());

    pub trait Readable<T> {
        fn memory(&self, _: Internal) -> &Memory<T>;
    }

    pub trait Writable<T>: Readable<T> {
        fn memory_mut(&mut self, _: Internal) -> &mut Memory<T>;
        /// After each blocking operation that wrote: what borrowed memory needs.
        fn after_write(&mut self, _: Internal) -> Result<()>;
    }

    impl<T: Pod> Readable<T> for UnifiedBuffer<T> {
        fn memory(&self, _: Internal) -> &Memory<T> {
            &self.memory
        }
    }

    impl<T: Pod> Writable<T> for UnifiedBuffer<T> {
        fn memory_mut(&mut self, _: Internal) -> &mut Memory<T> {
            &mut self.memory
        }
        fn after_write(&mut self, _: Internal) -> Result<()> {
            Ok(())
        }
    }

    impl<T: Pod> Readable<T> for BorrowedBuffer<'_, T> {
        fn memory(&self, _: Internal) -> &Memory<T> {
            &self.memory
        }
    }

    impl<T: Pod> Readable<T> for BorrowedBufferMut<'_, T> {
        fn memory(&self, _: Internal) -> &Memory<T> {
            &self.memory
        }
    }

    impl<T: Pod> Writable<T> for BorrowedBufferMut<'_, T> {
        fn memory_mut(&mut self, _: Internal) -> &mut Memory<T> {
            &mut self.memory
        }
        fn after_write(&mut self, _: Internal) -> Result<()> {
            self.memory.bring_home()
        }
    }
}

/// A buffer that a blocking operation can read: any of [`UnifiedBuffer`], [`BorrowedBuffer`], [`BorrowedBufferMut`].
pub trait Readable<T>: sealed::Readable<T> {}
impl<T, B: sealed::Readable<T>> Readable<T> for B {}

/// A buffer that a blocking operation can write: [`UnifiedBuffer`] or [`BorrowedBufferMut`].
pub trait Writable<T>: Readable<T> + sealed::Writable<T> {}
impl<T, B: sealed::Writable<T>> Writable<T> for B {}

//! Where the targets of a blocking operation are: in a buffer, or in memory of the program's own.

use crate::buffer::sealed::{Internal, Readable};
use crate::buffer::{BorrowedBuffer, BorrowedBufferMut, UnifiedBuffer};
use crate::error::Result;
use crate::memory::Memory;
use crate::sys;
use bytemuck::Pod;
use std::ffi::c_void;
use std::ptr;

/// Targets, as the C library is told of them.
#[derive(Clone, Copy)]
pub enum Source<'a, E> {
    Buffer(&'a Memory<E>),
    /// Only for calls that return when the operation is done.
    Slice(&'a [E]),
}

impl<E: Pod> Source<'_, E> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Buffer(memory) => memory.len(),
            Self::Slice(slice) => slice.len(),
        }
    }

    pub(crate) fn before_read(&self) -> Result<()> {
        match self {
            Self::Buffer(memory) => memory.before_read(),
            Self::Slice(_) => Ok(()),
        }
    }

    pub(crate) fn view(&self) -> sys::eum_view {
        match self {
            Self::Buffer(memory) => memory.view(memory.len()),
            Self::Slice(_) => sys::eum_view::INIT,
        }
    }

    pub(crate) fn address(&self) -> *const c_void {
        match self {
            Self::Buffer(_) => ptr::null(),
            Self::Slice(slice) => slice.as_ptr().cast(),
        }
    }
}

mod sealed {
    use super::Source;
    use crate::buffer::sealed::Internal;

    pub trait Origin<E> {
        fn source(&self, internal: Internal) -> Source<'_, E>;
    }
}
pub(crate) use sealed::Origin;

/// What the targets of an operation that waits for its results can be: a buffer, or a slice, vector or array of the program's own.
///
/// A slice needs no buffer and no copy: it is scored where it is, or streams through the device while the kernel works on what came
/// before, whichever is predicted to be done sooner. It is borrowed for the call. Nothing of it stays on the device: what is
/// scored again and again belongs into a [`UnifiedBuffer`].
///
/// ```
/// # fn main() -> engram_um::Result<()> {
/// use engram_um::{Context, UnifiedBuffer};
/// let ctx = Context::new()?;
/// let rows = vec![[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0_f32]];
/// let query = UnifiedBuffer::from_slice(&ctx, &[[1.0, 0.0]])?;
/// let mut scores = UnifiedBuffer::<f32>::zeroed(&ctx, rows.len())?;
/// ctx.cosine(&query, &rows, &mut scores)?;
/// assert_eq!(scores.as_slice()?, [1.0, 0.0, -1.0]);
/// # Ok(())
/// # }
/// ```
///
/// An operation that does not wait takes buffers only, because nothing could end the borrow with the job:
///
/// ```compile_fail
/// # fn main() -> engram_um::Result<()> {
/// # use engram_um::{Context, Metric, Stream, UnifiedBuffer};
/// # let ctx = Context::new()?;
/// # let query = UnifiedBuffer::from_slice(&ctx, &[1.0_f32])?;
/// # let mut scores = UnifiedBuffer::<f32>::zeroed(&ctx, 1)?;
/// let rows = vec![1.0_f32];
/// Stream::new(&ctx)?.similarity(Metric::Dot, 1, &query, &rows, &mut scores)?;
/// # Ok(())
/// # }
/// ```
pub trait Targets<E>: Origin<E> {}

macro_rules! buffers {
    ($($buffer:ty),*) => {$(
        impl<E: Pod> Origin<E> for $buffer {
            fn source(&self, internal: Internal) -> Source<'_, E> {
                Source::Buffer(self.memory(internal))
            }
        }
        impl<E: Pod> Targets<E> for $buffer {}
    )*};
}
buffers!(UnifiedBuffer<E>, BorrowedBuffer<'_, E>, BorrowedBufferMut<'_, E>);

impl<E: Pod> Origin<E> for [E] {
    fn source(&self, _: Internal) -> Source<'_, E> {
        Source::Slice(self)
    }
}
impl<E: Pod> Targets<E> for [E] {}

impl<E: Pod> Origin<E> for Vec<E> {
    fn source(&self, _: Internal) -> Source<'_, E> {
        Source::Slice(self)
    }
}
impl<E: Pod> Targets<E> for Vec<E> {}

impl<E: Pod, const N: usize> Origin<E> for [E; N] {
    fn source(&self, _: Internal) -> Source<'_, E> {
        Source::Slice(self)
    }
}
impl<E: Pod, const N: usize> Targets<E> for [E; N] {}

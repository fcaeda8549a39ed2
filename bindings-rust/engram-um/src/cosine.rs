//! Cosine similarity of one query with many targets.

use crate::buffer::sealed::Internal;
use crate::buffer::{Readable, Writable};
use crate::context::Context;
use crate::error::{check, Error, ErrorKind, Result};
use crate::log::in_callback;
use crate::memory::Memory;
use crate::stream::wait;
use crate::sys;
use crate::targets::{Source, Targets};
use bytemuck::Pod;
use std::mem::size_of;

mod sealed {
    use crate::error::Result;

    pub trait Shape {
        /// (rows, dim) of the targets, from the lengths of the query's and the targets' buffer.
        fn shape(query: usize, targets: usize) -> Result<(usize, usize)>;
    }
}

/// What a row-major float32 matrix can be a buffer of: `[f32; D]`, one element a row, with one query row; or plain `f32`, where
/// the length of the query is the dimension of the targets.
pub trait Rows: Pod + sealed::Shape {}

impl<const D: usize> sealed::Shape for [f32; D] {
    fn shape(query: usize, targets: usize) -> Result<(usize, usize)> {
        match query {
            1 => Ok((targets, D)),
            rows => Err(invalid(format!("the query's buffer holds {rows} rows; use a buffer of one row"))),
        }
    }
}
impl<const D: usize> Rows for [f32; D] {}

impl sealed::Shape for f32 {
    fn shape(query: usize, targets: usize) -> Result<(usize, usize)> {
        let dim = query;
        match targets.checked_rem(dim) {
            Some(0) => Ok((targets / dim, dim)),
            Some(left) => Err(invalid(format!(
                "{targets} floats are not a whole number of rows of {dim}, the query's length: {left} are left over"
            ))),
            None => Err(invalid("the query is empty; its length is the dimension, 1 or more".into())),
        }
    }
}
impl Rows for f32 {}

fn invalid(sentence: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, sentence)
}

impl Context {
    /// `scores[r]` = cosine of `query` and row `r` of `targets`, in [-1, 1]; returns when they are there.
    ///
    /// A zero vector scores 0; a row that is not finite scores NaN, that row alone; a query that is not finite makes every
    /// score NaN. The error is at most 1e-6 + 1e-5 times the exact value. `scores` holds an element a row at least. The targets may be
    /// a slice of the program's own instead of a buffer ([`Targets`]).
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// use engram_um::{BorrowedBuffer, BorrowedBufferMut, Context};
    /// let ctx = Context::new()?;
    /// let targets = [3.0, 0.0, 0.0, 2.0, -1.0, 0.0_f32]; // three rows of two
    /// let mut scores = [0.0; 3];
    /// ctx.cosine(
    ///     &BorrowedBuffer::new(&ctx, &[1.0, 0.0])?,
    ///     &BorrowedBuffer::new(&ctx, &targets)?,
    ///     &mut BorrowedBufferMut::new(&ctx, &mut scores)?,
    /// )?;
    /// assert_eq!(scores, [1.0, 0.0, -1.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cosine<R: Rows>(
        &self,
        query: &impl Readable<R>,
        targets: &(impl Targets<R> + ?Sized),
        scores: &mut impl Writable<f32>,
    ) -> Result<()> {
        if in_callback() {
            // Before anything starts: borrowed memory must not be left to a job that cannot be waited for.
            let sentence = "a blocking operation from inside a log callback; do it on another thread".into();
            return Err(Error::new(ErrorKind::InCallback, sentence));
        }
        let (query, targets) = (query.memory(Internal(())), targets.source(Internal(())));
        let job = start(self.default_stream_handle(), query, targets, scores.memory_mut(Internal(())))?;
        wait(job)?;
        scores.after_write(Internal(()))
    }
}

/// Starts the kernel on `stream`.
pub(crate) fn start<R: Rows>(
    stream: *mut sys::eum_stream,
    query: &Memory<R>,
    targets: Source<'_, R>,
    scores: &mut Memory<f32>,
) -> Result<sys::eum_job> {
    let (rows, dim) = R::shape(query.len(), targets.len())?;
    if scores.len() < rows {
        let sentence =
            format!("{rows} rows need as many scores, and the buffer holds {}; make it longer", scores.len());
        return Err(Error::new(ErrorKind::BufferTooShort, sentence));
    }
    query.before_read()?;
    targets.before_read()?;
    scores.before_write()?;
    let config = sys::eum_cosine_config {
        query: query.view(query.len()),
        targets: targets.view(),
        host_targets: targets.address(),
        scores: scores.view(rows),
        rows: rows as u64,
        dim: dim as u64,
        row_stride: dim * size_of::<f32>(),
        ..sys::eum_cosine_config::INIT
    };
    let mut job = sys::eum_job::INIT;
    // SAFETY: the views are within their buffers; `config` and `job` live through the call. The library keeps the buffers'
    // memory until the job is done, whatever happens to the handles; borrowed memory comes here only from blocking calls. A slice of
    // targets holds `rows` rows, as its shape says, and is read during the call only.
    check(unsafe { sys::eum_cosine(stream, &config, &mut job) })?;
    Ok(job)
}

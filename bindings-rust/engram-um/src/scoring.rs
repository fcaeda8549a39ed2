//! Similarity of many queries with many rows: all scores, the best rows, or the scores of a list of rows.

use crate::buffer::sealed::Internal;
use crate::buffer::{Readable, Writable};
use crate::context::Context;
use crate::error::{check, Error, ErrorKind, Result};
use crate::log::in_callback;
use crate::memory::Memory;
use crate::stream::wait;
use crate::sys;
use crate::targets::{Source, Targets};
use bytemuck::{Pod, Zeroable};
use std::fmt;

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// In [-1, 1]; larger is nearer. A zero vector scores 0.
    Cosine,
    /// Inner product; larger is nearer.
    Dot,
    /// Sum of the squared differences; smaller is nearer.
    L2Squared,
}

impl Metric {
    fn number(self) -> sys::eum_metric {
        match self {
            Self::Cosine => sys::EUM_METRIC_COSINE,
            Self::Dot => sys::EUM_METRIC_DOT,
            Self::L2Squared => sys::EUM_METRIC_L2_SQUARED,
        }
    }
}

mod sealed {
    pub trait Number {
        const NUMBER: crate::sys::eum_element;
    }
}

/// What targets can be made of: `f32`, [`F16`], [`Bf16`]. Queries and scores are `f32`.
pub trait Element: Pod + sealed::Number {}

/// The bits of an IEEE 754 binary16 number, as the `half` crate's `f16::to_bits` gives them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct F16(pub u16);

/// The bits of a bfloat16 number: the upper half of a `f32`'s.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Bf16(pub u16);

macro_rules! element {
    ($($name:ident),*) => {$(
        // SAFETY: a transparent u16: no padding, every bit pattern is one.
        unsafe impl Zeroable for $name {}
        // SAFETY: as above; Copy and 'static.
        unsafe impl Pod for $name {}
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#06x})"), self.0)
            }
        }
        impl Element for $name {}
    )*};
}
element!(F16, Bf16);
impl Element for f32 {}
impl sealed::Number for f32 {
    const NUMBER: sys::eum_element = sys::EUM_ELEMENT_FLOAT32;
}
impl sealed::Number for F16 {
    const NUMBER: sys::eum_element = sys::EUM_ELEMENT_FLOAT16;
}
impl sealed::Number for Bf16 {
    const NUMBER: sys::eum_element = sys::EUM_ELEMENT_BFLOAT16;
}

fn refuse_in_callback() -> Result<()> {
    if in_callback() {
        // Before anything starts: borrowed memory must not be left to a job that cannot be waited for.
        let sentence = "a blocking operation from inside a log callback; do it on another thread".into();
        return Err(Error::new(ErrorKind::InCallback, sentence));
    }
    Ok(())
}

impl Context {
    /// `scores[q * rows + r]` = the metric of query `q` and row `r`; returns when they are there. `queries` and `targets` are
    /// row-major with `dim` elements a row; `scores` holds an element for each pair at least. The targets may be a slice of the
    /// program's own instead of a buffer ([`Targets`]).
    ///
    /// A row with a NaN or an infinity scores NaN, that row alone; a query with one makes all its scores NaN.
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// use engram_um::{BorrowedBuffer, BorrowedBufferMut, Context, Metric};
    /// let ctx = Context::new()?;
    /// let queries = [1.0, 0.0, 2.0, 1.0_f32]; // two of two
    /// let targets = [3.0, 0.0, 0.0, 2.0, -1.0, 0.0_f32]; // three rows
    /// let mut scores = [0.0; 6];
    /// ctx.similarity(
    ///     Metric::L2Squared,
    ///     2,
    ///     &BorrowedBuffer::new(&ctx, &queries)?,
    ///     &BorrowedBuffer::new(&ctx, &targets)?,
    ///     &mut BorrowedBufferMut::new(&ctx, &mut scores)?,
    /// )?;
    /// assert_eq!(scores, [4.0, 5.0, 4.0, 2.0, 5.0, 10.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn similarity<E: Element>(
        &self,
        metric: Metric,
        dim: usize,
        queries: &impl Readable<f32>,
        targets: &(impl Targets<E> + ?Sized),
        scores: &mut impl Writable<f32>,
    ) -> Result<()> {
        refuse_in_callback()?;
        let (queries, targets) = (queries.memory(Internal(())), targets.source(Internal(())));
        let stream = self.default_stream_handle();
        wait(start_all(stream, metric, dim, queries, targets, scores.memory_mut(Internal(())))?)?;
        scores.after_write(Internal(()))
    }

    /// The `k` nearest rows of each query, the nearest first: `indices[q * k + i]` is a row, `scores[q * k + i]` its score.
    /// The targets are a buffer or a slice ([`Targets`]). Of equal scores the lower row is nearer; NaN comes last; places that are left over get -1 and NaN. `k` is 1 to 1024.
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// use engram_um::{BorrowedBuffer, BorrowedBufferMut, Context, Metric};
    /// let ctx = Context::new()?;
    /// let targets = [3.0, 0.0, 0.0, 2.0, 3.0, 0.0_f32]; // three rows of two; the first and the last are equal
    /// let (mut indices, mut scores) = ([0; 4], [0.0; 4]);
    /// ctx.topk(
    ///     Metric::Dot,
    ///     2,
    ///     4,
    ///     &BorrowedBuffer::new(&ctx, &[1.0, 1.0_f32])?,
    ///     &BorrowedBuffer::new(&ctx, &targets)?,
    ///     &mut BorrowedBufferMut::new(&ctx, &mut indices)?,
    ///     &mut BorrowedBufferMut::new(&ctx, &mut scores)?,
    /// )?;
    /// assert_eq!(indices, [0, 2, 1, -1]);
    /// assert_eq!(scores[..3], [3.0, 3.0, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    #[allow(clippy::too_many_arguments)]
    pub fn topk<E: Element>(
        &self,
        metric: Metric,
        dim: usize,
        k: usize,
        queries: &impl Readable<f32>,
        targets: &(impl Targets<E> + ?Sized),
        indices: &mut impl Writable<i64>,
        scores: &mut impl Writable<f32>,
    ) -> Result<()> {
        refuse_in_callback()?;
        let (queries, targets) = (queries.memory(Internal(())), targets.source(Internal(())));
        let (indices_memory, scores_memory) = (indices.memory_mut(Internal(())), scores.memory_mut(Internal(())));
        let stream = self.default_stream_handle();
        wait(start_best(stream, metric, dim, k, queries, targets, indices_memory, scores_memory)?)?;
        // Both, whatever becomes of one: what stayed away would be written back later, when the borrow may be over.
        let (indices, scores) = (indices.after_write(Internal(())), scores.after_write(Internal(())));
        indices.and(scores)
    }

    /// `scores[q * numbers.len() + i]` = the metric of query `q` and row `numbers[i]`. The targets are a buffer or a slice
    /// ([`Targets`]). A number that is no row is
    /// [`ErrorKind::OutOfBounds`], which names the first one; nothing is written then.
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// use engram_um::{Bf16, BorrowedBuffer, BorrowedBufferMut, Context, ErrorKind, Metric};
    /// let ctx = Context::new()?;
    /// let targets = [Bf16(0x3f80), Bf16(0x4000), Bf16(0x4040)]; // 1, 2 and 3: three rows of one
    /// let (query, targets) = (BorrowedBuffer::new(&ctx, &[2.0_f32])?, BorrowedBuffer::new(&ctx, &targets)?);
    /// let mut scores = [0.0; 2];
    /// let mut view = BorrowedBufferMut::new(&ctx, &mut scores)?;
    /// ctx.similarity_rows(Metric::Dot, 1, &query, &targets, &[2, 0], &mut view)?;
    /// let error = ctx.similarity_rows(Metric::Dot, 1, &query, &targets, &[0, 3], &mut view).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::OutOfBounds);
    /// drop(view);
    /// assert_eq!(scores, [6.0, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn similarity_rows<E: Element>(
        &self,
        metric: Metric,
        dim: usize,
        queries: &impl Readable<f32>,
        targets: &(impl Targets<E> + ?Sized),
        numbers: &[i64],
        scores: &mut impl Writable<f32>,
    ) -> Result<()> {
        refuse_in_callback()?;
        let (queries, targets) = (queries.memory(Internal(())), targets.source(Internal(())));
        let stream = self.default_stream_handle();
        wait(start_listed(stream, metric, dim, queries, targets, numbers, scores.memory_mut(Internal(())))?)?;
        scores.after_write(Internal(()))
    }
}

/// How many vectors of `dim` there are in `len` elements.
fn count(what: &str, len: usize, dim: usize) -> Result<usize> {
    match len.checked_rem(dim) {
        Some(0) => Ok(len / dim),
        Some(left) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{len} elements of the {what} are not a whole number of vectors of {dim}: {left} are left over"),
        )),
        None => Err(Error::new(ErrorKind::InvalidArgument, "dim is 0; a vector has at least 1 element".into())),
    }
}

/// How many results there are, if they fit.
fn results(what: &str, queries: usize, each: usize, len: usize) -> Result<usize> {
    match queries.checked_mul(each) {
        Some(needed) if needed <= len => Ok(needed),
        _ => Err(Error::new(
            ErrorKind::BufferTooShort,
            format!("{queries} queries with {each} {what} each do not fit in a buffer of {len}; make it longer"),
        )),
    }
}

pub(crate) fn start_all<E: Element>(
    stream: *mut sys::eum_stream,
    metric: Metric,
    dim: usize,
    queries: &Memory<f32>,
    targets: Source<'_, E>,
    scores: &mut Memory<f32>,
) -> Result<sys::eum_job> {
    let (query_count, rows) = (count("queries", queries.len(), dim)?, count("targets", targets.len(), dim)?);
    let needed = results("scores", query_count, rows, scores.len())?;
    queries.before_read()?;
    targets.before_read()?;
    scores.before_write()?;
    let config = sys::eum_similarity_config {
        metric: metric.number(),
        element: E::NUMBER,
        queries: queries.view(queries.len()),
        targets: targets.view(),
        host_targets: targets.address(),
        scores: scores.view(needed),
        query_count: query_count as u64,
        rows: rows as u64,
        dim: dim as u64,
        ..sys::eum_similarity_config::INIT
    };
    let mut job = sys::eum_job::INIT;
    // SAFETY: the views are within their buffers; `config` and `job` live through the call. The library keeps the buffers'
    // memory until the job is done, whatever happens to the handles; borrowed memory comes here only from blocking calls. A slice of
    // targets holds whole rows, as `count` has checked, and is read during the call only.
    check(unsafe { sys::eum_similarity(stream, &config, &mut job) })?;
    Ok(job)
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn start_best<E: Element>(
    stream: *mut sys::eum_stream,
    metric: Metric,
    dim: usize,
    k: usize,
    queries: &Memory<f32>,
    targets: Source<'_, E>,
    indices: &mut Memory<i64>,
    scores: &mut Memory<f32>,
) -> Result<sys::eum_job> {
    let (query_count, rows) = (count("queries", queries.len(), dim)?, count("targets", targets.len(), dim)?);
    results("indices", query_count, k, indices.len())?;
    let needed = results("scores", query_count, k, scores.len())?;
    queries.before_read()?;
    targets.before_read()?;
    indices.before_write()?;
    scores.before_write()?;
    let config = sys::eum_topk_config {
        metric: metric.number(),
        element: E::NUMBER,
        queries: queries.view(queries.len()),
        targets: targets.view(),
        host_targets: targets.address(),
        indices: indices.view(needed),
        scores: scores.view(needed),
        query_count: query_count as u64,
        rows: rows as u64,
        dim: dim as u64,
        k: k as u64,
        ..sys::eum_topk_config::INIT
    };
    let mut job = sys::eum_job::INIT;
    // SAFETY: as in start_all.
    check(unsafe { sys::eum_topk(stream, &config, &mut job) })?;
    Ok(job)
}

pub(crate) fn start_listed<E: Element>(
    stream: *mut sys::eum_stream,
    metric: Metric,
    dim: usize,
    queries: &Memory<f32>,
    targets: Source<'_, E>,
    numbers: &[i64],
    scores: &mut Memory<f32>,
) -> Result<sys::eum_job> {
    let (query_count, rows) = (count("queries", queries.len(), dim)?, count("targets", targets.len(), dim)?);
    let needed = results("scores", query_count, numbers.len(), scores.len())?;
    queries.before_read()?;
    targets.before_read()?;
    scores.before_write()?;
    let config = sys::eum_similarity_rows_config {
        metric: metric.number(),
        element: E::NUMBER,
        queries: queries.view(queries.len()),
        targets: targets.view(),
        host_targets: targets.address(),
        scores: scores.view(needed),
        query_count: query_count as u64,
        rows: rows as u64,
        dim: dim as u64,
        numbers: numbers.as_ptr(),
        number_count: numbers.len() as u64,
        ..sys::eum_similarity_rows_config::INIT
    };
    let mut job = sys::eum_job::INIT;
    // SAFETY: as in start_all; the numbers are read during the call only, which checks them.
    check(unsafe { sys::eum_similarity_rows(stream, &config, &mut job) })?;
    Ok(job)
}

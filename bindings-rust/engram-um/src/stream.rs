//! Streams and jobs: work that runs while the program goes on.

use crate::buffer::UnifiedBuffer;
use crate::context::Context;
use crate::cosine::{self, Rows};
use crate::error::{check, ErrorKind, Result};
use crate::handle::{created, Handle};
use crate::scoring::{self, Element, Metric};
use crate::sys;
use crate::targets::Source;
use crate::words::Location;
use bytemuck::Pod;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::time::Duration;

/// An in-order queue of work on the context's device. Work on several streams may run at once, except where it touches the same
/// bytes: that is ordered by the library.
pub struct Stream {
    handle: Handle<sys::eum_stream>,
    /// Whether dropping this ends the handle.
    owned: bool,
    context: Context,
}

impl Stream {
    /// A stream of the context's device.
    pub fn new(context: &Context) -> Result<Self> {
        let handle = created(|out| {
            // SAFETY: NULL means defaults; `out` is valid.
            unsafe { sys::eum_stream_create(context.as_raw(), ptr::null(), out) }
        })?;
        Ok(Self { handle, owned: true, context: context.clone() })
    }

    /// A stream of the program's own `cudaStream_t`. Dropping it leaves the CUDA stream alone.
    ///
    /// # Safety
    /// `cuda_stream` is a live stream of the context's device, and outlives the last work that is submitted to it here.
    pub unsafe fn wrap(context: &Context, cuda_stream: *mut c_void) -> Result<Self> {
        let handle = created(|out| {
            // SAFETY: the caller vouches for the stream; `out` is valid.
            unsafe { sys::eum_stream_wrap(context.as_raw(), cuda_stream, out) }
        })?;
        Ok(Self { handle, owned: true, context: context.clone() })
    }

    pub(crate) fn borrowed(context: &Context) -> Self {
        Self { handle: Handle(context.default_stream_handle()), owned: false, context: context.clone() }
    }

    /// As [`Context::cosine`], without waiting: starts the work and gives its job.
    pub fn cosine<'a, R: Rows>(
        &self,
        query: &'a UnifiedBuffer<R>,
        targets: &'a UnifiedBuffer<R>,
        scores: &'a mut UnifiedBuffer<f32>,
    ) -> Result<Job<'a>> {
        let job = cosine::start(self.handle.0, &query.memory, Source::Buffer(&targets.memory), &mut scores.memory)?;
        Ok(Job { job: JobValue(job), _context: self.context.clone(), buffers: PhantomData })
    }

    /// As [`Context::similarity`], without waiting: starts the work and gives its job.
    pub fn similarity<'a, E: Element>(
        &self,
        metric: Metric,
        dim: usize,
        queries: &'a UnifiedBuffer<f32>,
        targets: &'a UnifiedBuffer<E>,
        scores: &'a mut UnifiedBuffer<f32>,
    ) -> Result<Job<'a>> {
        let job = scoring::start_all(
            self.handle.0,
            metric,
            dim,
            &queries.memory,
            Source::Buffer(&targets.memory),
            &mut scores.memory,
        )?;
        Ok(Job { job: JobValue(job), _context: self.context.clone(), buffers: PhantomData })
    }

    /// As [`Context::topk`], without waiting.
    #[allow(clippy::too_many_arguments)]
    pub fn topk<'a, E: Element>(
        &self,
        metric: Metric,
        dim: usize,
        k: usize,
        queries: &'a UnifiedBuffer<f32>,
        targets: &'a UnifiedBuffer<E>,
        indices: &'a mut UnifiedBuffer<i64>,
        scores: &'a mut UnifiedBuffer<f32>,
    ) -> Result<Job<'a>> {
        let (indices, scores) = (&mut indices.memory, &mut scores.memory);
        let job = scoring::start_best(
            self.handle.0,
            metric,
            dim,
            k,
            &queries.memory,
            Source::Buffer(&targets.memory),
            indices,
            scores,
        )?;
        Ok(Job { job: JobValue(job), _context: self.context.clone(), buffers: PhantomData })
    }

    /// As [`Context::similarity_rows`], without waiting. The numbers are copied before this returns.
    pub fn similarity_rows<'a, E: Element>(
        &self,
        metric: Metric,
        dim: usize,
        queries: &'a UnifiedBuffer<f32>,
        targets: &'a UnifiedBuffer<E>,
        numbers: &[i64],
        scores: &'a mut UnifiedBuffer<f32>,
    ) -> Result<Job<'a>> {
        let (queries, targets) = (&queries.memory, &targets.memory);
        let job = scoring::start_listed(
            self.handle.0,
            metric,
            dim,
            queries,
            Source::Buffer(targets),
            numbers,
            &mut scores.memory,
        )?;
        Ok(Job { job: JobValue(job), _context: self.context.clone(), buffers: PhantomData })
    }

    /// Starts moving a buffer to where it is needed next, without waiting. Never needed: launches move what they use. A hint
    /// in effect: where there is nothing to move, it does nothing.
    pub fn prefetch<T: Pod>(&self, buffer: &UnifiedBuffer<T>, to: Location) -> Result<()> {
        buffer.memory.before_read()?;
        let view = buffer.memory.view(buffer.len());
        // SAFETY: the view is within the buffer, and the memory is the library's own.
        check(unsafe { sys::eum_buffer_prefetch(view, self.context.location(to), self.handle.0) })
    }

    /// Waits for everything submitted so far. Fails with the first failure among it that no [`Job::wait`] has reported.
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: the handle is alive.
        check(unsafe { sys::eum_stream_synchronize(self.handle.0) })
    }

    /// The context that the stream belongs to.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The C handle, borrowed: valid as long as the stream, not to be destroyed.
    pub fn as_raw(&self) -> *mut sys::eum_stream {
        self.handle.0
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: this is the only owner of the handle. A failure leaves nothing to do in a destructor.
            let _ = unsafe { sys::eum_stream_destroy(self.handle.0) };
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("handle", &self.handle.0).field("owned", &self.owned).finish_non_exhaustive()
    }
}

/// Work that was started. It borrows its buffers, so that the program leaves them alone until it is done.
///
/// Dropping a job does not wait, and leaking one is sound: only buffers of the library's own take part in jobs, and whatever
/// touches these next waits for the job. What is lost is the news of a failure; then [`Stream::synchronize`] reports it, and
/// reading what the job should have written is [`ErrorKind::UndefinedData`].
///
/// Calls that start the same again, one right after the other on one stream, may share a job: it is done when all of them are. So
/// a job may be done later than its own work, by 63 such calls at most. Streams that were [wrapped](Stream::wrap) give each call a job of
/// its own.
#[must_use = "dropping a job lets it run on, without the news of whether it failed"]
pub struct Job<'a> {
    job: JobValue,
    _context: Context,
    buffers: PhantomData<&'a mut ()>,
}

struct JobValue(sys::eum_job);

// SAFETY: a job is a plain value, and any thread may wait for it.
unsafe impl Send for JobValue {}
// SAFETY: as for Send.
unsafe impl Sync for JobValue {}

impl Job<'_> {
    /// Waits until the job is done. Fails if it failed.
    pub fn wait(self) -> Result<()> {
        wait(self.job.0)
    }

    /// Waits until the job is done, but not longer than `timeout`: `false` if it was not. Fails if the job failed.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        let nanoseconds = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
        // SAFETY: the context of the job is alive.
        match check(unsafe { sys::eum_job_wait(self.job.0, nanoseconds) }) {
            Err(error) if error.kind() == ErrorKind::Timeout => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Whether the job is done, without waiting. Fails if the job failed.
    pub fn is_done(&self) -> Result<bool> {
        self.wait_timeout(Duration::ZERO)
    }
}

/// Waits for a job without end.
pub(crate) fn wait(job: sys::eum_job) -> Result<()> {
    // SAFETY: takes a plain value.
    check(unsafe { sys::eum_job_wait(job, -1) })
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.job.0).finish()
    }
}

//! The context: the device that was found, and everything that hangs off it.

use crate::error::{check, Error, ErrorKind, Result};
use crate::handle::{created, Handle};
use crate::info::{Info, Operation, OperationStats, Stats};
use crate::log::{self, Registration};
use crate::stream::Stream;
use crate::sys;
use crate::words::{Backing, Location, LogLevel};
use std::ffi::CString;
use std::fmt;
use std::ptr;
use std::sync::Arc;

/// The device that was found, its memory and its budget. Cloning gives a second handle of the same context; buffers, streams
/// and jobs keep it alive, so any order of dropping is right.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle<sys::eum_context>,
    /// Borrowed from the context, and alive as long as it is.
    default_stream: Handle<sys::eum_stream>,
    /// Where its kernels run.
    device: sys::eum_location,
    /// Dropped after the handle.
    _log: Option<Registration>,
}

impl Context {
    /// The best this machine has: a CUDA GPU, or the CPU where there is none. [`Context::info`] says which, and why.
    /// `EUM_DEVICE` chooses another.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// A context that is told more: the device, the backing, the budget.
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }

    /// What the context runs on, and why.
    pub fn info(&self) -> Result<Info> {
        let mut info = sys::eum_info::INIT;
        // SAFETY: `info` is valid and says its own size.
        check(unsafe { sys::eum_context_info(self.as_raw(), &mut info) })?;
        Ok(Info::from_raw(&info))
    }

    /// What the context has done so far, and what is alive.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = sys::eum_stats::INIT;
        // SAFETY: `stats` is valid and says its own size.
        check(unsafe { sys::eum_context_stats(self.as_raw(), &mut stats) })?;
        Ok(Stats::from_raw(&stats))
    }

    /// Where the calls of one similarity operation ran so far, how long that was predicted to take, and how long it took.
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// use engram_um::{Context, Operation, UnifiedBuffer};
    /// let context = Context::new()?;
    /// let query = UnifiedBuffer::from_slice(&context, &[1.0, 0.0_f32])?;
    /// let targets = UnifiedBuffer::from_slice(&context, &[3.0, 4.0_f32])?;
    /// let mut scores = UnifiedBuffer::<f32>::zeroed(&context, 1)?;
    /// context.cosine(&query, &targets, &mut scores)?;
    /// let stats = context.operation_stats(Operation::Cosine)?;
    /// assert_eq!(stats.cpu.runs + stats.device.runs, 1);
    /// # Ok(()) }
    /// ```
    pub fn operation_stats(&self, operation: Operation) -> Result<OperationStats> {
        let mut stats = sys::eum_operation_stats::INIT;
        // SAFETY: `stats` is valid and says its own size.
        check(unsafe { sys::eum_context_operation_stats(self.as_raw(), operation.number(), &mut stats) })?;
        Ok(OperationStats::from_raw(&stats))
    }

    /// Gives memory that ended buffers have left for new ones back, the oldest first, until at most `keep` bytes are left. The
    /// library does so by itself before it reports that memory does not suffice.
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// let context = engram_um::Context::new()?;
    /// drop(engram_um::UnifiedBuffer::<f32>::zeroed(&context, 1000)?);
    /// assert!(context.stats()?.pool_bytes >= 4000);
    /// context.trim(0)?;
    /// assert_eq!(context.stats()?.pool_bytes, 0);
    /// # Ok(()) }
    /// ```
    pub fn trim(&self, keep: u64) -> Result<()> {
        // SAFETY: the handle is alive.
        check(unsafe { sys::eum_context_trim(self.as_raw(), keep) })
    }

    /// The stream that the blocking operations run on.
    pub fn default_stream(&self) -> Stream {
        Stream::borrowed(self)
    }

    /// The C handle, borrowed: valid as long as this context is alive, not to be destroyed.
    pub fn as_raw(&self) -> *mut sys::eum_context {
        self.inner.handle.0
    }

    pub(crate) fn location(&self, location: Location) -> sys::eum_location {
        match location {
            Location::Host => sys::EUM_LOCATION_HOST,
            Location::Device => self.inner.device,
        }
    }

    pub(crate) fn default_stream_handle(&self) -> *mut sys::eum_stream {
        self.inner.default_stream.0
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("handle", &self.inner.handle.0).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: this is the last owner of the handle. A failure leaves nothing to do in a destructor.
        let _ = unsafe { sys::eum_context_destroy(self.handle.0) };
    }
}

/// What a context is told before it exists. Everything has a default.
///
/// ```
/// # fn main() -> engram_um::Result<()> {
/// use engram_um::{Backing, Context};
/// let ctx = Context::builder().device("host").worker_threads(1).build()?;
/// assert_eq!(ctx.info()?.backing, Backing::Host);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use]
pub struct ContextBuilder {
    device: Option<String>,
    backing: Option<Backing>,
    worker_threads: u32,
    budget_bytes: u64,
    pool_bytes: Option<u64>,
    oversubscribe: bool,
    log: Option<(LogLevel, Registration)>,
}

impl ContextBuilder {
    /// `"auto"`, `"host"`, `"cuda"`, `"cuda:N"`, or a simulated GPU: `"sim:maxwell"`, `"sim:pascal"`, `"sim:turing"`,
    /// `"sim:ampere"`, `"sim:hopper"`. Default: `EUM_DEVICE`, or `"auto"`.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Forces a backing for all owned buffers. Default: `EUM_BACKING`, or the best for the device.
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = Some(backing);
        self
    }

    /// Threads of the CPU kernels. Default, and 0: one a core that this process may use.
    pub fn worker_threads(mut self, threads: u32) -> Self {
        self.worker_threads = threads;
        self
    }

    /// Managed and device memory that this process may use, in bytes. Default, and 0: 80 % of what is free at first use.
    pub fn budget_bytes(mut self, bytes: u64) -> Self {
        self.budget_bytes = bytes;
        self
    }

    /// The most memory that ended buffers leave for new ones, in bytes; 0: none. Default: 256 MiB. [`Context::trim`] empties it.
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// let context = engram_um::Context::builder().pool_bytes(0).build()?;
    /// drop(engram_um::UnifiedBuffer::<f32>::zeroed(&context, 1000)?);
    /// assert_eq!(context.stats()?.pool_bytes, 0);
    /// # Ok(()) }
    /// ```
    pub fn pool_bytes(mut self, bytes: u64) -> Self {
        self.pool_bytes = Some(bytes);
        self
    }

    /// Lets managed allocations exceed the budget: the driver then evicts pages, and page faults come.
    pub fn oversubscribe(mut self, allowed: bool) -> Self {
        self.oversubscribe = allowed;
        self
    }

    /// Hears what the library does, up to this level. The closure runs on any thread, several at once, and must not use the
    /// library.
    pub fn log(mut self, level: LogLevel, callback: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        self.log = Some((level, Registration::new(Arc::new(callback))));
        self
    }

    /// Creates the context. Fails where a device was asked for by name and is not there; the sentence says why.
    pub fn build(self) -> Result<Context> {
        let device = self.device.map(CString::new).transpose().map_err(|_| {
            Error::new(ErrorKind::InvalidArgument, "the device's name has a 0 byte in it; leave it out".into())
        })?;
        let mut config = sys::eum_context_config {
            device: device.as_ref().map_or(ptr::null(), |name| name.as_ptr()),
            backing: self.backing.unwrap_or(Backing::Auto).to_raw(),
            worker_threads: self.worker_threads,
            budget_bytes: self.budget_bytes,
            pool_bytes: match self.pool_bytes {
                None => 0, // the library's default
                Some(0) => sys::EUM_POOL_OFF,
                Some(bytes) => bytes,
            },
            flags: if self.oversubscribe { sys::EUM_CONTEXT_OVERSUBSCRIBE } else { 0 },
            ..sys::eum_context_config::INIT
        };
        if let Some((level, registration)) = &self.log {
            config.log_level = level.to_raw();
            config.log_fn = Some(log::forward);
            config.log_user = registration.user();
        }
        let handle = created(|out| {
            // SAFETY: `config` and the name in it live through the call; `out` is valid.
            unsafe { sys::eum_context_create(&config, out) }
        })?;
        // From here on the handle ends with `inner`, whatever fails.
        let mut inner = Inner {
            handle,
            default_stream: Handle(ptr::null_mut()),
            device: sys::EUM_LOCATION_HOST,
            _log: self.log.map(|(_, registration)| registration),
        };
        inner.default_stream = created(|out| {
            // SAFETY: the handle is alive, `out` is valid.
            unsafe { sys::eum_context_default_stream(handle.0, out) }
        })?;
        let mut info = sys::eum_info::INIT;
        // SAFETY: the handle is alive; `info` is valid and says its own size.
        check(unsafe { sys::eum_context_info(handle.0, &mut info) })?;
        if info.device_kind != sys::EUM_DEVICE_HOST {
            inner.device = info.device_index;
        }
        Ok(Context { inner: Arc::new(inner) })
    }
}

impl fmt::Debug for ContextBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextBuilder")
            .field("device", &self.device)
            .field("backing", &self.backing)
            .field("worker_threads", &self.worker_threads)
            .field("budget_bytes", &self.budget_bytes)
            .field("pool_bytes", &self.pool_bytes)
            .field("oversubscribe", &self.oversubscribe)
            .finish_non_exhaustive()
    }
}

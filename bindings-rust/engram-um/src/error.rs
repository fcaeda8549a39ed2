//! What can go wrong: a kind for the program, a sentence for the person.

use crate::sys;
use crate::words::open_enum;
use std::ffi::{c_char, CStr};
use std::fmt;

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

open_enum! {
    /// What went wrong, one for each `EUM_ERROR_*` of the C library.
    pub enum ErrorKind {
        /// The handle is stale or not one of this library's.
        InvalidHandle = sys::EUM_ERROR_INVALID_HANDLE,
        /// An argument is outside its documented range.
        InvalidArgument = sys::EUM_ERROR_INVALID_ARGUMENT,
        /// An enumeration value that the library does not know.
        InvalidEnum = sys::EUM_ERROR_INVALID_ENUM,
        /// A struct is older than the library's first version of it.
        StructTooSmall = sys::EUM_ERROR_STRUCT_TOO_SMALL,
        /// The library is older than these bindings.
        StructTooNew = sys::EUM_ERROR_STRUCT_TOO_NEW,
        /// A size does not fit in the address space.
        SizeOverflow = sys::EUM_ERROR_SIZE_OVERFLOW,
        /// A range ends after its buffer does.
        OutOfBounds = sys::EUM_ERROR_OUT_OF_BOUNDS,
        /// An address is not a multiple of what its elements need.
        Misaligned = sys::EUM_ERROR_MISALIGNED,
        /// A buffer holds fewer elements than the operation needs.
        BufferTooShort = sys::EUM_ERROR_BUFFER_TOO_SHORT,
        /// A write to memory that was borrowed for reading.
        ReadOnly = sys::EUM_ERROR_READ_ONLY,
        /// The CPU holds the buffer in a way that conflicts.
        Mapped = sys::EUM_ERROR_MAPPED,
        /// The end of a map that is not there.
        NotMapped = sys::EUM_ERROR_NOT_MAPPED,
        /// Two arguments of one launch overlap and one of them is written.
        Overlap = sys::EUM_ERROR_OVERLAP,
        /// Buffers or streams of two contexts in one call.
        WrongContext = sys::EUM_ERROR_WRONG_CONTEXT,
        /// Ownership that cannot be given up, because the memory is borrowed.
        NotOwned = sys::EUM_ERROR_NOT_OWNED,
        /// The CPU cannot reach this memory.
        NoHostAccess = sys::EUM_ERROR_NO_HOST_ACCESS,
        /// The launch has no kernel for the device that it would run on.
        NoKernel = sys::EUM_ERROR_NO_KERNEL,
        /// A call that would wait, from inside a callback.
        InCallback = sys::EUM_ERROR_IN_CALLBACK,
        /// A job that wrote this data failed; write it again before reading it.
        UndefinedData = sys::EUM_ERROR_UNDEFINED_DATA,
        /// Made before `fork`; make a new context in the child.
        Forked = sys::EUM_ERROR_FORKED,
        /// The CUDA stream is capturing a graph.
        Capturing = sys::EUM_ERROR_CAPTURING,
        /// Calls that go in pairs came out of order.
        InvalidState = sys::EUM_ERROR_INVALID_STATE,
        /// The device that was asked for is not there.
        DeviceUnavailable = sys::EUM_ERROR_DEVICE_UNAVAILABLE,
        /// The device or backing cannot do this.
        NotSupported = sys::EUM_ERROR_NOT_SUPPORTED,
        /// Host memory is exhausted.
        OutOfMemory = sys::EUM_ERROR_OUT_OF_MEMORY,
        /// Device memory is exhausted.
        OutOfDeviceMemory = sys::EUM_ERROR_OUT_OF_DEVICE_MEMORY,
        /// More memory than the budget.
        OverBudget = sys::EUM_ERROR_OVER_BUDGET,
        /// Not finished in the time given; nothing was cancelled.
        Timeout = sys::EUM_ERROR_TIMEOUT,
        /// The kernel could not be started.
        LaunchFailed = sys::EUM_ERROR_LAUNCH_FAILED,
        /// The job ran and failed; what it wrote is undefined.
        JobFailed = sys::EUM_ERROR_JOB_FAILED,
        /// The device had a fatal error; make a new context.
        DeviceLost = sys::EUM_ERROR_DEVICE_LOST,
        /// The driver is missing, too old, or refused to start.
        Driver = sys::EUM_ERROR_DRIVER,
        /// Any other CUDA error; [`Error::cuda`] has its code and name.
        Cuda = sys::EUM_ERROR_CUDA,
        /// An operating-system call failed.
        System = sys::EUM_ERROR_SYSTEM,
        /// Faults cannot be counted: CUPTI is not installed or does not support this device.
        CountingUnavailable = sys::EUM_ERROR_COUNTING_UNAVAILABLE,
        /// Faults may not be counted: privileges, another profiler, MPS, or virtualisation.
        CountingRefused = sys::EUM_ERROR_COUNTING_REFUSED,
        /// Records were lost while counting, so the count is unknown.
        CountingDropped = sys::EUM_ERROR_COUNTING_DROPPED,
    }
}

/// A failure: its [kind](ErrorKind), a sentence that says what happened and what to do, and CUDA's own code where CUDA was
/// involved. After a failure nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    sentence: String,
    cuda: Option<(i32, String)>,
}

impl Error {
    /// What went wrong, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What happened, with the values involved, and what to do.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// CUDA's error code and its name ("cudaErrorMemoryAllocation"), where CUDA was involved.
    pub fn cuda(&self) -> Option<(i32, &str)> {
        self.cuda.as_ref().map(|(code, name)| (*code, name.as_str()))
    }

    pub(crate) fn new(kind: ErrorKind, sentence: String) -> Self {
        Self { kind, sentence, cuda: None }
    }

    /// What this thread's last call, which returned `status`, failed with.
    fn last(status: sys::eum_status) -> Self {
        let mut detail = sys::eum_error::INIT;
        // SAFETY: `detail` is valid and says its own size.
        let read = unsafe { sys::eum_last_error(&mut detail) };
        if read != sys::EUM_OK || detail.status != status {
            // SAFETY: returns a static string that ends with a 0 byte, for every number.
            let sentence = unsafe { CStr::from_ptr(sys::eum_status_text(status)) };
            return Self::new(ErrorKind::from_raw(status), sentence.to_string_lossy().into_owned());
        }
        let cuda = (detail.cuda_code != 0).then(|| (detail.cuda_code, text(&detail.cuda_name)));
        Self { kind: ErrorKind::from_raw(status), sentence: text(&detail.sentence), cuda }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        match &self.cuda {
            Some((code, name)) => write!(f, " ({name}, CUDA error {code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A status as a result. To be called at once, on the thread that got the status.
pub(crate) fn check(status: sys::eum_status) -> Result<()> {
    match status {
        sys::EUM_OK => Ok(()),
        failed => Err(Error::last(failed)),
    }
}

/// The text in a fixed array of the C library, up to its 0 byte.
pub(crate) fn text(chars: &[c_char]) -> String {
    let bytes = chars.iter().map(|&c| c as u8).take_while(|&byte| byte != 0).collect::<Vec<_>>();
    String::from_utf8_lossy(&bytes).into_owned()
}

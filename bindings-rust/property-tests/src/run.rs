//! Runs a program on the library and on the model, and compares.

mod access;
mod buffers;
mod launches;
mod outcome;

use self::outcome::{expect, ok, permit};
use crate::kernel::{self, pattern, Argument, Params, MOST};
use crate::program::{Pick, Program, Span, Step};
use engram_um_sys as sys;
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::ffi::{c_char, c_void, CStr, CString};
use std::mem::{size_of, take, ManuallyDrop};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{ptr, slice};

/// What went wrong, in words.
type Outcome<T = ()> = Result<T, String>;

/// Runs the program. An error says at which step library and model part.
pub fn run(program: &Program) -> Outcome {
    let mut machine = Machine::new(program)?;
    for (number, step) in program.steps.iter().enumerate() {
        let done =
            machine.step(step).and_then(|()| if program.look_everywhere { machine.compare_all() } else { Ok(()) });
        done.and_then(|()| machine.log.unexpected()).map_err(|why| format!("step {number}, {step:?}: {why}"))?;
    }
    machine.end(program.context_first).map_err(|why| format!("at the end: {why}"))
}

/// Memory of the test's own that the library wraps.
struct Outside {
    address: *mut u8,
    bytes: usize,
    owned: bool,
    /// How often the release function was called; outlives the buffer.
    released: Box<AtomicU32>,
}

/// A buffer, and what its bytes should be.
struct Buffer {
    handle: *mut sys::eum_buffer,
    bytes: Vec<u8>,
    /// Which of them have a value that the model knows.
    known: Vec<bool>,
    /// Which of them a job that failed was to write: reading them is an error.
    undefined: Vec<bool>,
    read_only: bool,
    outside: Option<Outside>,
    /// The stable host address, once a map has told it.
    address: Option<usize>,
}

/// A live map.
struct Map {
    buffer: *mut sys::eum_buffer,
    offset: usize,
    bytes: usize,
    access: i32,
    address: *mut u8,
}

/// A job, and what becomes of it.
struct Job {
    job: sys::eum_job,
    stream: *mut sys::eum_stream,
    fails: bool,
    /// Somebody has heard of the failure.
    reported: bool,
}

/// The errors that the library logs: violations of order, what a context that ends has not freed, failed jobs.
#[derive(Default)]
struct Log {
    others: Mutex<Vec<String>>,
    failed_jobs: AtomicU32,
}

impl Log {
    fn unexpected(&self) -> Outcome {
        let lines = take(&mut *self.others.lock().unwrap_or_else(PoisonError::into_inner));
        if lines.is_empty() {
            Ok(())
        } else {
            Err(format!("logged as errors: {lines:?}"))
        }
    }
}

struct Machine {
    /// Never freed: a context may outlive its program if that has failed.
    log: &'static Log,
    tight: bool,
    may_fault: bool,
    count_each: bool,
    context: *mut sys::eum_context,
    has_device: bool,
    /// The first is the context's own.
    streams: Vec<*mut sys::eum_stream>,
    buffers: Vec<Buffer>,
    ended: Vec<*mut sys::eum_buffer>,
    maps: Vec<Map>,
    jobs: Vec<Job>,
    /// Sources of launches, which jobs may read until they are done; never freed if the program has failed.
    arrays: Vec<ManuallyDrop<Vec<u8>>>,
}

/// A view of a buffer by its index, and its use.
#[derive(Clone, Copy)]
struct Use {
    buffer: usize,
    offset: usize,
    bytes: usize,
    access: i32,
}

impl Use {
    fn writes(&self) -> bool {
        self.access != sys::EUM_ACCESS_READ
    }
}

// --------------------------------------------------------------------------------------------------------- steps -------

impl Machine {
    fn new(program: &Program) -> Outcome<Self> {
        let device = CString::new(program.device.as_str()).map_err(|e| e.to_string())?;
        let log: &'static Log = Box::leak(Box::default());
        let config = sys::eum_context_config {
            device: device.as_ptr(),
            backing: program.backing,
            worker_threads: 2,
            flags: if program.oversubscribe { sys::EUM_CONTEXT_OVERSUBSCRIBE } else { 0 },
            log_level: sys::EUM_LOG_ERROR,
            log_fn: Some(hear),
            log_user: ptr::addr_of!(*log).cast_mut().cast(),
            ..sys::eum_context_config::INIT
        };
        let mut machine = Self {
            log,
            tight: program.tight,
            may_fault: program.oversubscribe,
            count_each: program.count_each,
            context: ptr::null_mut(),
            has_device: program.device != "host",
            streams: vec![ptr::null_mut()],
            buffers: Vec::new(),
            ended: Vec::new(),
            maps: Vec::new(),
            jobs: Vec::new(),
            arrays: Vec::new(),
        };
        // SAFETY: configuration and outputs are valid for the calls.
        unsafe {
            ok(sys::eum_context_create(&config, &mut machine.context), "eum_context_create")?;
            let stream = &mut machine.streams[0];
            ok(sys::eum_context_default_stream(machine.context, stream), "eum_context_default_stream")?;
        }
        if !machine.count_each {
            machine.count()?;
        }
        Ok(machine)
    }

    /// Counts page faults from here on.
    fn count(&self) -> Outcome {
        // SAFETY: the context is alive.
        ok(unsafe { sys::eum_faults_begin(self.context) }, "eum_faults_begin")
    }

    /// There were none, in a kernel.
    fn counted(&self) -> Outcome {
        let mut faults = sys::eum_faults::INIT;
        // SAFETY: the context is alive, `faults` valid.
        ok(unsafe { sys::eum_faults_end(self.context, &mut faults) }, "eum_faults_end")?;
        if faults.gpu_faults == 0 || self.may_fault {
            Ok(())
        } else {
            Err(format!("{} GPU faults", faults.gpu_faults))
        }
    }

    fn step(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Create { bytes, role, zeroed } => self.create(bytes, role, zeroed),
            Step::Wrap { bytes, role, read_only, owned } => self.wrap(bytes, role, read_only, owned),
            Step::OpenStream => self.open_stream(),
            Step::CloseStream { stream } => self.close_stream(stream),
            Step::Synchronize { stream } => {
                let stream = self.stream(stream);
                self.synchronize(stream)
            }
            Step::Wait { job } => self.wait(job),
            Step::Unmap { map } => self.unmap(map),
            Step::Stale { buffer } => self.stale(buffer),
            // What follows needs a buffer.
            _ if self.buffers.is_empty() => Ok(()),
            Step::Destroy { buffer } => {
                let index = self.index(buffer);
                self.destroy(index)
            }
            Step::IntoRaw { buffer } => self.give_up(buffer),
            Step::Map { buffer, span, access, seed } => self.map(self.used(buffer, span, access), seed),
            Step::Write { buffer, span, seed } => self.write(self.used(buffer, span, sys::EUM_ACCESS_OVERWRITE), seed),
            Step::Read { buffer, span } => self.read(self.used(buffer, span, sys::EUM_ACCESS_READ)).map(|_| ()),
            Step::Launch { stream, ref arguments, source, seed, fails } => {
                let uses =
                    arguments.iter().map(|&(buffer, span, access)| self.used(buffer, span, access)).collect::<Vec<_>>();
                self.counting(|machine| machine.launch(machine.stream(stream), &uses, source, seed, fails))
            }
            Step::Cosine { stream, buffers, dim, rows, executor, look } => {
                self.counting(|machine| machine.cosine(machine.stream(stream), buffers, dim, rows, executor, look))
            }
            Step::Prefetch { buffer, span, to_device, stream } => {
                let used = self.used(buffer, span, sys::EUM_ACCESS_READ);
                // SAFETY: all handles are alive.
                let status =
                    unsafe { sys::eum_buffer_prefetch(self.view(used), self.location(to_device), self.stream(stream)) };
                // A hint: with a live map it may be refused, without one it may not.
                let refused =
                    status == sys::EUM_ERROR_MAPPED && self.maps.iter().any(|map| map.buffer == self.handle(used));
                if refused {
                    Ok(())
                } else {
                    permit(status, &[], self.pressure(), "eum_buffer_prefetch").map(|_| ())
                }
            }
            Step::Advise { buffer, span, advice, to_device } => {
                let used = self.used(buffer, span, sys::EUM_ACCESS_READ);
                let mut hint = sys::eum_hint::INIT;
                // SAFETY: the handle is alive, `hint` is valid.
                let status =
                    unsafe { sys::eum_buffer_advise(self.view(used), advice, self.location(to_device), &mut hint) };
                ok(status, "eum_buffer_advise")
            }
            Step::SetRole { buffer, role } => {
                let index = self.index(buffer);
                // SAFETY: the handle is alive.
                ok(unsafe { sys::eum_buffer_set_role(self.buffers[index].handle, role) }, "eum_buffer_set_role")
            }
        }
    }

    /// A step with launches, and the page faults of their kernels.
    fn counting(&mut self, step: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        if !self.count_each {
            return step(self);
        }
        self.count()?;
        step(self)?;
        self.counted()
    }

    /// What may be refused for want of memory, and then nothing has changed.
    fn pressure(&self) -> &'static [sys::eum_status] {
        if self.tight {
            &[sys::EUM_ERROR_OVER_BUDGET, sys::EUM_ERROR_OUT_OF_DEVICE_MEMORY]
        } else {
            &[]
        }
    }

    fn index(&self, pick: Pick) -> usize {
        pick % self.buffers.len()
    }

    fn stream(&self, pick: Pick) -> *mut sys::eum_stream {
        self.streams[pick % self.streams.len()]
    }

    fn used(&self, pick: Pick, span: Span, access: i32) -> Use {
        let buffer = self.index(pick);
        let (offset, bytes) = span.within(self.buffers[buffer].bytes.len());
        Use { buffer, offset, bytes, access }
    }

    fn location(&self, to_device: bool) -> sys::eum_location {
        if to_device && self.has_device {
            0
        } else {
            sys::EUM_LOCATION_HOST
        }
    }

    fn handle(&self, used: Use) -> *mut sys::eum_buffer {
        self.buffers[used.buffer].handle
    }

    fn view(&self, used: Use) -> sys::eum_view {
        sys::eum_view { buffer: self.handle(used), offset: used.offset, bytes: used.bytes }
    }

    fn model(&mut self, used: Use) -> (&mut [u8], &mut [bool]) {
        let buffer = &mut self.buffers[used.buffer];
        let range = used.offset..used.offset + used.bytes;
        (&mut buffer.bytes[range.clone()], &mut buffer.known[range])
    }

    /// Whether a live map keeps others from using the view so.
    fn is_mapped(&self, used: Use) -> bool {
        let conflicts = |map: &Map| {
            map.buffer == self.handle(used)
                && map.offset < used.offset + used.bytes
                && used.offset < map.offset + map.bytes
                && map.bytes > 0
                && used.bytes > 0
                && (used.writes() || map.access != sys::EUM_ACCESS_READ)
        };
        self.maps.iter().any(conflicts)
    }

    /// Whether it reads what a failed job was to write.
    fn reads_undefined(&self, used: &Use) -> bool {
        used.access != sys::EUM_ACCESS_OVERWRITE
            && self.buffers[used.buffer].undefined[used.offset..used.offset + used.bytes].contains(&true)
    }

    /// The bytes of the use are defined from here on, or not.
    fn define(&mut self, used: Use, defined: bool) {
        let buffer = &mut self.buffers[used.buffer];
        buffer.undefined[used.offset..used.offset + used.bytes].fill(!defined);
    }

    /// The statuses that this use by the CPU must be refused with, if any.
    fn refusals(&self, used: Use) -> Vec<sys::eum_status> {
        let mut refusals = self.launch_refusals_of(used);
        if self.reads_undefined(&used) {
            refusals.push(sys::EUM_ERROR_UNDEFINED_DATA);
        }
        refusals
    }

    /// The same for a launch: where the data are undefined, that may be found later.
    fn launch_refusals_of(&self, used: Use) -> Vec<sys::eum_status> {
        let mut refusals = Vec::new();
        if used.writes() && self.buffers[used.buffer].read_only {
            refusals.push(sys::EUM_ERROR_READ_ONLY);
        }
        if self.is_mapped(used) {
            refusals.push(sys::EUM_ERROR_MAPPED);
        }
        refusals
    }

    // ------------------------------------------------------------------------------------------------ comparing --------

    /// Everything that is defined, and that what is not cannot be read.
    fn compare_all(&mut self) -> Outcome {
        for buffer in 0..self.buffers.len() {
            let mut offset = 0;
            for part in parts(&self.buffers[buffer].undefined) {
                self.read(Use { buffer, offset, bytes: part, access: sys::EUM_ACCESS_READ })
                    .map_err(|why| format!("buffer {buffer}: {why}"))?;
                offset += part;
            }
        }
        Ok(())
    }

    fn end(mut self, context_first: bool) -> Outcome {
        while !self.maps.is_empty() {
            self.unmap(0)?;
        }
        if context_first {
            self.end_context()?;
        }
        self.compare_all()?;
        while !self.buffers.is_empty() {
            let last = self.buffers.len() - 1;
            self.destroy(last / 2)?;
        }
        let failed = self.jobs.iter().filter(|job| job.fails).count();
        if !context_first {
            self.check_stats(failed)?;
        }
        while self.streams.len() > 1 {
            self.close_stream(0)?;
        }
        if !context_first {
            self.end_context()?;
        }
        // The context's insides have ended too: what they left was logged.
        self.log.unexpected()?;
        self.arrays.drain(..).for_each(|array| drop(ManuallyDrop::into_inner(array)));
        match self.log.failed_jobs.load(Ordering::SeqCst) as usize {
            logged if logged == failed => Ok(()),
            logged => Err(format!("{logged} jobs failed, and should have been {failed}")),
        }
    }

    fn end_context(&mut self) -> Outcome {
        let context = std::mem::replace(&mut self.context, ptr::null_mut());
        // SAFETY: the handle is alive, and not used after.
        ok(unsafe { sys::eum_context_destroy(context) }, "eum_context_destroy")
    }

    /// All buffers have ended, and the context has not.
    fn check_stats(&self, failed: usize) -> Outcome {
        if self.count_each {
            self.count()?; // Waits for everything.
        }
        self.counted()?;
        // SAFETY: the context is alive.
        ok(unsafe { sys::eum_context_trim(self.context, 0) }, "eum_context_trim")?;
        let mut stats = sys::eum_stats::INIT;
        // SAFETY: the context is alive, `stats` valid.
        ok(unsafe { sys::eum_context_stats(self.context, &mut stats) }, "eum_context_stats")?;
        let left = (stats.buffers_live, stats.bytes_live, stats.maps_live, stats.jobs_failed);
        if left != (0, 0, 0, failed as u64) {
            return Err(format!("(buffers, bytes, maps) left, failed jobs: {left:?}; {failed} should have failed"));
        }
        for kind in 0..sys::EUM_MEMORY_KINDS {
            let counts = (stats.raw_allocations[kind], stats.raw_frees[kind], stats.raw_given_up[kind]);
            if counts.0 != counts.1 + counts.2 {
                return Err(format!("memory kind {kind}: (allocated, freed, given up) are {counts:?}"));
            }
        }
        Ok(())
    }
}

/// The lengths of the runs of equal values.
fn parts(values: &[bool]) -> Vec<usize> {
    let mut parts: Vec<usize> = Vec::new();
    for at in 0..values.len() {
        match parts.last_mut() {
            Some(part) if values[at] == values[at - 1] => *part += 1,
            _ => parts.push(1),
        }
    }
    parts
}

/// Takes down what the library logs as an error.
unsafe extern "C" fn hear(user: *mut c_void, _level: sys::eum_log_level, message: *const c_char) {
    // SAFETY: the log is never freed, and the library's text ends with a 0 byte.
    let (log, message) = unsafe { (&*user.cast::<Log>(), CStr::from_ptr(message)) };
    if message.to_bytes().starts_with(b"a job failed: ") {
        log.failed_jobs.fetch_add(1, Ordering::SeqCst);
    } else {
        log.others.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_string_lossy().into_owned());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: each handle is ended once, whatever is left of a program that failed.
        unsafe {
            for buffer in self.buffers.drain(..) {
                sys::eum_buffer_destroy(buffer.handle);
            }
            for stream in self.streams.drain(..).skip(1) {
                sys::eum_stream_destroy(stream);
            }
            sys::eum_context_destroy(self.context);
        }
    }
}

fn compare(got: &[u8], model: &[u8], known: &[bool], what: &str) -> Outcome {
    let differs = |at: &usize| known[*at] && got[*at] != model[*at];
    match (0..model.len()).find(differs) {
        None => Ok(()),
        Some(first) => {
            let count = (0..model.len()).filter(differs).count();
            Err(format!(
                "{what} differ at byte {first} of {}: {:#04x}, and should be {:#04x} ({count} bytes in all)",
                model.len(),
                got[first],
                model[first]
            ))
        }
    }
}

//! Runs a program on the library and on the model, and compares.

use crate::kernel::{self, pattern, Argument, Params, MOST};
use crate::program::{Pick, Program, Span, Step};
use engram_um_sys as sys;
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::ffi::{c_char, c_void, CStr, CString};
use std::mem::{size_of, take};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{ptr, slice};

// One thing that the library does otherwise than it should. Turn it when that is mended.

/// Whether what kernels wrote into borrowed memory is there after its buffer's end, without a map before. It should be: the
/// memory is the program's, and the buffer was the only way to it.
const DESTROY_BRINGS_BYTES_HOME: bool = true;

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

// ------------------------------------------------------------------------------------------------------ statuses -------

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

fn ok(status: sys::eum_status, what: &str) -> Outcome {
    expect(status, &[], what).map(|_| ())
}

/// Whether the call did it: it must where `refusals` is empty, and must be refused with one of them otherwise.
fn expect(status: sys::eum_status, refusals: &[sys::eum_status], what: &str) -> Outcome<bool> {
    permit(status, refusals, &[], what)
}

/// The same, where it may also be refused with one of `others`.
fn permit(
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
            Step::Launch { stream, ref arguments, seed, fails } => {
                let uses =
                    arguments.iter().map(|&(buffer, span, access)| self.used(buffer, span, access)).collect::<Vec<_>>();
                self.counting(|machine| machine.launch(machine.stream(stream), &uses, seed, fails))
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

    fn create(&mut self, bytes: usize, role: i32, zeroed: bool) -> Outcome {
        let flags = if zeroed { sys::EUM_BUFFER_ZEROED } else { 0 };
        let config = sys::eum_buffer_config { role, flags, ..sys::eum_buffer_config::INIT };
        let mut handle = ptr::null_mut();
        // SAFETY: the context is alive; configuration and output are valid.
        let status = unsafe { sys::eum_buffer_create(self.context, bytes, &config, &mut handle) };
        if !permit(status, &[], self.pressure(), "eum_buffer_create")? {
            return Ok(());
        }
        let (bytes, known, undefined) = (vec![0; bytes], vec![zeroed; bytes], vec![false; bytes]);
        self.buffers.push(Buffer { handle, bytes, known, undefined, read_only: false, outside: None, address: None });
        Ok(())
    }

    fn wrap(&mut self, bytes: usize, role: i32, read_only: bool, owned: bool) -> Outcome {
        let contents = pattern(bytes as u64, bytes);
        let outside = Outside { address: allocate(&contents), bytes, owned, released: Box::new(AtomicU32::new(0)) };
        let config = sys::eum_wrap_config {
            address: outside.address.cast(),
            bytes,
            ownership: if owned { sys::EUM_OWNED } else { sys::EUM_BORROWED },
            flags: if read_only { sys::EUM_WRAP_READ_ONLY } else { 0 },
            role,
            release: if owned { Some(count_release) } else { None },
            release_user: if owned { ptr::addr_of!(*outside.released).cast_mut().cast() } else { ptr::null_mut() },
            ..sys::eum_wrap_config::INIT
        };
        let mut handle = ptr::null_mut();
        // SAFETY: the memory lives until the buffer has ended, and only the library uses it until then.
        ok(unsafe { sys::eum_buffer_wrap(self.context, &config, &mut handle) }, "eum_buffer_wrap")?;
        let address = Some(outside.address as usize).filter(|_| bytes > 0);
        let (known, undefined) = (vec![true; bytes], vec![false; bytes]);
        let outside = Some(outside);
        self.buffers.push(Buffer { handle, bytes: contents, known, undefined, read_only, outside, address });
        Ok(())
    }

    fn destroy(&mut self, index: usize) -> Outcome {
        let buffer = self.buffers.swap_remove(index);
        self.maps.retain(|map| map.buffer != buffer.handle);
        self.ended.push(buffer.handle);
        // SAFETY: the handle is alive; nothing of the buffer is used after.
        ok(unsafe { sys::eum_buffer_destroy(buffer.handle) }, "eum_buffer_destroy")?;
        let Some(outside) = &buffer.outside else { return Ok(()) };
        // SAFETY: the memory is the test's, and the library has let go of it.
        let left = unsafe { slice::from_raw_parts(outside.address, outside.bytes) };
        if (DESTROY_BRINGS_BYTES_HOME && !outside.owned) || buffer.read_only {
            compare(left, &buffer.bytes, &buffer.known, "the wrapped memory after its buffer's end")?;
        }
        match outside.released.load(Ordering::SeqCst) {
            count if count == u32::from(outside.owned) => Ok(()),
            count => Err(format!("the release function was called {count} times")),
        }
    }

    fn give_up(&mut self, pick: Pick) -> Outcome {
        let index = self.index(pick);
        let handle = self.buffers[index].handle;
        let mut refusals = Vec::new();
        if self.buffers[index].outside.as_ref().is_some_and(|outside| !outside.owned) {
            refusals.push(sys::EUM_ERROR_NOT_OWNED);
        }
        if self.maps.iter().any(|map| map.buffer == handle) {
            refusals.push(sys::EUM_ERROR_MAPPED);
        }
        if self.buffers[index].undefined.contains(&true) {
            refusals.push(sys::EUM_ERROR_UNDEFINED_DATA);
        }
        let mut raw = sys::eum_raw::INIT;
        // SAFETY: the handle is alive, `raw` is valid.
        if !expect(unsafe { sys::eum_buffer_into_raw(handle, &mut raw) }, &refusals, "eum_buffer_into_raw")? {
            return Ok(());
        }
        let buffer = self.buffers.swap_remove(index);
        self.ended.push(handle);
        let release = raw.release.ok_or("into_raw gave no release function")?;
        if raw.bytes != buffer.bytes.len() {
            return Err(format!("into_raw gave {} bytes of {}", raw.bytes, buffer.bytes.len()));
        }
        let compared = if raw.bytes == 0 {
            Ok(())
        } else {
            // SAFETY: the memory is the test's now, on the host's side.
            let bytes = unsafe { slice::from_raw_parts(raw.address.cast::<u8>(), raw.bytes) };
            compare(bytes, &buffer.bytes, &buffer.known, "the raw memory")
        };
        // SAFETY: once, with what it came with.
        unsafe { release(raw.release_user, raw.address, raw.bytes) };
        compared
    }

    fn stale(&mut self, pick: Pick) -> Outcome {
        if self.ended.is_empty() {
            return Ok(());
        }
        let buffer = self.ended[pick % self.ended.len()];
        let mut info = sys::eum_buffer_info::INIT;
        let mut byte = 0_u8;
        let view = sys::eum_view { buffer, offset: 0, bytes: 1 };
        let stale = [sys::EUM_ERROR_INVALID_HANDLE];
        // SAFETY: handles are numbers: an ended one is refused, and nothing is touched.
        unsafe {
            expect(sys::eum_buffer_get_info(buffer, &mut info), &stale, "eum_buffer_get_info")?;
            expect(sys::eum_buffer_read(view, ptr::addr_of_mut!(byte).cast()), &stale, "eum_buffer_read")?;
            expect(sys::eum_buffer_destroy(buffer), &stale, "eum_buffer_destroy")?;
        }
        Ok(())
    }

    fn map(&mut self, used: Use, seed: u64) -> Outcome {
        let mut address = ptr::null_mut();
        // SAFETY: the handle is alive, the output valid.
        let status = unsafe { sys::eum_buffer_map(self.view(used), used.access, &mut address) };
        if !expect(status, &self.refusals(used), "eum_buffer_map")? {
            return Ok(());
        }
        let address = address.cast::<u8>();
        self.maps.push(Map {
            buffer: self.handle(used),
            offset: used.offset,
            bytes: used.bytes,
            access: used.access,
            address,
        });
        if address.is_null() {
            return Err("eum_buffer_map gave NULL".into());
        }
        if used.bytes == 0 {
            return Ok(());
        }
        let base = address as usize - used.offset;
        if *self.buffers[used.buffer].address.get_or_insert(base) != base {
            return Err(format!("the buffer's address changed to {base:#x}"));
        }
        // SAFETY: the map covers these bytes, and this is the CPU's turn on them.
        let mapped = unsafe { slice::from_raw_parts(address, used.bytes) };
        if used.access != sys::EUM_ACCESS_OVERWRITE {
            let (bytes, known) = self.model(used);
            compare(mapped, bytes, known, "the mapped bytes")?;
        }
        if used.writes() {
            let new = pattern(seed, used.bytes);
            // An overwrite writes every byte, a read_write may leave some.
            let all = used.access == sys::EUM_ACCESS_OVERWRITE;
            let stride = if all { 1 } else { [1, 2, 5000][seed as usize % 3] };
            let (bytes, known) = self.model(used);
            for at in (0..bytes.len()).step_by(stride) {
                // SAFETY: within the map, which is exclusive.
                unsafe { address.add(at).write(new[at]) };
                (bytes[at], known[at]) = (new[at], true);
            }
            self.define(used, true);
        }
        Ok(())
    }

    fn unmap(&mut self, pick: Pick) -> Outcome {
        if self.maps.is_empty() {
            return Ok(());
        }
        let Map { buffer, address, .. } = self.maps[pick % self.maps.len()];
        // The newest of those with this address ends.
        let newest = self.maps.iter().rposition(|map| map.buffer == buffer && map.address == address);
        let map = self.maps.remove(newest.ok_or("no such map")?);
        let index = self.buffers.iter().position(|b| b.handle == buffer).ok_or("a map without a buffer")?;
        if map.bytes > 0 {
            // SAFETY: the map still lives.
            let mapped = unsafe { slice::from_raw_parts(map.address, map.bytes) };
            let used = Use { buffer: index, offset: map.offset, bytes: map.bytes, access: map.access };
            let (bytes, known) = self.model(used);
            compare(mapped, bytes, known, "the bytes while they were mapped")?;
        }
        // SAFETY: ends the map; nothing uses its address after, unless an older map has the same.
        ok(unsafe { sys::eum_buffer_unmap(buffer, address.cast()) }, "eum_buffer_unmap")
    }

    fn write(&mut self, used: Use, seed: u64) -> Outcome {
        let mut new = pattern(seed, used.bytes);
        // SAFETY: `new` holds the view's bytes.
        let status = unsafe { sys::eum_buffer_write(self.view(used), new.as_ptr().cast()) };
        if !self.may_refuse_empty(used, status) && expect(status, &self.refusals(used), "eum_buffer_write")? {
            let (bytes, known) = self.model(used);
            bytes.copy_from_slice(&new);
            known.fill(true);
            self.define(used, true);
        }
        new.fill(0xEE); // "src may be reused on return"
        Ok(())
    }

    /// A write of no bytes to a read-only buffer: refused or not, both are right.
    fn may_refuse_empty(&self, used: Use, status: sys::eum_status) -> bool {
        used.bytes == 0 && used.writes() && self.buffers[used.buffer].read_only && status == sys::EUM_OK
    }

    /// The bytes as the library reads them, compared; `None` where a map keeps them from being read.
    fn read(&mut self, used: Use) -> Outcome<Option<Vec<u8>>> {
        let mut bytes = vec![0xEE_u8; used.bytes];
        // SAFETY: there is room for the view's bytes.
        let status = unsafe { sys::eum_buffer_read(self.view(used), bytes.as_mut_ptr().cast()) };
        if !expect(status, &self.refusals(used), "eum_buffer_read")? {
            return Ok(None);
        }
        let (model, known) = self.model(used);
        compare(&bytes, model, known, "the bytes read")?;
        Ok(Some(bytes))
    }

    fn launch_refusals(&self, uses: &[Use]) -> Vec<sys::eum_status> {
        let mut refusals = uses.iter().flat_map(|used| self.launch_refusals_of(*used)).collect::<Vec<_>>();
        for (index, a) in uses.iter().enumerate() {
            let clashes = |b: &Use| {
                a.buffer == b.buffer
                    && a.offset.max(b.offset) < (a.offset + a.bytes).min(b.offset + b.bytes)
                    && (a.writes() || b.writes())
            };
            if uses[index + 1..].iter().any(clashes) {
                refusals.push(sys::EUM_ERROR_OVERLAP);
            }
        }
        refusals
    }

    /// What a launch may be refused with, though it need not: for want of memory, or because of data that are undefined, which is
    /// found when the job runs if not before.
    fn later(&self, dooms: bool) -> Vec<sys::eum_status> {
        let mut others = self.pressure().to_vec();
        if dooms {
            others.push(sys::EUM_ERROR_UNDEFINED_DATA);
        }
        others
    }

    fn launch(&mut self, stream: *mut sys::eum_stream, uses: &[Use], seed: u64, fails: bool) -> Outcome {
        let unknown = |used: &Use| {
            let known = &self.buffers[used.buffer].known[used.offset..used.offset + used.bytes];
            used.access != sys::EUM_ACCESS_OVERWRITE && known.contains(&false)
        };
        let code = if fails { 77 } else { 0 };
        let mut params = Params { seed, blind: uses.iter().any(unknown).into(), code, access: [0; MOST] };
        for (access, used) in params.access.iter_mut().zip(uses) {
            *access = used.access;
        }
        let argument = |used: &Use| sys::eum_argument { view: self.view(*used), access: used.access, flags: 0 };
        let arguments = uses.iter().map(argument).collect::<Vec<_>>();
        let config = sys::eum_launch_config {
            cpu: Some(kernel::callback),
            arguments: if arguments.is_empty() { ptr::null() } else { arguments.as_ptr() },
            argument_count: arguments.len(),
            params: ptr::addr_of!(params).cast(),
            params_bytes: size_of::<Params>(),
            ..sys::eum_launch_config::INIT
        };
        let mut job = sys::eum_job::INIT;
        // SAFETY: everything in the configuration lives through the call, and the kernel outlives the job.
        let status = unsafe { sys::eum_launch(stream, &config, &mut job) };
        let empty_writes = uses.iter().any(|used| self.may_refuse_empty(*used, status));
        let dooms = uses.iter().any(|used| self.reads_undefined(used));
        if !empty_writes && !permit(status, &self.launch_refusals(uses), &self.later(dooms), "eum_launch")? {
            return Ok(());
        }
        let fails = fails || dooms;
        self.jobs.push(Job { job, stream, fails, reported: false });
        if fails {
            for used in uses.iter().filter(|used| used.writes()) {
                self.model(*used).1.fill(false);
                self.define(*used, false);
            }
            return Ok(());
        }
        let mut argument = |used: &Use| {
            let bytes = &mut self.buffers[used.buffer].bytes;
            // SAFETY: the offset is within the vector.
            Argument { address: unsafe { bytes.as_mut_ptr().add(used.offset) }, bytes: used.bytes }
        };
        let arguments = uses.iter().map(&mut argument).collect::<Vec<_>>();
        // SAFETY: the model's own vectors; what is written overlaps nothing, or the launch would have been refused.
        unsafe { kernel::work(&params, &arguments) };
        for used in uses {
            let (_, known) = self.model(*used);
            match used.access {
                sys::EUM_ACCESS_OVERWRITE => {
                    known.fill(true);
                    self.define(*used, true);
                }
                sys::EUM_ACCESS_READ_WRITE => kernel::written(seed, used.bytes).for_each(|at| known[at] = true),
                _ => (),
            }
        }
        Ok(())
    }

    fn cosine(
        &mut self,
        stream: *mut sys::eum_stream,
        picks: [Pick; 3],
        dim: usize,
        rows: usize,
        executor: sys::eum_executor,
        look: bool,
    ) -> Outcome {
        let [query, targets, scores] = picks.map(|pick| self.index(pick));
        let floats = |index: usize| self.buffers[index].bytes.len() / 4;
        let dim = dim.min(floats(query));
        if dim == 0 {
            return Ok(());
        }
        let rows = rows.min(floats(targets) / dim).min(floats(scores));
        // The scores go to the end, so that a buffer can be targets and scores at once.
        let query = Use { buffer: query, offset: 0, bytes: dim * 4, access: sys::EUM_ACCESS_READ };
        let targets = Use { buffer: targets, offset: 0, bytes: rows * dim * 4, access: sys::EUM_ACCESS_READ };
        let offset = (floats(scores) - rows) * 4;
        let scores = Use { buffer: scores, offset, bytes: rows * 4, access: sys::EUM_ACCESS_OVERWRITE };
        let config = sys::eum_cosine_config {
            query: self.view(query),
            targets: self.view(targets),
            scores: self.view(scores),
            rows: rows as u64,
            dim: dim as u64,
            executor,
            ..sys::eum_cosine_config::INIT
        };
        let mut job = sys::eum_job::INIT;
        // SAFETY: configuration and output are valid, all handles alive.
        let status = unsafe { sys::eum_cosine(stream, &config, &mut job) };
        if rows == 0 && status == sys::EUM_OK {
            return Ok(()); // Nothing to do, so nothing in the way.
        }
        let fails = [query, targets].iter().any(|used| self.reads_undefined(used));
        let refusals = self.launch_refusals(&[query, targets, scores]);
        if !permit(status, &refusals, &self.later(fails), "eum_cosine")? {
            return Ok(());
        }
        self.jobs.push(Job { job, stream, fails, reported: false });
        let inputs_known = [query, targets].map(|used| !self.model(used).1.contains(&false)) == [true, true];
        self.model(scores).1.fill(false);
        self.define(scores, !fails);
        if look && !fails {
            let (q, t) = (self.floats(query), self.floats(targets));
            let read = self.read(Use { access: sys::EUM_ACCESS_READ, ..scores })?.ok_or("the scores cannot be read")?;
            let (bytes, known) = self.model(scores);
            bytes.copy_from_slice(&read);
            known.fill(true);
            if inputs_known {
                for (row, (score, target)) in floats_of(&read).iter().zip(t.chunks(dim)).enumerate() {
                    check_score(*score, &q, target)
                        .map_err(|why| format!("eum_cosine: row {row} of {rows} x {dim}: {why}"))?;
                }
            }
        }
        Ok(())
    }

    fn floats(&mut self, used: Use) -> Vec<f32> {
        floats_of(self.model(used).0)
    }

    fn open_stream(&mut self) -> Outcome {
        let mut stream = ptr::null_mut();
        // SAFETY: the context is alive, NULL means defaults, the output is valid.
        ok(unsafe { sys::eum_stream_create(self.context, ptr::null(), &mut stream) }, "eum_stream_create")?;
        self.streams.push(stream);
        Ok(())
    }

    fn close_stream(&mut self, pick: Pick) -> Outcome {
        if self.streams.len() == 1 {
            return Ok(());
        }
        let stream = self.streams.remove(1 + pick % (self.streams.len() - 1));
        // SAFETY: the handle is alive, and not used after.
        ok(unsafe { sys::eum_stream_destroy(stream) }, "eum_stream_destroy")
    }

    fn wait(&mut self, pick: Pick) -> Outcome {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let index = pick % self.jobs.len();
        let job = &mut self.jobs[index];
        job.reported = true;
        let refusals: &[_] = if job.fails { &[sys::EUM_ERROR_JOB_FAILED] } else { &[] };
        // SAFETY: a plain value.
        expect(unsafe { sys::eum_job_wait(job.job, -1) }, refusals, "eum_job_wait").map(|_| ())
    }

    fn synchronize(&mut self, stream: *mut sys::eum_stream) -> Outcome {
        let mut refusals = Vec::new();
        for job in self.jobs.iter_mut().filter(|job| job.stream == stream) {
            if job.fails && !job.reported {
                refusals.push(sys::EUM_ERROR_JOB_FAILED);
            }
            job.reported = true;
        }
        // SAFETY: the handle is alive.
        expect(unsafe { sys::eum_stream_synchronize(stream) }, &refusals, "eum_stream_synchronize").map(|_| ())
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

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|chunk| f32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).collect()
}

/// The contract of eum_cosine, where the numbers are neither huge nor tiny.
fn check_score(score: f32, query: &[f32], target: &[f32]) -> Outcome {
    let finite = |floats: &[f32]| floats.iter().all(|x| x.is_finite());
    if !finite(query) || !finite(target) {
        return if score.is_nan() { Ok(()) } else { Err(format!("{score}, and should be NaN")) };
    }
    let decent = |floats: &[f32]| floats.iter().all(|x| *x == 0.0 || (1e-12..1e12).contains(&x.abs()));
    if !decent(query) || !decent(target) {
        return Ok(());
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(query, query) * dot(target, target)).sqrt();
    let exact = if norms == 0.0 { 0.0 } else { dot(query, target) / norms };
    if (f64::from(score) - exact).abs() <= 1e-6 + 1e-5 * exact.abs() {
        Ok(())
    } else {
        Err(format!("{score}, and should be {exact}"))
    }
}

// ---------------------------------------------------------------------------------------------- memory to wrap ---------

fn layout(bytes: usize) -> Layout {
    // 16: what malloc gives. The size is far below where this could fail.
    Layout::from_size_align(bytes.max(1), 16).unwrap_or(Layout::new::<u128>())
}

fn allocate(contents: &[u8]) -> *mut u8 {
    // SAFETY: the layout is not empty; the copy is within it.
    unsafe {
        let address = alloc_zeroed(layout(contents.len()));
        assert!(!address.is_null());
        ptr::copy_nonoverlapping(contents.as_ptr(), address, contents.len());
        address
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the library let go of it before.
        unsafe { dealloc(self.address, layout(self.bytes)) }
    }
}

/// Counts. The memory itself goes with its [`Outside`], so that it can be looked at after.
unsafe extern "C" fn count_release(user: *mut c_void, _address: *mut c_void, _bytes: usize) {
    // SAFETY: the counter outlives its buffer.
    unsafe { &*user.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
}

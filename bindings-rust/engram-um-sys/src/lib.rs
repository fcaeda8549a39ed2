//! Raw declarations of [engram_um](https://docs.rs/engram-um), one for one with `engram_um.h`, which is the manual: what each
//! function needs, returns, owns and fails with stands there. The safe crate is `engram-um`.
//!
//! Enumerations are fixed-width integers with constants, so that a value from a newer library is never undefined behaviour.
//! Structs start with `struct_size`; their `INIT` constants (and `Default`) equal the header's `_INIT` macros.
//!
//! `build.rs` asks pkg-config for an installed library first and builds the bundled sources with CMake otherwise;
//! `ENGRAM_UM_BUILD=system` or `ENGRAM_UM_BUILD=bundled` forces one of them.

#![no_std]
#![allow(non_camel_case_types)]

use core::ffi::{c_char, c_void};
use core::marker::{PhantomData, PhantomPinned};
use core::mem::size_of;
use core::ptr;

/// A type that is only ever pointed to; its pointers are opaque numbers, never dereferenced.
macro_rules! opaque {
    ($name:ident) => {
        #[repr(C)]
        pub struct $name {
            _data: [u8; 0],
            _marker: PhantomData<(*mut u8, PhantomPinned)>,
        }
    };
}

/// `Default`, equal to the header's `_INIT` macro and `_init` function.
macro_rules! default {
    ($name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                Self::INIT
            }
        }
    };
}

// -------------------------------------------------------------------------------------------------- version ----------

pub const EUM_VERSION_MAJOR: i32 = 0;
pub const EUM_VERSION_MINOR: i32 = 1;
pub const EUM_VERSION_PATCH: i32 = 0;
pub const EUM_VERSION_NUMBER: i32 = EUM_VERSION_MAJOR * 10000 + EUM_VERSION_MINOR * 100 + EUM_VERSION_PATCH;
pub const EUM_VERSION_STRING: &str = "0.1.0";

// ---------------------------------------------------------------------------------------- status and errors ----------

pub type eum_status = i32;
pub const EUM_OK: eum_status = 0;
pub const EUM_ERROR_INVALID_HANDLE: eum_status = 100;
pub const EUM_ERROR_INVALID_ARGUMENT: eum_status = 101;
pub const EUM_ERROR_INVALID_ENUM: eum_status = 102;
pub const EUM_ERROR_STRUCT_TOO_SMALL: eum_status = 103;
pub const EUM_ERROR_STRUCT_TOO_NEW: eum_status = 104;
pub const EUM_ERROR_SIZE_OVERFLOW: eum_status = 105;
pub const EUM_ERROR_OUT_OF_BOUNDS: eum_status = 106;
pub const EUM_ERROR_MISALIGNED: eum_status = 107;
pub const EUM_ERROR_BUFFER_TOO_SHORT: eum_status = 108;
pub const EUM_ERROR_READ_ONLY: eum_status = 109;
pub const EUM_ERROR_MAPPED: eum_status = 110;
pub const EUM_ERROR_NOT_MAPPED: eum_status = 111;
pub const EUM_ERROR_OVERLAP: eum_status = 112;
pub const EUM_ERROR_WRONG_CONTEXT: eum_status = 113;
pub const EUM_ERROR_NOT_OWNED: eum_status = 114;
pub const EUM_ERROR_NO_HOST_ACCESS: eum_status = 115;
pub const EUM_ERROR_NO_KERNEL: eum_status = 116;
pub const EUM_ERROR_IN_CALLBACK: eum_status = 117;
pub const EUM_ERROR_UNDEFINED_DATA: eum_status = 118;
pub const EUM_ERROR_FORKED: eum_status = 119;
pub const EUM_ERROR_CAPTURING: eum_status = 120;
pub const EUM_ERROR_INVALID_STATE: eum_status = 121;
pub const EUM_ERROR_DEVICE_UNAVAILABLE: eum_status = 200;
pub const EUM_ERROR_NOT_SUPPORTED: eum_status = 201;
pub const EUM_ERROR_OUT_OF_MEMORY: eum_status = 202;
pub const EUM_ERROR_OUT_OF_DEVICE_MEMORY: eum_status = 203;
pub const EUM_ERROR_OVER_BUDGET: eum_status = 204;
pub const EUM_ERROR_TIMEOUT: eum_status = 205;
pub const EUM_ERROR_LAUNCH_FAILED: eum_status = 206;
pub const EUM_ERROR_JOB_FAILED: eum_status = 207;
pub const EUM_ERROR_DEVICE_LOST: eum_status = 208;
pub const EUM_ERROR_DRIVER: eum_status = 209;
pub const EUM_ERROR_CUDA: eum_status = 210;
pub const EUM_ERROR_SYSTEM: eum_status = 211;
pub const EUM_ERROR_COUNTING_UNAVAILABLE: eum_status = 212;
pub const EUM_ERROR_COUNTING_REFUSED: eum_status = 213;
pub const EUM_ERROR_COUNTING_DROPPED: eum_status = 214;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_error {
    pub struct_size: usize,
    pub status: eum_status,
    pub cuda_code: i32,
    pub cuda_name: [c_char; 64],
    pub sentence: [c_char; 512],
}

impl eum_error {
    pub const INIT: Self =
        Self { struct_size: size_of::<Self>(), status: 0, cuda_code: 0, cuda_name: [0; 64], sentence: [0; 512] };
}

default!(eum_error);

// ---------------------------------------------------------------------------------------------------- words ----------

opaque!(eum_context);
opaque!(eum_buffer);
opaque!(eum_stream);

pub type eum_backing = i32;
pub const EUM_BACKING_AUTO: eum_backing = 0;
pub const EUM_BACKING_MANAGED: eum_backing = 1;
pub const EUM_BACKING_MIRRORED: eum_backing = 2;
pub const EUM_BACKING_MAPPED: eum_backing = 3;
pub const EUM_BACKING_HOST: eum_backing = 4;
pub const EUM_BACKING_DEVICE: eum_backing = 5;

pub type eum_role = i32;
pub const EUM_ROLE_AUTO: eum_role = 0;
pub const EUM_ROLE_QUERY: eum_role = 1;
pub const EUM_ROLE_TARGETS: eum_role = 2;
pub const EUM_ROLE_RESULTS: eum_role = 3;
pub const EUM_ROLE_STREAM: eum_role = 4;

pub type eum_access = i32;
pub const EUM_ACCESS_READ: eum_access = 1;
pub const EUM_ACCESS_READ_WRITE: eum_access = 2;
pub const EUM_ACCESS_OVERWRITE: eum_access = 3;

pub type eum_location = i32;
pub const EUM_LOCATION_HOST: eum_location = -1;

pub type eum_ownership = i32;
pub const EUM_OWNED: eum_ownership = 1;
pub const EUM_BORROWED: eum_ownership = 2;

pub type eum_memory = i32;
pub const EUM_MEMORY_HOST: eum_memory = 1;
pub const EUM_MEMORY_PINNED: eum_memory = 2;
pub const EUM_MEMORY_MANAGED: eum_memory = 3;
pub const EUM_MEMORY_DEVICE: eum_memory = 4;

// ------------------------------------------------------------------------------------------------- contexts ----------

pub type eum_log_level = i32;
pub const EUM_LOG_OFF: eum_log_level = 0;
pub const EUM_LOG_ERROR: eum_log_level = 1;
pub const EUM_LOG_WARN: eum_log_level = 2;
pub const EUM_LOG_INFO: eum_log_level = 3;
pub const EUM_LOG_DEBUG: eum_log_level = 4;

pub type eum_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, level: eum_log_level, message: *const c_char)>;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_context_config {
    pub struct_size: usize,
    pub device: *const c_char,
    pub backing: eum_backing,
    pub worker_threads: u32,
    pub budget_bytes: u64,
    pub flags: u32,
    pub log_level: eum_log_level,
    pub log_fn: eum_log_fn,
    pub log_user: *mut c_void,
    pub pool_bytes: u64,
}

impl eum_context_config {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        device: ptr::null(),
        backing: 0,
        worker_threads: 0,
        budget_bytes: 0,
        flags: 0,
        log_level: 0,
        log_fn: None,
        log_user: ptr::null_mut(),
        pool_bytes: 0,
    };
}

default!(eum_context_config);

pub const EUM_CONTEXT_OVERSUBSCRIBE: u32 = 1;

// -------------------------------------------------------------------------------------------------- buffers ----------

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_view {
    pub buffer: *mut eum_buffer,
    pub offset: usize,
    pub bytes: usize,
}

impl eum_view {
    pub const INIT: Self = Self { buffer: ptr::null_mut(), offset: 0, bytes: 0 };
}

default!(eum_view);

pub const EUM_WHOLE_SIZE: usize = usize::MAX;
pub const EUM_POOL_OFF: u64 = u64::MAX;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_buffer_config {
    pub struct_size: usize,
    pub role: eum_role,
    pub backing: eum_backing,
    pub flags: u32,
    pub reserved: u32,
}

impl eum_buffer_config {
    pub const INIT: Self = Self { struct_size: size_of::<Self>(), role: 0, backing: 0, flags: 0, reserved: 0 };
}

default!(eum_buffer_config);

pub const EUM_BUFFER_ZEROED: u32 = 1;

pub type eum_release_fn = Option<unsafe extern "C" fn(user: *mut c_void, address: *mut c_void, bytes: usize)>;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_wrap_config {
    pub struct_size: usize,
    pub address: *mut c_void,
    pub bytes: usize,
    pub memory: eum_memory,
    pub ownership: eum_ownership,
    pub flags: u32,
    pub role: eum_role,
    pub release: eum_release_fn,
    pub release_user: *mut c_void,
}

impl eum_wrap_config {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        address: ptr::null_mut(),
        bytes: 0,
        memory: EUM_MEMORY_HOST,
        ownership: EUM_BORROWED,
        flags: 0,
        role: 0,
        release: None,
        release_user: ptr::null_mut(),
    };
}

default!(eum_wrap_config);

pub const EUM_WRAP_READ_ONLY: u32 = 1;
pub const EUM_WRAP_REGISTER: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_raw {
    pub struct_size: usize,
    pub address: *mut c_void,
    pub device_address: *mut c_void,
    pub bytes: usize,
    pub memory: eum_memory,
    pub reserved: i32,
    pub release: eum_release_fn,
    pub release_user: *mut c_void,
}

impl eum_raw {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        address: ptr::null_mut(),
        device_address: ptr::null_mut(),
        bytes: 0,
        memory: EUM_MEMORY_HOST,
        reserved: 0,
        release: None,
        release_user: ptr::null_mut(),
    };
}

default!(eum_raw);

// ---------------------------------------------------------------------------------- maps and bulk transfers ----------

pub type eum_advice = i32;
pub const EUM_ADVICE_READ_MOSTLY: eum_advice = 1;
pub const EUM_ADVICE_UNSET_READ_MOSTLY: eum_advice = 2;
pub const EUM_ADVICE_PREFERRED_LOCATION: eum_advice = 3;
pub const EUM_ADVICE_UNSET_PREFERRED_LOCATION: eum_advice = 4;
pub const EUM_ADVICE_ACCESSED_BY: eum_advice = 5;
pub const EUM_ADVICE_UNSET_ACCESSED_BY: eum_advice = 6;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_hint {
    pub struct_size: usize,
    pub applied: i32,
    pub reason: eum_status,
    pub sentence: [c_char; 256],
}

impl eum_hint {
    pub const INIT: Self = Self { struct_size: size_of::<Self>(), applied: 0, reason: 0, sentence: [0; 256] };
}

default!(eum_hint);

// ----------------------------------------------------------------------------------------- streams and jobs ----------

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_job {
    pub context: *mut eum_context,
    pub stream: u64,
    pub sequence: u64,
}

impl eum_job {
    pub const INIT: Self = Self { context: ptr::null_mut(), stream: 0, sequence: 0 };
}

default!(eum_job);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_stream_config {
    pub struct_size: usize,
    pub device: i32,
    pub flags: u32,
}

impl eum_stream_config {
    pub const INIT: Self = Self { struct_size: size_of::<Self>(), device: 0, flags: 0 };
}

default!(eum_stream_config);

// ------------------------------------------------------------------------------------------------- launches ----------

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_argument {
    pub view: eum_view,
    pub access: eum_access,
    pub flags: u32,
}

pub const EUM_ARGUMENT_ONCE: u32 = 1;

impl eum_argument {
    pub const INIT: Self = Self { view: eum_view::INIT, access: 0, flags: 0 };
}

default!(eum_argument);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_kernel_call {
    pub struct_size: usize,
    pub count: usize,
    pub addresses: *const *mut c_void,
    pub bytes: *const usize,
    pub params: *const c_void,
    pub params_bytes: usize,
    pub user: *mut c_void,
    pub stream: *mut c_void,
    pub device: i32,
    pub reserved: i32,
}

impl eum_kernel_call {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        count: 0,
        addresses: ptr::null(),
        bytes: ptr::null(),
        params: ptr::null(),
        params_bytes: 0,
        user: ptr::null_mut(),
        stream: ptr::null_mut(),
        device: 0,
        reserved: 0,
    };
}

default!(eum_kernel_call);

pub type eum_kernel_fn = Option<unsafe extern "C" fn(call: *const eum_kernel_call) -> i32>;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_launch_config {
    pub struct_size: usize,
    pub gpu: eum_kernel_fn,
    pub cpu: eum_kernel_fn,
    pub arguments: *const eum_argument,
    pub argument_count: usize,
    pub params: *const c_void,
    pub params_bytes: usize,
    pub user: *mut c_void,
}

impl eum_launch_config {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        gpu: None,
        cpu: None,
        arguments: ptr::null(),
        argument_count: 0,
        params: ptr::null(),
        params_bytes: 0,
        user: ptr::null_mut(),
    };
}

default!(eum_launch_config);

pub type eum_done_fn = Option<unsafe extern "C" fn(user: *mut c_void, status: eum_status)>;

// ----------------------------------------------------------------------------------------------- similarity ----------

pub type eum_executor = i32;
pub const EUM_EXECUTOR_AUTO: eum_executor = 0;
pub const EUM_EXECUTOR_CPU: eum_executor = 1;
pub const EUM_EXECUTOR_DEVICE: eum_executor = 2;
pub const EUM_EXECUTORS: usize = 3;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_cosine_config {
    pub struct_size: usize,
    pub query: eum_view,
    pub targets: eum_view,
    pub scores: eum_view,
    pub rows: u64,
    pub dim: u64,
    pub row_stride: usize,
    pub executor: eum_executor,
    pub reserved: i32,
    pub host_targets: *const c_void,
}

impl eum_cosine_config {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        query: eum_view::INIT,
        targets: eum_view::INIT,
        scores: eum_view::INIT,
        rows: 0,
        dim: 0,
        row_stride: 0,
        executor: EUM_EXECUTOR_AUTO,
        reserved: 0,
        host_targets: ptr::null(),
    };
}

default!(eum_cosine_config);

pub type eum_metric = i32;
pub const EUM_METRIC_COSINE: eum_metric = 1;
pub const EUM_METRIC_DOT: eum_metric = 2;
pub const EUM_METRIC_L2_SQUARED: eum_metric = 3;

pub type eum_element = i32;
pub const EUM_ELEMENT_FLOAT32: eum_element = 1;
pub const EUM_ELEMENT_FLOAT16: eum_element = 2;
pub const EUM_ELEMENT_BFLOAT16: eum_element = 3;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_similarity_config {
    pub struct_size: usize,
    pub metric: eum_metric,
    pub element: eum_element,
    pub queries: eum_view,
    pub targets: eum_view,
    pub scores: eum_view,
    pub query_count: u64,
    pub rows: u64,
    pub dim: u64,
    pub query_stride: usize,
    pub row_stride: usize,
    pub executor: eum_executor,
    pub reserved: i32,
    pub host_targets: *const c_void,
}

impl eum_similarity_config {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        metric: EUM_METRIC_COSINE,
        element: EUM_ELEMENT_FLOAT32,
        queries: eum_view::INIT,
        targets: eum_view::INIT,
        scores: eum_view::INIT,
        query_count: 1,
        rows: 0,
        dim: 0,
        query_stride: 0,
        row_stride: 0,
        executor: EUM_EXECUTOR_AUTO,
        reserved: 0,
        host_targets: ptr::null(),
    };
}

default!(eum_similarity_config);

pub const EUM_TOPK_MOST: u64 = 1024;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_topk_config {
    pub struct_size: usize,
    pub metric: eum_metric,
    pub element: eum_element,
    pub queries: eum_view,
    pub targets: eum_view,
    pub indices: eum_view,
    pub scores: eum_view,
    pub query_count: u64,
    pub rows: u64,
    pub dim: u64,
    pub k: u64,
    pub query_stride: usize,
    pub row_stride: usize,
    pub executor: eum_executor,
    pub reserved: i32,
    pub host_targets: *const c_void,
}

impl eum_topk_config {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        metric: EUM_METRIC_COSINE,
        element: EUM_ELEMENT_FLOAT32,
        queries: eum_view::INIT,
        targets: eum_view::INIT,
        indices: eum_view::INIT,
        scores: eum_view::INIT,
        query_count: 1,
        rows: 0,
        dim: 0,
        k: 1,
        query_stride: 0,
        row_stride: 0,
        executor: EUM_EXECUTOR_AUTO,
        reserved: 0,
        host_targets: ptr::null(),
    };
}

default!(eum_topk_config);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_similarity_rows_config {
    pub struct_size: usize,
    pub metric: eum_metric,
    pub element: eum_element,
    pub queries: eum_view,
    pub targets: eum_view,
    pub scores: eum_view,
    pub query_count: u64,
    pub rows: u64,
    pub dim: u64,
    pub numbers: *const i64,
    pub number_count: u64,
    pub query_stride: usize,
    pub row_stride: usize,
    pub executor: eum_executor,
    pub reserved: i32,
    pub host_targets: *const c_void,
}

impl eum_similarity_rows_config {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        metric: EUM_METRIC_COSINE,
        element: EUM_ELEMENT_FLOAT32,
        queries: eum_view::INIT,
        targets: eum_view::INIT,
        scores: eum_view::INIT,
        query_count: 1,
        rows: 0,
        dim: 0,
        numbers: ptr::null(),
        number_count: 0,
        query_stride: 0,
        row_stride: 0,
        executor: EUM_EXECUTOR_AUTO,
        reserved: 0,
        host_targets: ptr::null(),
    };
}

default!(eum_similarity_rows_config);

// -------------------------------------------------------------------------------------------- observability ----------

pub type eum_device_kind = i32;
pub const EUM_DEVICE_HOST: eum_device_kind = 1;
pub const EUM_DEVICE_CUDA: eum_device_kind = 2;
pub const EUM_DEVICE_SIM: eum_device_kind = 3;

pub type eum_reason = i32;
pub const EUM_REASON_ASKED: eum_reason = 1;
pub const EUM_REASON_BEST: eum_reason = 2;
pub const EUM_REASON_BUILT_WITHOUT: eum_reason = 3;
pub const EUM_REASON_NO_DRIVER: eum_reason = 4;
pub const EUM_REASON_DRIVER_TOO_OLD: eum_reason = 5;
pub const EUM_REASON_NO_DEVICE: eum_reason = 6;
pub const EUM_REASON_DEVICES_HIDDEN: eum_reason = 7;
pub const EUM_REASON_DRIVER_FAILED: eum_reason = 8;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_info {
    pub struct_size: usize,
    pub device_kind: eum_device_kind,
    pub device_index: i32,
    pub device_reason: eum_reason,
    pub backing: eum_backing,
    pub worker_threads: u32,
    pub compute_major: i32,
    pub compute_minor: i32,
    pub driver_version: i32,
    pub runtime_version: i32,
    pub managed: i32,
    pub concurrent_managed: i32,
    pub pageable: i32,
    pub discard: i32,
    pub page_bytes: u64,
    pub memory_total: u64,
    pub memory_free: u64,
    pub budget_bytes: u64,
    pub budget_used: u64,
    pub device_name: [c_char; 128],
    pub device_sentence: [c_char; 256],
    pub backing_sentence: [c_char; 256],
    pub cpu_kernels: [c_char; 32],
}

impl eum_info {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        device_kind: 0,
        device_index: 0,
        device_reason: 0,
        backing: 0,
        worker_threads: 0,
        compute_major: 0,
        compute_minor: 0,
        driver_version: 0,
        runtime_version: 0,
        managed: 0,
        concurrent_managed: 0,
        pageable: 0,
        discard: 0,
        page_bytes: 0,
        memory_total: 0,
        memory_free: 0,
        budget_bytes: 0,
        budget_used: 0,
        device_name: [0; 128],
        device_sentence: [0; 256],
        backing_sentence: [0; 256],
        cpu_kernels: [0; 32],
    };
}

default!(eum_info);

pub const EUM_MEMORY_KINDS: usize = 5;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_stats {
    pub struct_size: usize,
    pub buffers_live: u64,
    pub buffers_peak: u64,
    pub bytes_live: u64,
    pub bytes_peak: u64,
    pub maps_live: u64,
    pub launches: u64,
    pub jobs_failed: u64,
    pub bytes_to_device: u64,
    pub bytes_to_host: u64,
    pub moves_to_device: u64,
    pub moves_to_host: u64,
    pub bytes_discarded: u64,
    pub hints_applied: u64,
    pub hints_not_applied: u64,
    pub raw_allocations: [u64; EUM_MEMORY_KINDS],
    pub raw_frees: [u64; EUM_MEMORY_KINDS],
    pub raw_given_up: [u64; EUM_MEMORY_KINDS],
    pub pool_bytes: u64,
    pub pool_hits: u64,
    pub pool_misses: u64,
}

impl eum_stats {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        buffers_live: 0,
        buffers_peak: 0,
        bytes_live: 0,
        bytes_peak: 0,
        maps_live: 0,
        launches: 0,
        jobs_failed: 0,
        bytes_to_device: 0,
        bytes_to_host: 0,
        moves_to_device: 0,
        moves_to_host: 0,
        bytes_discarded: 0,
        hints_applied: 0,
        hints_not_applied: 0,
        raw_allocations: [0; EUM_MEMORY_KINDS],
        raw_frees: [0; EUM_MEMORY_KINDS],
        raw_given_up: [0; EUM_MEMORY_KINDS],
        pool_bytes: 0,
        pool_hits: 0,
        pool_misses: 0,
    };
}

default!(eum_stats);

pub type eum_operation = i32;
pub const EUM_OPERATION_COSINE: eum_operation = 1;
pub const EUM_OPERATION_SIMILARITY: eum_operation = 2;
pub const EUM_OPERATION_TOPK: eum_operation = 3;
pub const EUM_OPERATION_ROWS: eum_operation = 4;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_operation_stats {
    pub struct_size: usize,
    pub runs: [u64; EUM_EXECUTORS],
    pub timed: [u64; EUM_EXECUTORS],
    pub predicted_ns: [u64; EUM_EXECUTORS],
    pub actual_ns: [u64; EUM_EXECUTORS],
    pub chunked: u64,
    pub fallbacks: u64,
    pub last_executor: eum_executor,
    pub rest: u32,
    pub last_predicted_ns: [u64; EUM_EXECUTORS],
    pub last_actual_ns: u64,
}

impl eum_operation_stats {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        runs: [0; EUM_EXECUTORS],
        timed: [0; EUM_EXECUTORS],
        predicted_ns: [0; EUM_EXECUTORS],
        actual_ns: [0; EUM_EXECUTORS],
        chunked: 0,
        fallbacks: 0,
        last_executor: EUM_EXECUTOR_AUTO,
        rest: 0,
        last_predicted_ns: [0; EUM_EXECUTORS],
        last_actual_ns: 0,
    };
}

default!(eum_operation_stats);

pub type eum_costs_source = i32;
pub const EUM_COSTS_DEFAULT: eum_costs_source = 1;
pub const EUM_COSTS_FILE: eum_costs_source = 2;
pub const EUM_COSTS_MEASURED: eum_costs_source = 3;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_costs_info {
    pub struct_size: usize,
    pub source: eum_costs_source,
    pub reserved: i32,
    pub to_device_mbps: u64,
    pub to_host_mbps: u64,
    pub in_place_mbps: u64,
    pub memory_mbps: u64,
    pub copy_ns: u64,
    pub prefetch_ns: u64,
    pub prefetch_unit_ns: u64,
    pub prefetch_unit_bytes: u64,
    pub launch_ns: u64,
    pub macs_mhz: u64,
    pub host_copy_mbps: u64,
    pub host_copy_all_mbps: u64,
    pub calibration_ns: u64,
}

impl eum_costs_info {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        source: 0,
        reserved: 0,
        to_device_mbps: 0,
        to_host_mbps: 0,
        in_place_mbps: 0,
        memory_mbps: 0,
        copy_ns: 0,
        prefetch_ns: 0,
        prefetch_unit_ns: 0,
        prefetch_unit_bytes: 0,
        launch_ns: 0,
        macs_mhz: 0,
        host_copy_mbps: 0,
        host_copy_all_mbps: 0,
        calibration_ns: 0,
    };
}

default!(eum_costs_info);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_break_even_config {
    pub struct_size: usize,
    pub element: eum_element,
    pub reserved: i32,
    pub dim: u64,
    pub query_count: u64,
    pub rows: u64,
}

impl eum_break_even_config {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        element: EUM_ELEMENT_FLOAT32,
        reserved: 0,
        dim: 0,
        query_count: 1,
        rows: 0,
    };
}

default!(eum_break_even_config);

pub const EUM_NEVER: u64 = u64::MAX;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_break_even {
    pub struct_size: usize,
    pub rows_cold: u64,
    pub rows_resident: u64,
    pub uses: u64,
    pub cpu_ns: u64,
    pub device_cold_ns: u64,
    pub device_resident_ns: u64,
}

impl eum_break_even {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        rows_cold: 0,
        rows_resident: 0,
        uses: 0,
        cpu_ns: 0,
        device_cold_ns: 0,
        device_resident_ns: 0,
    };
}

default!(eum_break_even);

pub type eum_movement = i32;
pub const EUM_MOVEMENT_NONE: eum_movement = 0;
pub const EUM_MOVEMENT_PREFETCH: eum_movement = 1;
pub const EUM_MOVEMENT_DUPLICATE: eum_movement = 2;
pub const EUM_MOVEMENT_IN_PLACE: eum_movement = 3;
pub const EUM_MOVEMENT_COPY: eum_movement = 4;
pub const EUM_MOVEMENT_DISCARD: eum_movement = 5;

pub type eum_backing_reason = i32;
pub const EUM_BACKING_REASON_FORCED: eum_backing_reason = 1;
pub const EUM_BACKING_REASON_CONCURRENT: eum_backing_reason = 2;
pub const EUM_BACKING_REASON_NO_CONCURRENT: eum_backing_reason = 3;
pub const EUM_BACKING_REASON_NO_MANAGED: eum_backing_reason = 4;
pub const EUM_BACKING_REASON_NO_DEVICE: eum_backing_reason = 5;
pub const EUM_BACKING_REASON_WRAPPED: eum_backing_reason = 6;
pub const EUM_BACKING_REASON_COPIES_PAY: eum_backing_reason = 7;

pub type eum_contradiction = i32;
pub const EUM_CONTRADICTION_NONE: eum_contradiction = 0;
pub const EUM_CONTRADICTION_QUERY_REWRITTEN: eum_contradiction = 1;
pub const EUM_CONTRADICTION_TARGETS_REWRITTEN: eum_contradiction = 2;
pub const EUM_CONTRADICTION_STREAM_REUSED: eum_contradiction = 3;
pub const EUM_CONTRADICTION_RESULTS_REREAD: eum_contradiction = 4;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_decision {
    pub struct_size: usize,
    pub role: eum_role,
    pub backing: eum_backing,
    pub backing_reason: eum_backing_reason,
    pub last_movement: eum_movement,
    pub last_bytes: u64,
    pub bytes_to_device: u64,
    pub bytes_to_host: u64,
    pub bytes_on_host: u64,
    pub bytes_on_device: u64,
    pub launches: u64,
    pub maps: u64,
    pub extents: u32,
    pub reserved: u32,
    pub in_place_ns: u64,
    pub move_ns: u64,
    pub contradiction: eum_contradiction,
    pub reserved2: u32,
}

impl eum_decision {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        role: 0,
        backing: 0,
        backing_reason: 0,
        last_movement: 0,
        last_bytes: 0,
        bytes_to_device: 0,
        bytes_to_host: 0,
        bytes_on_host: 0,
        bytes_on_device: 0,
        launches: 0,
        maps: 0,
        extents: 0,
        reserved: 0,
        in_place_ns: 0,
        move_ns: 0,
        contradiction: 0,
        reserved2: 0,
    };
}

default!(eum_decision);

pub const EUM_CAUSE_FAULT: usize = 0;
pub const EUM_CAUSE_PREFETCH: usize = 1;
pub const EUM_CAUSE_EVICTION: usize = 2;
pub const EUM_CAUSE_OTHER: usize = 3;
pub const EUM_CAUSES: usize = 4;

pub type eum_fault_source = i32;
pub const EUM_FAULT_SOURCE_NONE: eum_fault_source = 1;
pub const EUM_FAULT_SOURCE_SIM: eum_fault_source = 2;
pub const EUM_FAULT_SOURCE_CUPTI: eum_fault_source = 3;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_faults {
    pub struct_size: usize,
    pub source: eum_fault_source,
    pub reserved: i32,
    pub cpu_faults: u64,
    pub gpu_faults: u64,
    pub bytes_to_device: [u64; EUM_CAUSES],
    pub bytes_to_host: [u64; EUM_CAUSES],
    pub bytes_copied_to_device: u64,
    pub bytes_copied_to_host: u64,
}

impl eum_faults {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        source: EUM_FAULT_SOURCE_NONE,
        reserved: 0,
        cpu_faults: 0,
        gpu_faults: 0,
        bytes_to_device: [0; EUM_CAUSES],
        bytes_to_host: [0; EUM_CAUSES],
        bytes_copied_to_device: 0,
        bytes_copied_to_host: 0,
    };
}

default!(eum_faults);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eum_buffer_info {
    pub struct_size: usize,
    pub bytes: usize,
    pub role: eum_role,
    pub backing: eum_backing,
    pub ownership: eum_ownership,
    pub read_only: i32,
    pub maps: u32,
    pub reserved: u32,
}

impl eum_buffer_info {
    pub const INIT: Self = Self {
        struct_size: size_of::<Self>(),
        bytes: 0,
        role: 0,
        backing: 0,
        ownership: 0,
        read_only: 0,
        maps: 0,
        reserved: 0,
    };
}

default!(eum_buffer_info);

// ------------------------------------------------------------------------------------------------ functions ----------

extern "C" {
    pub fn eum_version_number() -> i32;
    pub fn eum_version_string() -> *const c_char;
    pub fn eum_status_name(status: eum_status) -> *const c_char;
    pub fn eum_status_text(status: eum_status) -> *const c_char;
    pub fn eum_status_from_cuda(cuda_code: i32) -> eum_status;
    pub fn eum_error_init(error: *mut eum_error);
    pub fn eum_last_error(error: *mut eum_error) -> eum_status;
    pub fn eum_context_config_init(config: *mut eum_context_config);
    pub fn eum_context_create(config: *const eum_context_config, out: *mut *mut eum_context) -> eum_status;
    pub fn eum_context_destroy(context: *mut eum_context) -> eum_status;
    pub fn eum_buffer_config_init(config: *mut eum_buffer_config);
    pub fn eum_buffer_create(
        context: *mut eum_context,
        bytes: usize,
        config: *const eum_buffer_config,
        out: *mut *mut eum_buffer,
    ) -> eum_status;
    pub fn eum_wrap_config_init(config: *mut eum_wrap_config);
    pub fn eum_buffer_wrap(
        context: *mut eum_context,
        config: *const eum_wrap_config,
        out: *mut *mut eum_buffer,
    ) -> eum_status;
    pub fn eum_raw_init(raw: *mut eum_raw);
    pub fn eum_buffer_into_raw(buffer: *mut eum_buffer, out: *mut eum_raw) -> eum_status;
    pub fn eum_buffer_destroy(buffer: *mut eum_buffer) -> eum_status;
    pub fn eum_buffer_set_role(buffer: *mut eum_buffer, role: eum_role) -> eum_status;
    pub fn eum_buffer_map(view: eum_view, access: eum_access, out: *mut *mut c_void) -> eum_status;
    pub fn eum_buffer_unmap(buffer: *mut eum_buffer, mapped: *mut c_void) -> eum_status;
    pub fn eum_buffer_write(view: eum_view, src: *const c_void) -> eum_status;
    pub fn eum_buffer_read(view: eum_view, dst: *mut c_void) -> eum_status;
    pub fn eum_buffer_prefetch(view: eum_view, where_: eum_location, stream: *mut eum_stream) -> eum_status;
    pub fn eum_hint_init(hint: *mut eum_hint);
    pub fn eum_buffer_advise(
        view: eum_view,
        advice: eum_advice,
        where_: eum_location,
        out: *mut eum_hint,
    ) -> eum_status;
    pub fn eum_stream_config_init(config: *mut eum_stream_config);
    pub fn eum_context_default_stream(context: *mut eum_context, out: *mut *mut eum_stream) -> eum_status;
    pub fn eum_stream_create(
        context: *mut eum_context,
        config: *const eum_stream_config,
        out: *mut *mut eum_stream,
    ) -> eum_status;
    pub fn eum_stream_wrap(
        context: *mut eum_context,
        cuda_stream: *mut c_void,
        out: *mut *mut eum_stream,
    ) -> eum_status;
    pub fn eum_stream_destroy(stream: *mut eum_stream) -> eum_status;
    pub fn eum_stream_synchronize(stream: *mut eum_stream) -> eum_status;
    pub fn eum_job_wait(job: eum_job, timeout_ns: i64) -> eum_status;
    pub fn eum_launch_config_init(config: *mut eum_launch_config);
    pub fn eum_launch(stream: *mut eum_stream, config: *const eum_launch_config, out: *mut eum_job) -> eum_status;
    pub fn eum_stream_on_done(stream: *mut eum_stream, fn_: eum_done_fn, user: *mut c_void) -> eum_status;
    pub fn eum_stream_native(stream: *mut eum_stream, out_cuda_stream: *mut *mut c_void) -> eum_status;
    pub fn eum_job_cuda_event(job: eum_job, out_cuda_event: *mut *mut c_void) -> eum_status;
    pub fn eum_stream_acquire(
        stream: *mut eum_stream,
        arguments: *const eum_argument,
        count: usize,
        out_addresses: *mut *mut c_void,
    ) -> eum_status;
    pub fn eum_stream_release(
        stream: *mut eum_stream,
        arguments: *const eum_argument,
        count: usize,
        out: *mut eum_job,
    ) -> eum_status;
    pub fn eum_cosine_config_init(config: *mut eum_cosine_config);
    pub fn eum_cosine(stream: *mut eum_stream, config: *const eum_cosine_config, out: *mut eum_job) -> eum_status;
    pub fn eum_similarity_config_init(config: *mut eum_similarity_config);
    pub fn eum_similarity(
        stream: *mut eum_stream,
        config: *const eum_similarity_config,
        out: *mut eum_job,
    ) -> eum_status;
    pub fn eum_topk_config_init(config: *mut eum_topk_config);
    pub fn eum_topk(stream: *mut eum_stream, config: *const eum_topk_config, out: *mut eum_job) -> eum_status;
    pub fn eum_similarity_rows_config_init(config: *mut eum_similarity_rows_config);
    pub fn eum_similarity_rows(
        stream: *mut eum_stream,
        config: *const eum_similarity_rows_config,
        out: *mut eum_job,
    ) -> eum_status;
    pub fn eum_info_init(info: *mut eum_info);
    pub fn eum_context_info(context: *const eum_context, out: *mut eum_info) -> eum_status;
    pub fn eum_stats_init(stats: *mut eum_stats);
    pub fn eum_context_stats(context: *const eum_context, out: *mut eum_stats) -> eum_status;
    pub fn eum_operation_stats_init(stats: *mut eum_operation_stats);
    pub fn eum_context_operation_stats(
        context: *const eum_context,
        operation: eum_operation,
        out: *mut eum_operation_stats,
    ) -> eum_status;
    pub fn eum_context_trim(context: *mut eum_context, keep: u64) -> eum_status;
    pub fn eum_costs_info_init(info: *mut eum_costs_info);
    pub fn eum_context_costs(context: *const eum_context, out: *mut eum_costs_info) -> eum_status;
    pub fn eum_context_calibrate(context: *mut eum_context, out: *mut eum_costs_info) -> eum_status;
    pub fn eum_context_save_costs(context: *const eum_context, path: *const c_char) -> eum_status;
    pub fn eum_break_even_config_init(config: *mut eum_break_even_config);
    pub fn eum_break_even_init(out: *mut eum_break_even);
    pub fn eum_context_break_even(
        context: *const eum_context,
        config: *const eum_break_even_config,
        out: *mut eum_break_even,
    ) -> eum_status;
    pub fn eum_decision_init(decision: *mut eum_decision);
    pub fn eum_buffer_explain(buffer: *const eum_buffer, out: *mut eum_decision) -> eum_status;
    pub fn eum_decision_text(
        decision: *const eum_decision,
        text: *mut c_char,
        capacity: usize,
        needed: *mut usize,
    ) -> eum_status;
    pub fn eum_faults_init(faults: *mut eum_faults);
    pub fn eum_faults_begin(context: *mut eum_context) -> eum_status;
    pub fn eum_faults_end(context: *mut eum_context, out: *mut eum_faults) -> eum_status;
    pub fn eum_buffer_faults(buffer: *mut eum_buffer, out: *mut eum_faults) -> eum_status;
    pub fn eum_buffer_info_init(info: *mut eum_buffer_info);
    pub fn eum_buffer_get_info(buffer: *const eum_buffer, out: *mut eum_buffer_info) -> eum_status;
}

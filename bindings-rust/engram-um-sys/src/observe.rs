//! What contexts and buffers are and have done.

use crate::*;

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
    pub prefetch_batches: u64,
    pub graph_launches: u64,
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
        prefetch_batches: 0,
        graph_launches: 0,
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

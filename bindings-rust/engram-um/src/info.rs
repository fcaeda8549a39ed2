//! What the library says about itself: the device, the counters, the decisions.

use crate::error::text;
use crate::sys;
use crate::words::{Backing, BackingReason, Contradiction, DeviceKind, DeviceReason, Movement, Role};
use std::fmt;

/// What a context runs on, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The kind of device.
    pub device_kind: DeviceKind,
    /// Which one of its kind.
    pub device_index: i32,
    /// Why this device.
    pub device_reason: DeviceReason,
    /// What owned buffers get.
    pub backing: Backing,
    /// Threads of the CPU kernels.
    pub worker_threads: u32,
    /// CUDA compute capability, major and minor; `None` on the host.
    pub compute_capability: Option<(i32, i32)>,
    /// CUDA's number of the driver (13000 for 13.0); `None` where there is none.
    pub driver_version: Option<i32>,
    /// CUDA's number of the runtime; `None` where the library was built without.
    pub runtime_version: Option<i32>,
    /// Managed memory exists.
    pub managed: bool,
    /// The CPU and kernels may use managed memory at once.
    pub concurrent_managed: bool,
    /// Kernels reach plain host memory.
    pub pageable: bool,
    /// Worthless bytes can be dropped instead of moved.
    pub discard: bool,
    /// Granule of managed migration, in bytes.
    pub page_bytes: u64,
    /// Device memory in bytes; on the host, the machine's.
    pub memory_total: u64,
    /// Of it, what is free.
    pub memory_free: u64,
    /// The budget in bytes; 0 on the host, where there is none.
    pub budget_bytes: u64,
    /// Of it, what is used.
    pub budget_used: u64,
    /// The device's name.
    pub device_name: String,
    /// Why this device, and what would change it.
    pub device_sentence: String,
    /// Why this backing.
    pub backing_sentence: String,
    /// The CPU kernels in use: "avx512", "avx2", "neon" or "scalar".
    pub cpu_kernels: String,
}

impl Info {
    pub(crate) fn from_raw(raw: &sys::eum_info) -> Self {
        let known = |number: i32| (number != 0).then_some(number);
        Self {
            device_kind: DeviceKind::from_raw(raw.device_kind),
            device_index: raw.device_index,
            device_reason: DeviceReason::from_raw(raw.device_reason),
            backing: Backing::from_raw(raw.backing),
            worker_threads: raw.worker_threads,
            compute_capability: known(raw.compute_major).map(|major| (major, raw.compute_minor)),
            driver_version: known(raw.driver_version),
            runtime_version: known(raw.runtime_version),
            managed: raw.managed != 0,
            concurrent_managed: raw.concurrent_managed != 0,
            pageable: raw.pageable != 0,
            discard: raw.discard != 0,
            page_bytes: raw.page_bytes,
            memory_total: raw.memory_total,
            memory_free: raw.memory_free,
            budget_bytes: raw.budget_bytes,
            budget_used: raw.budget_used,
            device_name: text(&raw.device_name),
            device_sentence: text(&raw.device_sentence),
            backing_sentence: text(&raw.backing_sentence),
            cpu_kernels: text(&raw.cpu_kernels),
        }
    }
}

/// What a context has done so far, and what is alive. The `raw_` arrays are indexed by `EUM_MEMORY_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Buffers that are alive, owned and borrowed.
    pub buffers_live: u64,
    /// The most that ever were.
    pub buffers_peak: u64,
    /// Bytes of the owned buffers that are alive.
    pub bytes_live: u64,
    /// The most that ever were.
    pub bytes_peak: u64,
    /// Maps that are alive: the leases of slices.
    pub maps_live: u64,
    /// Kernels launched.
    pub launches: u64,
    /// Of them, failed.
    pub jobs_failed: u64,
    /// Bytes moved to the device by the library.
    pub bytes_to_device: u64,
    /// Bytes moved to the host by the library.
    pub bytes_to_host: u64,
    /// How many movements to the device those were.
    pub moves_to_device: u64,
    /// How many movements to the host those were.
    pub moves_to_host: u64,
    /// Worthless bytes that were not moved.
    pub bytes_discarded: u64,
    /// Hints that the driver took.
    pub hints_applied: u64,
    /// Hints that it did not take.
    pub hints_not_applied: u64,
    /// Calls to the device's allocator.
    pub raw_allocations: [u64; sys::EUM_MEMORY_KINDS],
    /// Calls to its free function; equal to the allocations once everything has ended.
    pub raw_frees: [u64; sys::EUM_MEMORY_KINDS],
    /// Memory that left through `into_raw`.
    pub raw_given_up: [u64; sys::EUM_MEMORY_KINDS],
    /// Bytes that ended buffers have left for new ones.
    pub pool_bytes: u64,
    /// Allocations that were served from there.
    pub pool_hits: u64,
    /// Allocations that were not.
    pub pool_misses: u64,
    /// Calls that prefetched several ranges at once; each range is one of the movements above.
    pub prefetch_batches: u64,
    /// Of the launches, those whose kernels were launched as a CUDA graph.
    pub graph_launches: u64,
}

impl Stats {
    pub(crate) fn from_raw(raw: &sys::eum_stats) -> Self {
        Self {
            buffers_live: raw.buffers_live,
            buffers_peak: raw.buffers_peak,
            bytes_live: raw.bytes_live,
            bytes_peak: raw.bytes_peak,
            maps_live: raw.maps_live,
            launches: raw.launches,
            jobs_failed: raw.jobs_failed,
            bytes_to_device: raw.bytes_to_device,
            bytes_to_host: raw.bytes_to_host,
            moves_to_device: raw.moves_to_device,
            moves_to_host: raw.moves_to_host,
            bytes_discarded: raw.bytes_discarded,
            hints_applied: raw.hints_applied,
            hints_not_applied: raw.hints_not_applied,
            raw_allocations: raw.raw_allocations,
            raw_frees: raw.raw_frees,
            raw_given_up: raw.raw_given_up,
            pool_bytes: raw.pool_bytes,
            pool_hits: raw.pool_hits,
            pool_misses: raw.pool_misses,
            prefetch_batches: raw.prefetch_batches,
            graph_launches: raw.graph_launches,
        }
    }
}

/// The similarity operations of [`Context`](crate::Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `cosine`
    Cosine,
    /// `similarity`
    Similarity,
    /// `topk`
    TopK,
    /// `similarity_rows`
    Rows,
}

impl Operation {
    pub(crate) fn number(self) -> sys::eum_operation {
        match self {
            Self::Cosine => sys::EUM_OPERATION_COSINE,
            Self::Similarity => sys::EUM_OPERATION_SIMILARITY,
            Self::TopK => sys::EUM_OPERATION_TOPK,
            Self::Rows => sys::EUM_OPERATION_ROWS,
        }
    }
}

/// The runs of an operation on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Runs {
    /// How many were started.
    pub runs: u64,
    /// Of them, those whose end was seen.
    pub timed: u64,
    /// What was predicted for the timed ones, in nanoseconds.
    pub predicted_ns: u64,
    /// What they took.
    pub actual_ns: u64,
}

/// Where the calls of a similarity operation ran, and how long they took.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationStats {
    /// On the CPU.
    pub cpu: Runs,
    /// On the device.
    pub device: Runs,
    /// Of the runs on the device, those in chunks, for want of room.
    pub chunked: u64,
    /// Of the runs on the CPU, those after a failure of the device, or while it rested.
    pub fallbacks: u64,
    /// Operations that the device rests for yet; 0: it does not rest.
    pub rest: u32,
}

impl OperationStats {
    pub(crate) fn from_raw(raw: &sys::eum_operation_stats) -> Self {
        let runs = |executor: sys::eum_executor| {
            let at = executor as usize;
            Runs {
                runs: raw.runs[at],
                timed: raw.timed[at],
                predicted_ns: raw.predicted_ns[at],
                actual_ns: raw.actual_ns[at],
            }
        };
        Self {
            cpu: runs(sys::EUM_EXECUTOR_CPU),
            device: runs(sys::EUM_EXECUTOR_DEVICE),
            chunked: raw.chunked,
            fallbacks: raw.fallbacks,
            rest: raw.rest,
        }
    }
}

/// How a buffer is held, why, and what its last use moved. `Display` writes it as sentences.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decision {
    /// The role it was given.
    pub role: Role,
    /// How it is held.
    pub backing: Backing,
    /// Why so.
    pub backing_reason: BackingReason,
    /// What the last launch, map or transfer did.
    pub last_movement: Movement,
    /// Bytes that it moved.
    pub last_bytes: u64,
    /// Bytes moved to the device for this buffer in all.
    pub bytes_to_device: u64,
    /// Bytes moved to the host for this buffer in all.
    pub bytes_to_host: u64,
    /// Bytes that are valid on the host now.
    pub bytes_on_host: u64,
    /// Bytes that are valid on the device now.
    pub bytes_on_device: u64,
    /// Launches that used it.
    pub launches: u64,
    /// Times the CPU had its turn.
    pub maps: u64,
    /// Ranges that are tracked apart.
    pub extents: u32,
    /// With [`Role::Auto`] under the built-in kernels: how long using the bytes in place was predicted to take longer than on
    /// the device, in ns, when that was last weighed; 0 if nothing was.
    pub in_place_ns: u64,
    /// The same for moving them to the device.
    pub move_ns: u64,
    /// Between the role and the use.
    pub contradiction: Contradiction,
    raw: sys::eum_decision,
}

impl Decision {
    pub(crate) fn from_raw(raw: sys::eum_decision) -> Self {
        Self {
            role: Role::from_raw(raw.role),
            backing: Backing::from_raw(raw.backing),
            backing_reason: BackingReason::from_raw(raw.backing_reason),
            last_movement: Movement::from_raw(raw.last_movement),
            last_bytes: raw.last_bytes,
            bytes_to_device: raw.bytes_to_device,
            bytes_to_host: raw.bytes_to_host,
            bytes_on_host: raw.bytes_on_host,
            bytes_on_device: raw.bytes_on_device,
            launches: raw.launches,
            maps: raw.maps,
            extents: raw.extents,
            in_place_ns: raw.in_place_ns,
            move_ns: raw.move_ns,
            contradiction: Contradiction::from_raw(raw.contradiction),
            raw,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut needed = 0;
        // SAFETY: `raw` came from the library; no text is written where the capacity is 0.
        unsafe { sys::eum_decision_text(&self.raw, std::ptr::null_mut(), 0, &mut needed) };
        let mut chars = vec![0; needed];
        // SAFETY: as above; the text is written into `chars`, within its length. A failure leaves it empty.
        unsafe { sys::eum_decision_text(&self.raw, chars.as_mut_ptr(), chars.len(), std::ptr::null_mut()) };
        f.write_str(&text(&chars))
    }
}

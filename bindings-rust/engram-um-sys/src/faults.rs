//! Page faults, counted.

use crate::*;

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

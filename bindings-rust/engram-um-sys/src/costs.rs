//! What movement and kernels cost, and from where on the device pays.

use crate::*;

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
    pub prefetch_batch_range_ns: u64,
    pub prefetch_batch_waits: u64,
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
        prefetch_batch_range_ns: 0,
        prefetch_batch_waits: 0,
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

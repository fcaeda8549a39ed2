//! The version, statuses and errors.

use crate::*;

pub const EUM_VERSION_MAJOR: i32 = 0;
pub const EUM_VERSION_MINOR: i32 = 1;
pub const EUM_VERSION_PATCH: i32 = 0;
pub const EUM_VERSION_NUMBER: i32 = EUM_VERSION_MAJOR * 10000 + EUM_VERSION_MINOR * 100 + EUM_VERSION_PATCH;
pub const EUM_VERSION_STRING: &str = "0.1.0";

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

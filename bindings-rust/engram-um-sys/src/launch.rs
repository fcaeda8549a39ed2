//! Streams, jobs and launches.

use crate::*;

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
    pub source: *const c_void,
    pub first_row: u64,
    pub rows: u64,
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
        source: ptr::null(),
        first_row: 0,
        rows: 0,
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
    pub host_source: *const c_void,
    pub source_rows: u64,
    pub source_row_bytes: usize,
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
        host_source: ptr::null(),
        source_rows: 0,
        source_row_bytes: 0,
    };
}

default!(eum_launch_config);

pub type eum_done_fn = Option<unsafe extern "C" fn(user: *mut c_void, status: eum_status)>;

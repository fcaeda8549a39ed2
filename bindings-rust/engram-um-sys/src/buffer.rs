//! Buffers, wrapped and given-up memory, and advice.

use crate::*;

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

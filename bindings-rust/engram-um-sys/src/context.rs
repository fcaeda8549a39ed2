//! Contexts and their log.

use crate::*;

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
pub const EUM_POOL_OFF: u64 = u64::MAX;

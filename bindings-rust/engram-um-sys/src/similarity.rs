//! The similarity operations.

use crate::*;

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

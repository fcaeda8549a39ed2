//! What the last use of a buffer did with it, and why.

use crate::*;

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

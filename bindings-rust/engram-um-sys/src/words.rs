//! The words that everything else is made of.

use crate::*;

opaque!(eum_context);
opaque!(eum_buffer);
opaque!(eum_stream);

pub type eum_backing = i32;
pub const EUM_BACKING_AUTO: eum_backing = 0;
pub const EUM_BACKING_MANAGED: eum_backing = 1;
pub const EUM_BACKING_MIRRORED: eum_backing = 2;
pub const EUM_BACKING_MAPPED: eum_backing = 3;
pub const EUM_BACKING_HOST: eum_backing = 4;
pub const EUM_BACKING_DEVICE: eum_backing = 5;

pub type eum_role = i32;
pub const EUM_ROLE_AUTO: eum_role = 0;
pub const EUM_ROLE_QUERY: eum_role = 1;
pub const EUM_ROLE_TARGETS: eum_role = 2;
pub const EUM_ROLE_RESULTS: eum_role = 3;
pub const EUM_ROLE_STREAM: eum_role = 4;

pub type eum_access = i32;
pub const EUM_ACCESS_READ: eum_access = 1;
pub const EUM_ACCESS_READ_WRITE: eum_access = 2;
pub const EUM_ACCESS_OVERWRITE: eum_access = 3;

pub type eum_location = i32;
pub const EUM_LOCATION_HOST: eum_location = -1;

pub type eum_ownership = i32;
pub const EUM_OWNED: eum_ownership = 1;
pub const EUM_BORROWED: eum_ownership = 2;

pub type eum_memory = i32;
pub const EUM_MEMORY_HOST: eum_memory = 1;
pub const EUM_MEMORY_PINNED: eum_memory = 2;
pub const EUM_MEMORY_MANAGED: eum_memory = 3;
pub const EUM_MEMORY_DEVICE: eum_memory = 4;

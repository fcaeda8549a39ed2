//! The library's enumerations. All are open: a newer library may answer with a value that this version has no name for.

use crate::sys;

/// An enumeration over a C integer, with `Other` for the values that have no name here.
macro_rules! open_enum {
    ($(#[$attribute:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $value:path,)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A value that this version has no name for.
            Other(i32),
        }

        impl $name {
            /// The C library's number as this type.
            pub fn from_raw(value: i32) -> Self {
                match value {
                    $($value => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            /// The C library's number.
            pub fn to_raw(self) -> i32 {
                match self {
                    $(Self::$variant => $value,)*
                    Self::Other(other) => other,
                }
            }
        }
    };
}
pub(crate) use open_enum;

open_enum! {
    /// How a buffer's bytes are held.
    pub enum Backing {
        /// The best for this device.
        Auto = sys::EUM_BACKING_AUTO,
        /// CUDA managed memory: one pointer on both sides.
        Managed = sys::EUM_BACKING_MANAGED,
        /// Pinned host memory and a device copy, moved by explicit copies of what changed.
        Mirrored = sys::EUM_BACKING_MIRRORED,
        /// Pinned or registered host memory that kernels read in place.
        Mapped = sys::EUM_BACKING_MAPPED,
        /// Host memory, kernels on the CPU.
        Host = sys::EUM_BACKING_HOST,
        /// Wrapped device memory: no host side.
        Device = sys::EUM_BACKING_DEVICE,
    }
}

open_enum! {
    /// What a buffer is used for. `Auto` is always right; the others save the library from finding out.
    pub enum Role {
        /// Found out from the use.
        Auto = sys::EUM_ROLE_AUTO,
        /// Written rarely, read on every side.
        Query = sys::EUM_ROLE_QUERY,
        /// Reused on the device, launch after launch.
        Targets = sys::EUM_ROLE_TARGETS,
        /// Written by the device, read by the CPU.
        Results = sys::EUM_ROLE_RESULTS,
        /// Rewritten by the CPU for every launch.
        Stream = sys::EUM_ROLE_STREAM,
    }
}

open_enum! {
    /// How detailed a log message is.
    pub enum LogLevel {
        /// Nothing is logged.
        Off = sys::EUM_LOG_OFF,
        /// Something failed.
        Error = sys::EUM_LOG_ERROR,
        /// Something works, but not as it should.
        Warn = sys::EUM_LOG_WARN,
        /// What was chosen, and why.
        Info = sys::EUM_LOG_INFO,
        /// Every movement.
        Debug = sys::EUM_LOG_DEBUG,
    }
}

open_enum! {
    /// What a context runs kernels on.
    pub enum DeviceKind {
        /// The CPU.
        Host = sys::EUM_DEVICE_HOST,
        /// A CUDA GPU.
        Cuda = sys::EUM_DEVICE_CUDA,
        /// A simulated GPU.
        Sim = sys::EUM_DEVICE_SIM,
    }
}

open_enum! {
    /// Why a context is on the device it is on.
    pub enum DeviceReason {
        /// It was asked for, by configuration or `EUM_DEVICE`.
        Asked = sys::EUM_REASON_ASKED,
        /// It is the best there is.
        Best = sys::EUM_REASON_BEST,
        /// The host: the library was built without CUDA.
        BuiltWithout = sys::EUM_REASON_BUILT_WITHOUT,
        /// The host: no CUDA driver on this machine.
        NoDriver = sys::EUM_REASON_NO_DRIVER,
        /// The host: the driver is older than the library's CUDA runtime.
        DriverTooOld = sys::EUM_REASON_DRIVER_TOO_OLD,
        /// The host: a driver, but no device.
        NoDevice = sys::EUM_REASON_NO_DEVICE,
        /// The host: `CUDA_VISIBLE_DEVICES` hides them all.
        DevicesHidden = sys::EUM_REASON_DEVICES_HIDDEN,
        /// The host: the driver would not start.
        DriverFailed = sys::EUM_REASON_DRIVER_FAILED,
    }
}

open_enum! {
    /// What the last use of a buffer did with its bytes.
    pub enum Movement {
        /// They were where they were needed.
        None = sys::EUM_MOVEMENT_NONE,
        /// Managed pages were prefetched.
        Prefetch = sys::EUM_MOVEMENT_PREFETCH,
        /// Read-mostly pages were copied, and stay valid on both sides.
        Duplicate = sys::EUM_MOVEMENT_DUPLICATE,
        /// Read or written over the link.
        InPlace = sys::EUM_MOVEMENT_IN_PLACE,
        /// An explicit copy between the host side and the device copy.
        Copy = sys::EUM_MOVEMENT_COPY,
        /// The old bytes were worthless and were dropped.
        Discard = sys::EUM_MOVEMENT_DISCARD,
    }
}

open_enum! {
    /// How the role of a buffer contradicts what is done with it, if it does.
    pub enum Contradiction {
        /// It does not.
        None = sys::EUM_CONTRADICTION_NONE,
        /// [`Role::Query`], rewritten by the CPU for every use: it is not duplicated any more.
        QueryRewritten = sys::EUM_CONTRADICTION_QUERY_REWRITTEN,
        /// [`Role::Targets`], rewritten by the CPU for every use.
        TargetsRewritten = sys::EUM_CONTRADICTION_TARGETS_REWRITTEN,
        /// [`Role::Stream`], used so often between rewrites that moving would cost less than half.
        StreamReused = sys::EUM_CONTRADICTION_STREAM_REUSED,
        /// [`Role::Results`], read by kernels again, or not by the CPU.
        ResultsReread = sys::EUM_CONTRADICTION_RESULTS_REREAD,
    }
}

open_enum! {
    /// Why a buffer has its backing.
    pub enum BackingReason {
        /// The configuration, or `EUM_BACKING`.
        Forced = sys::EUM_BACKING_REASON_FORCED,
        /// Managed: the device has concurrent managed access.
        Concurrent = sys::EUM_BACKING_REASON_CONCURRENT,
        /// Mirrored: managed memory, but without concurrent access.
        NoConcurrent = sys::EUM_BACKING_REASON_NO_CONCURRENT,
        /// Mirrored: no managed memory.
        NoManaged = sys::EUM_BACKING_REASON_NO_MANAGED,
        /// Host: there is no device.
        NoDevice = sys::EUM_BACKING_REASON_NO_DEVICE,
        /// Follows from the kind of memory that was wrapped.
        Wrapped = sys::EUM_BACKING_REASON_WRAPPED,
        /// Mirrored: explicit copies cost less than the migration of managed pages.
        CopiesPay = sys::EUM_BACKING_REASON_COPIES_PAY,
    }
}

/// A place where bytes can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// The CPU's side.
    Host,
    /// The side where the context's kernels run; the CPU's, where there is no device.
    Device,
}

//! What movement and kernels cost on this machine, and from where on the device pays.

use crate::context::Context;
use crate::error::{check, Error, ErrorKind, Result};
use crate::scoring::Element;
use crate::sys;
use crate::words::open_enum;
use std::ffi::CString;
use std::path::Path;
use std::time::Duration;

open_enum! {
    /// Where costs come from.
    pub enum CostsSource {
        /// A table by compute capability.
        Default = sys::EUM_COSTS_DEFAULT,
        /// The file that `EUM_COSTS` names.
        File = sys::EUM_COSTS_FILE,
        /// [`Context::calibrate`].
        Measured = sys::EUM_COSTS_MEASURED,
    }
}

/// What a context decides by. Rates are in MB/s, times in nanoseconds. On the host, where nothing moves, everything but the host
/// copies is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Costs {
    /// Where they come from.
    pub source: CostsSource,
    /// Copies from pinned memory to the device, and prefetches there.
    pub to_device_mbps: u64,
    /// Copies to pinned memory.
    pub to_host_mbps: u64,
    /// A kernel that reads pinned host memory over the link.
    pub in_place_mbps: u64,
    /// A kernel that reads device memory.
    pub memory_mbps: u64,
    /// A copy and the wait for it, beside its bytes.
    pub copy_ns: u64,
    /// A prefetch of managed memory, beside its units and bytes.
    pub prefetch_ns: u64,
    /// Each transfer of a prefetch, beside its bytes.
    pub prefetch_unit_ns: u64,
    /// What one transfer moves at most.
    pub prefetch_unit_bytes: u64,
    /// A kernel without work, and the wait for it.
    pub launch_ns: u64,
    /// Multiply-adds of the similarity kernels, millions a second.
    pub macs_mhz: u64,
    /// The CPU's copies between host memory, by one thread; `None`: not measured.
    pub host_copy_mbps: Option<u64>,
    /// By all worker threads; `None`: not measured.
    pub host_copy_all_mbps: Option<u64>,
    /// Each range after the first of a call that prefetches many, beside its units and bytes.
    pub prefetch_batch_range_ns: u64,
    /// Whether that call returns only when the pages have moved; launches then do not make it.
    pub prefetch_batch_waits: bool,
    /// What the calibration took; `None`: not measured on this context.
    pub calibration: Option<Duration>,
}

impl Costs {
    fn from_raw(raw: &sys::eum_costs_info) -> Self {
        let known = |number: u64| (number != 0).then_some(number);
        Self {
            source: CostsSource::from_raw(raw.source),
            to_device_mbps: raw.to_device_mbps,
            to_host_mbps: raw.to_host_mbps,
            in_place_mbps: raw.in_place_mbps,
            memory_mbps: raw.memory_mbps,
            copy_ns: raw.copy_ns,
            prefetch_ns: raw.prefetch_ns,
            prefetch_unit_ns: raw.prefetch_unit_ns,
            prefetch_unit_bytes: raw.prefetch_unit_bytes,
            launch_ns: raw.launch_ns,
            macs_mhz: raw.macs_mhz,
            host_copy_mbps: known(raw.host_copy_mbps),
            host_copy_all_mbps: known(raw.host_copy_all_mbps),
            prefetch_batch_range_ns: raw.prefetch_batch_range_ns,
            prefetch_batch_waits: raw.prefetch_batch_waits != 0,
            calibration: known(raw.calibration_ns).map(Duration::from_nanos),
        }
    }
}

/// From where on the device pays for the scores of all rows. `None`: never.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakEven {
    /// From so many rows on, if only the host has them and they are used once.
    pub rows_cold: Option<u64>,
    /// From so many rows on, if the device has them.
    pub rows_resident: Option<u64>,
    /// Of the rows that were asked about: the use of that number is the first that the device gets. `None` also without rows.
    pub uses: Option<u64>,
    /// What is predicted for these rows on the CPU.
    pub cpu: Duration,
    /// On the device that lacks them.
    pub device_cold: Duration,
    /// On the device that has them.
    pub device_resident: Duration,
}

impl Context {
    /// What the context decides by now: defaults, those of the file that `EUM_COSTS` names, or what was measured.
    pub fn costs(&self) -> Result<Costs> {
        let mut costs = sys::eum_costs_info::INIT;
        // SAFETY: `costs` is valid and says its own size.
        check(unsafe { sys::eum_context_costs(self.as_raw(), &mut costs) })?;
        Ok(Costs::from_raw(&costs))
    }

    /// Measures the costs of this machine, and has the context decide by them from now on. Waits, for less than 200 ms on a GPU. On
    /// failure the costs are as they were.
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// use engram_um::{Context, CostsSource};
    /// let context = Context::new()?;
    /// let costs = context.calibrate()?;
    /// assert_eq!(costs.source, CostsSource::Measured);
    /// assert!(costs.host_copy_mbps > Some(0));
    /// assert_eq!(context.costs()?, costs);
    /// # Ok(()) }
    /// ```
    pub fn calibrate(&self) -> Result<Costs> {
        let mut costs = sys::eum_costs_info::INIT;
        // SAFETY: `costs` is valid and says its own size.
        check(unsafe { sys::eum_context_calibrate(self.as_raw(), &mut costs) })?;
        Ok(Costs::from_raw(&costs))
    }

    /// Writes the context's costs to a file for `EUM_COSTS`.
    pub fn save_costs(&self, path: impl AsRef<Path>) -> Result<()> {
        let Ok(path) = CString::new(path.as_ref().as_os_str().as_encoded_bytes()) else {
            return Err(Error::new(ErrorKind::InvalidArgument, "the path has a NUL in it; name a file".to_owned()));
        };
        // SAFETY: the handle is alive, and the path ends in a NUL.
        check(unsafe { sys::eum_context_save_costs(self.as_raw(), path.as_ptr()) })
    }

    /// From how many rows of `dim` elements `E` the device pays for so many queries, and from how many uses of `rows` rows.
    ///
    /// ```
    /// # fn main() -> engram_um::Result<()> {
    /// let context = engram_um::Context::builder().device("sim:hopper").build()?;
    /// let pays = context.break_even::<f32>(768, 1, 10_000)?;
    /// assert!(pays.rows_resident > Some(1));
    /// assert!(pays.device_resident < pays.device_cold);
    /// # Ok(()) }
    /// ```
    pub fn break_even<E: Element>(&self, dim: u64, query_count: u64, rows: u64) -> Result<BreakEven> {
        let config = sys::eum_break_even_config {
            element: E::NUMBER,
            dim,
            query_count,
            rows,
            ..sys::eum_break_even_config::INIT
        };
        let mut raw = sys::eum_break_even::INIT;
        // SAFETY: both are valid and say their own sizes.
        check(unsafe { sys::eum_context_break_even(self.as_raw(), &config, &mut raw) })?;
        let some = |number: u64| (number != sys::EUM_NEVER).then_some(number);
        Ok(BreakEven {
            rows_cold: some(raw.rows_cold),
            rows_resident: some(raw.rows_resident),
            uses: some(raw.uses).filter(|_| rows > 0),
            cpu: Duration::from_nanos(raw.cpu_ns),
            device_cold: Duration::from_nanos(raw.device_cold_ns),
            device_resident: Duration::from_nanos(raw.device_resident_ns),
        })
    }
}

//! CUDA Unified Memory without page faults, with or without a GPU.
//!
//! A [`UnifiedBuffer`] is memory that the CPU and kernels share. Nobody writes a copy by hand: every operation names its
//! buffers and how it uses them, and the library moves the bytes first, by the way that is fastest on this machine.
//!
//! ```
//! use engram_um::{Context, Result, Role, UnifiedBuffer};
//!
//! fn main() -> Result<()> {
//!     let rows: Vec<[f32; 768]> = (0..1000).map(|r| std::array::from_fn(|c| ((r * 768 + c) as f32).sin())).collect();
//!     let ctx = Context::new()?; // the best this machine has
//!     let targets = UnifiedBuffer::from_slice(&ctx, &rows)?.with_role(Role::Targets);
//!     let query = UnifiedBuffer::from_slice(&ctx, &rows[42..43])?;
//!     let mut scores = UnifiedBuffer::<f32>::zeroed(&ctx, rows.len())?;
//!     ctx.cosine(&query, &targets, &mut scores)?; // allocate / kernel / read: nothing in between
//!     let best = scores.as_slice()?.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
//!     println!("{best:?}"); // Some((42, 1.0))
//! #   assert_eq!(best.map(|(row, _)| row), Some(42));
//!     Ok(())
//! }
//! ```
//!
//! * [`Context`]: the device that was found. Without a GPU or a driver that is the CPU, and [`Context::info`] says why.
//! * [`UnifiedBuffer`] owns its memory; [`BorrowedBuffer`] and [`BorrowedBufferMut`] use a slice of the program's own.
//! * Targets that are scored once need no buffer: [`Context::cosine`] and its kin take a slice ([`Targets`]).
//! * [`Context::cosine`] waits for its result; [`Stream::cosine`] gives a [`Job`], and the program goes on.
//! * [`Error`] has a [kind](ErrorKind), a sentence that says what to do, and CUDA's code. Nothing here panics.
//!
//! Host access waits for the jobs that it conflicts with, and only for these. The C library's own interface is [`sys`].

#![deny(missing_docs)]

mod buffer;
mod context;
mod cosine;
mod costs;
mod error;
mod handle;
mod info;
mod log;
mod memory;
mod scoring;
mod stream;
mod targets;
mod words;

pub use buffer::{BorrowedBuffer, BorrowedBufferMut, IntoRawError, Readable, UnifiedBuffer, Writable};
pub use bytemuck;
pub use context::{Context, ContextBuilder};
pub use cosine::Rows;
pub use costs::{BreakEven, Costs, CostsSource};
pub use engram_um_sys as sys;
pub use error::{Error, ErrorKind, Result};
pub use info::{Decision, Info, Operation, OperationStats, Runs, Stats};
pub use scoring::{Bf16, Element, Metric, F16};
pub use stream::{Job, Stream};
pub use targets::Targets;
pub use words::{Backing, BackingReason, Contradiction, DeviceKind, DeviceReason, Location, LogLevel, Movement, Role};

/// The program in the README is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

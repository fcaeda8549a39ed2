//! Random programs against `engram-um-sys`: buffers made, wrapped, mapped, written, read, launched over and ended in any order, on
//! every device and backing. The model is plain vectors; after every step the data agree and every refusal is one that the
//! header documents. No kernel takes a page fault, nothing is logged as an error but jobs that are meant to fail, and at the end
//! everything that was allocated is freed.

mod kernel;
mod program;
mod run;

pub use program::{programs, Program, Span, Step};
pub use run::run;

//! What a program is, and how one is drawn. Everything in it shrinks towards fewer steps, smaller buffers, whole views.

use engram_um_sys as sys;
use proptest::prelude::*;

/// A choice among what is alive when the step runs: taken modulo its number.
pub type Pick = usize;

/// A part of a buffer, whatever its size turns out to be.
#[derive(Clone, Copy, Debug)]
pub enum Span {
    Whole,
    /// Offset and size, modulo what is there.
    Part(u32, u32),
}

impl Span {
    /// (offset, bytes) in a buffer of this size.
    pub fn within(self, size: usize) -> (usize, usize) {
        match self {
            Span::Whole => (0, size),
            Span::Part(offset, bytes) => {
                let offset = offset as usize % (size + 1);
                (offset, bytes as usize % (size - offset + 1))
            }
        }
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    Create {
        bytes: usize,
        role: i32,
        zeroed: bool,
    },
    Wrap {
        bytes: usize,
        role: i32,
        read_only: bool,
        owned: bool,
    },
    Destroy {
        buffer: Pick,
    },
    IntoRaw {
        buffer: Pick,
    },
    /// A call with a handle that has ended.
    Stale {
        buffer: Pick,
    },
    Map {
        buffer: Pick,
        span: Span,
        access: i32,
        seed: u64,
    },
    Unmap {
        map: Pick,
    },
    Write {
        buffer: Pick,
        span: Span,
        seed: u64,
    },
    Read {
        buffer: Pick,
        span: Span,
    },
    Launch {
        stream: Pick,
        arguments: Vec<(Pick, Span, i32)>,
        /// Rows, and bytes of each, that stay in an array of the program's own.
        source: Option<(usize, usize)>,
        seed: u64,
        fails: bool,
    },
    Cosine {
        stream: Pick,
        buffers: [Pick; 3],
        dim: usize,
        rows: usize,
        executor: i32,
        look: bool,
    },
    Prefetch {
        buffer: Pick,
        span: Span,
        to_device: bool,
        stream: Pick,
    },
    Advise {
        buffer: Pick,
        span: Span,
        advice: i32,
        to_device: bool,
    },
    SetRole {
        buffer: Pick,
        role: i32,
    },
    OpenStream,
    CloseStream {
        stream: Pick,
    },
    Synchronize {
        stream: Pick,
    },
    Wait {
        job: Pick,
    },
}

#[derive(Clone, Debug)]
pub struct Program {
    /// The device string, with the simulator's options.
    pub device: String,
    pub backing: i32,
    pub steps: Vec<Step>,
    /// Compare everything after every step, or only what the steps themselves read, and everything at the end: the first finds
    /// the step that is to blame, the second leaves jobs and copies under way.
    pub look_everywhere: bool,
    /// Count page faults around every launch, which waits for it, or from the beginning to the end.
    pub count_each: bool,
    /// Device memory is so small that launches may be refused.
    pub tight: bool,
    /// Managed memory may be more than the device's: then kernels do fault.
    pub oversubscribe: bool,
    /// End the context before the buffers.
    pub context_first: bool,
}

/// Programs for a device: "host" or "sim:NAME".
pub fn programs(device: &'static str) -> impl Strategy<Value = Program> {
    let simulated = device.starts_with("sim:");
    let options = (any::<bool>(), 0_u32..1000);
    // Managed memory twice: that is where pages move. (On Maxwell maps and launches would have to take turns.)
    let backings = match device {
        "host" => vec![sys::EUM_BACKING_AUTO],
        "sim:maxwell" => vec![sys::EUM_BACKING_AUTO, sys::EUM_BACKING_MIRRORED],
        _ => vec![sys::EUM_BACKING_AUTO, sys::EUM_BACKING_MIRRORED, sys::EUM_BACKING_MANAGED, sys::EUM_BACKING_MANAGED],
    };
    let memory = prop_oneof![3 => Just((false, false)), 1 => Just((true, false)), 1 => Just((true, true))];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), memory);
    (options, prop::sample::select(backings), prop::collection::vec(step(), 1..40), flags).prop_map(
        move |((step, seed), backing, steps, (look_everywhere, count_each, context_first, memory))| {
            let (tight, oversubscribe) = if simulated { memory } else { (false, false) };
            let schedule = match (simulated, step) {
                (false, _) => String::new(),
                (true, false) => ",schedule=threads".into(),
                (true, true) => format!(",schedule=step,seed={seed}"),
            };
            let memory = if tight { ",memory=4M" } else { "" };
            Program {
                device: format!("{device}{schedule}{memory}"),
                backing,
                steps,
                look_everywhere,
                count_each,
                tight,
                oversubscribe,
                context_first,
            }
        },
    )
}

/// Sizes on both sides of what matters: nothing, one element, a cache line, a page, the simulator's 64 KiB page, a 2 MiB block.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(0_usize),
        3 => 1_usize..200,
        3 => 200_usize..9000,
        3 => (1_usize..6, 0_usize..3).prop_map(|(pages, more)| pages * 65536 + more * 4 - 4),
        1 => (1_usize..3, 0_usize..3).prop_map(|(blocks, more)| (blocks << 21) + more * 4 - 4),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![1 => Just(Span::Whole), 2 => (any::<u32>(), any::<u32>()).prop_map(|(o, b)| Span::Part(o, b))]
}

fn role() -> impl Strategy<Value = i32> {
    sys::EUM_ROLE_AUTO..=sys::EUM_ROLE_STREAM
}

fn access() -> impl Strategy<Value = i32> {
    sys::EUM_ACCESS_READ..=sys::EUM_ACCESS_OVERWRITE
}

fn pick() -> impl Strategy<Value = Pick> {
    0_usize..12
}

/// Mostly none. One chunk, or several: of a few hundred kilobytes where memory is tight, of 4 MiB and more elsewhere.
fn source() -> impl Strategy<Value = Option<(usize, usize)>> {
    let bytes = prop_oneof![2 => 1_usize..300, 1 => 20_000_usize..70_000, 1 => 400_000_usize..700_000];
    prop_oneof![5 => Just(None), 1 => (1_usize..24, bytes).prop_map(Some)]
}

fn step() -> impl Strategy<Value = Step> {
    let argument = (pick(), span(), access());
    prop_oneof![
        5 => (size(), role(), any::<bool>()).prop_map(|(bytes, role, zeroed)| Step::Create { bytes, role, zeroed }),
        3 => (size(), role(), any::<bool>(), any::<bool>())
            .prop_map(|(bytes, role, read_only, owned)| Step::Wrap { bytes, role, read_only, owned }),
        2 => pick().prop_map(|buffer| Step::Destroy { buffer }),
        1 => pick().prop_map(|buffer| Step::IntoRaw { buffer }),
        1 => pick().prop_map(|buffer| Step::Stale { buffer }),
        4 => (pick(), span(), access(), any::<u64>())
            .prop_map(|(buffer, span, access, seed)| Step::Map { buffer, span, access, seed }),
        4 => pick().prop_map(|map| Step::Unmap { map }),
        4 => (pick(), span(), any::<u64>()).prop_map(|(buffer, span, seed)| Step::Write { buffer, span, seed }),
        3 => (pick(), span()).prop_map(|(buffer, span)| Step::Read { buffer, span }),
        8 => (pick(), prop::collection::vec(argument, 0..4), source(), any::<u64>(), prop::bool::weighted(0.12))
            .prop_map(|(stream, arguments, source, seed, fails)| Step::Launch { stream, arguments, source, seed, fails }),
        3 => (pick(), [pick(), pick(), pick()], 1_usize..300, 0_usize..300,
              sys::EUM_EXECUTOR_AUTO..=sys::EUM_EXECUTOR_DEVICE, any::<bool>())
            .prop_map(|(stream, buffers, dim, rows, executor, look)| {
                Step::Cosine { stream, buffers, dim, rows, executor, look }
            }),
        2 => (pick(), span(), any::<bool>(), pick())
            .prop_map(|(buffer, span, to_device, stream)| Step::Prefetch { buffer, span, to_device, stream }),
        1 => (pick(), span(), sys::EUM_ADVICE_READ_MOSTLY..=sys::EUM_ADVICE_UNSET_ACCESSED_BY, any::<bool>())
            .prop_map(|(buffer, span, advice, to_device)| Step::Advise { buffer, span, advice, to_device }),
        1 => (pick(), role()).prop_map(|(buffer, role)| Step::SetRole { buffer, role }),
        1 => Just(Step::OpenStream),
        1 => pick().prop_map(|stream| Step::CloseStream { stream }),
        1 => pick().prop_map(|stream| Step::Synchronize { stream }),
        1 => pick().prop_map(|job| Step::Wait { job }),
    ]
}

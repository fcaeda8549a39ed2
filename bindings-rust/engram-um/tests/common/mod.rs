//! The devices that every test runs on.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use engram_um::{Backing, Context, ErrorKind};

const DEVICES: [&str; 3] = ["host", "sim:pascal", "sim:maxwell"];

/// Runs a test on each device, with the backing that it chooses and, where there is a device, with mirrored memory. The
/// device's name goes along for messages.
pub fn on_each_device(test: impl Fn(&Context, &str)) {
    for device in DEVICES {
        for backing in [Backing::Auto, Backing::Mirrored] {
            if device == "host" && backing == Backing::Mirrored {
                continue;
            }
            let name = format!("{device}, {backing:?}");
            match Context::builder().device(device).backing(backing).worker_threads(2).build() {
                Ok(context) => test(&context, &name),
                Err(error) => panic!("{name}: {:?}: {error}", error.kind()),
            }
        }
    }
}

/// The kind of failure, where there must be one with a sentence.
#[track_caller]
pub fn kind<T>(result: engram_um::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("succeeded, and should have failed"),
        Err(error) => {
            assert!(error.sentence().len() > 10 && error.to_string().contains(error.sentence()), "{error:?}");
            error.kind()
        }
    }
}

/// A reference in float64.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}

/// Numbers that look random, the same each time.
pub fn numbers(seed: usize, len: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_u32.wrapping_add(seed as u32);
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

#[track_caller]
pub fn assert_scores(scores: &[f32], query: &[f32], targets: &[f32], device: &str) {
    for (row, (score, target)) in scores.iter().zip(targets.chunks(query.len())).enumerate() {
        let exact = cosine(query, target);
        assert!((score - exact).abs() <= 1e-6 + 1e-5 * exact.abs(), "{device}: row {row}: {score}, exactly {exact}");
    }
}

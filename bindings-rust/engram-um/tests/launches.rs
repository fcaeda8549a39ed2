//! Cosine similarity, jobs and streams.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{assert_scores, kind, numbers, on_each_device};
use engram_um::{Context, ErrorKind, Location, Role, Stream, UnifiedBuffer};
use std::time::Duration;

/// `len` rows of 768 floats that look random.
fn rows(seed: usize, len: usize) -> Vec<[f32; 768]> {
    (0..len).map(|row| numbers(seed + row, 768).try_into().unwrap()).collect()
}

#[test]
fn rows_of_arrays_are_scored() {
    on_each_device(|ctx, device| {
        let rows = rows(1, 200);
        let targets = UnifiedBuffer::from_slice(ctx, &rows).unwrap().with_role(Role::Targets);
        let query = UnifiedBuffer::from_slice(ctx, &rows[42..43]).unwrap().with_role(Role::Query);
        let mut scores = UnifiedBuffer::<f32>::zeroed(ctx, rows.len()).unwrap().with_role(Role::Results);
        ctx.cosine(&query, &targets, &mut scores).unwrap();
        let scores = scores.as_slice().unwrap();
        assert_scores(scores, &rows[42], &rows.concat(), device);
        let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(best, 42, "{device}");
    });
}

#[test]
fn the_querys_length_is_the_dimension_of_plain_floats() {
    on_each_device(|ctx, device| {
        for dim in [1, 3, 100, 129] {
            let (query, targets) = (numbers(dim, dim), numbers(dim + 1, dim * 33));
            let mut scores = UnifiedBuffer::zeroed(ctx, 33).unwrap();
            let q = UnifiedBuffer::from_slice(ctx, &query).unwrap();
            ctx.cosine(&q, &UnifiedBuffer::from_slice(ctx, &targets).unwrap(), &mut scores).unwrap();
            assert_scores(scores.as_slice().unwrap(), &query, &targets, device);
        }
    });
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    on_each_device(|ctx, _| {
        let floats = |len| UnifiedBuffer::<f32>::zeroed(ctx, len).unwrap();
        let arrays = |len| UnifiedBuffer::<[f32; 4]>::zeroed(ctx, len).unwrap();
        assert_eq!(kind(ctx.cosine(&floats(0), &floats(8), &mut floats(8))), ErrorKind::InvalidArgument);
        assert_eq!(kind(ctx.cosine(&floats(3), &floats(8), &mut floats(8))), ErrorKind::InvalidArgument);
        assert_eq!(kind(ctx.cosine(&floats(4), &floats(8), &mut floats(1))), ErrorKind::BufferTooShort);
        assert_eq!(kind(ctx.cosine(&arrays(2), &arrays(8), &mut floats(8))), ErrorKind::InvalidArgument);
        assert_eq!(kind(ctx.cosine(&arrays(0), &arrays(8), &mut floats(8))), ErrorKind::InvalidArgument);
        let none = UnifiedBuffer::<[f32; 0]>::zeroed(ctx, 1).unwrap();
        assert_eq!(kind(ctx.cosine(&none, &none, &mut floats(1))), ErrorKind::InvalidArgument);
        ctx.cosine(&arrays(1), &arrays(0), &mut floats(0)).unwrap();
        ctx.cosine(&floats(4), &floats(0), &mut floats(3)).unwrap();
    });
}

#[test]
fn zero_vectors_and_values_that_are_not_finite_follow_the_contract() {
    on_each_device(|ctx, device| {
        let targets = [[1.0, 0.0], [0.0, 0.0], [f32::INFINITY, 1.0], [2.0, 2.0]];
        let targets = UnifiedBuffer::from_slice(ctx, &targets).unwrap();
        let mut scores = UnifiedBuffer::zeroed(ctx, 4).unwrap();
        ctx.cosine(&UnifiedBuffer::from_slice(ctx, &[[1.0, 0.0]]).unwrap(), &targets, &mut scores).unwrap();
        let got = scores.as_slice().unwrap();
        assert_eq!((got[0], got[1], got[2].is_nan()), (1.0, 0.0, true), "{device}");
        assert!((got[3] - 0.5_f32.sqrt()).abs() < 1e-5, "{device}");
        ctx.cosine(&UnifiedBuffer::from_slice(ctx, &[[f32::NAN, 0.0]]).unwrap(), &targets, &mut scores).unwrap();
        assert!(scores.as_slice().unwrap().iter().all(|score| score.is_nan()), "{device}");
    });
}

#[test]
fn jobs_run_while_the_program_goes_on() {
    on_each_device(|ctx, device| {
        let stream = Stream::new(ctx).unwrap();
        let rows = rows(3, 300);
        let query = UnifiedBuffer::from_slice(ctx, &rows[..1]).unwrap();
        let targets = UnifiedBuffer::from_slice(ctx, &rows).unwrap();
        let (mut first, mut second) =
            (UnifiedBuffer::zeroed(ctx, 300).unwrap(), UnifiedBuffer::zeroed(ctx, 300).unwrap());
        stream.prefetch(&targets, Location::Device).unwrap();
        let one = stream.cosine(&query, &targets, &mut first).unwrap();
        let two = ctx.default_stream().cosine(&query, &targets, &mut second).unwrap();
        assert_eq!(targets.as_slice().unwrap(), rows, "{device}: reading beside kernels that read");
        while !two.is_done().unwrap() {
            std::thread::yield_now();
        }
        assert!(two.wait_timeout(Duration::from_secs(60)).unwrap(), "{device}");
        one.wait().unwrap();
        stream.synchronize().unwrap();
        assert_eq!(first.as_slice().unwrap(), second.as_slice().unwrap(), "{device}");
        assert_scores(first.as_slice().unwrap(), &rows[0], &rows.concat(), device);
    });
}

#[test]
fn a_leaked_job_is_waited_for_by_whatever_touches_its_buffers() {
    on_each_device(|ctx, device| {
        let stream = Stream::new(ctx).unwrap();
        let rows = rows(5, 500);
        let query = UnifiedBuffer::from_slice(ctx, &rows[..1]).unwrap();
        let mut targets = UnifiedBuffer::from_slice(ctx, &rows).unwrap();
        let mut scores = UnifiedBuffer::zeroed(ctx, 500).unwrap();
        scores.as_mut_slice().unwrap().fill(f32::NAN);
        std::mem::forget(stream.cosine(&query, &targets, &mut scores).unwrap());
        targets.as_mut_slice().unwrap().fill([0.0; 768]); // waits for the kernel that reads
        assert_scores(scores.as_slice().unwrap(), &rows[0], &rows.concat(), device);
        // The same with everything dropped under the running kernel.
        targets.write(0, &rows).unwrap();
        std::mem::forget(stream.cosine(&query, &targets, &mut scores).unwrap());
        drop((query, targets, scores));
        stream.synchronize().unwrap();
    });
}

#[test]
fn a_dropped_job_is_ordered_before_the_next_that_uses_its_buffers() {
    on_each_device(|ctx, device| {
        let (one, other) = (Stream::new(ctx).unwrap(), Stream::new(ctx).unwrap());
        let rows = rows(9, 100);
        let targets = UnifiedBuffer::from_slice(ctx, &rows).unwrap();
        let queries = [0, 1].map(|row| UnifiedBuffer::from_slice(ctx, &rows[row..row + 1]).unwrap());
        let mut scores = UnifiedBuffer::zeroed(ctx, 100).unwrap();
        for _ in 0..10 {
            drop(one.cosine(&queries[0], &targets, &mut scores).unwrap());
            drop(other.cosine(&queries[1], &targets, &mut scores).unwrap());
        }
        assert_scores(scores.as_slice().unwrap(), &rows[1], &rows.concat(), device);
    });
}

#[test]
fn buffers_of_two_contexts_are_refused() {
    on_each_device(|ctx, _| {
        let other = Context::builder().device("host").build().unwrap();
        let here = UnifiedBuffer::<f32>::zeroed(ctx, 4).unwrap();
        let there = UnifiedBuffer::<f32>::zeroed(&other, 8).unwrap();
        let mut scores = UnifiedBuffer::zeroed(ctx, 2).unwrap();
        assert_eq!(kind(ctx.cosine(&here, &there, &mut scores)), ErrorKind::WrongContext);
        assert_eq!(kind(other.cosine(&here, &there, &mut scores)), ErrorKind::WrongContext);
    });
}

//! The scoring through the safe wrappers, as jobs: what is right, and what is refused.

#![allow(clippy::unwrap_used)]

use engram_um::{Context, ErrorKind, Metric, Stream, UnifiedBuffer, F16};

#[test]
fn jobs_on_a_stream_score_select_and_list() {
    let ctx = Context::builder().device("host").build().unwrap();
    let stream = Stream::new(&ctx).unwrap();
    let queries = UnifiedBuffer::from_slice(&ctx, &[1.0, 0.0, 0.0, 1.0_f32]).unwrap();
    let targets = UnifiedBuffer::from_slice(&ctx, &[F16(0x3c00), F16(0x4000), F16(0x4200), F16(0xbc00)]).unwrap(); // 1 2, 3 -1
    let mut scores = UnifiedBuffer::<f32>::zeroed(&ctx, 4).unwrap();
    let mut indices = UnifiedBuffer::<i64>::zeroed(&ctx, 2).unwrap();
    stream.similarity(Metric::Dot, 2, &queries, &targets, &mut scores).unwrap().wait().unwrap();
    assert_eq!(scores.as_slice().unwrap(), [1.0, 3.0, 2.0, -1.0]);
    stream.topk(Metric::Dot, 2, 1, &queries, &targets, &mut indices, &mut scores).unwrap().wait().unwrap();
    assert_eq!(indices.as_slice().unwrap(), [1, 0]);
    assert_eq!(scores.as_slice().unwrap()[..2], [3.0, 2.0]);
    stream.similarity_rows(Metric::Dot, 2, &queries, &targets, &[1], &mut scores).unwrap().wait().unwrap();
    assert_eq!(scores.as_slice().unwrap()[..2], [3.0, -1.0]);
}

#[test]
fn slices_score_as_buffers_do() {
    for device in ["host", "sim:pascal", "sim:hopper"] {
        let ctx = Context::builder().device(device).build().unwrap();
        let number = |i: usize| ((i * 2_654_435_761) % 1009) as f32 / 1009.0 - 0.5;
        let values: Vec<f32> = (0..3000 * 40).map(number).collect();
        let queries = UnifiedBuffer::from_slice(&ctx, &values[..9 * 40]).unwrap();
        let targets = UnifiedBuffer::from_slice(&ctx, &values).unwrap();
        let mut scores = UnifiedBuffer::<f32>::zeroed(&ctx, 9 * 3000).unwrap();
        let mut indices = UnifiedBuffer::<i64>::zeroed(&ctx, 9 * 5).unwrap();
        ctx.similarity(Metric::L2Squared, 40, &queries, &targets, &mut scores).unwrap();
        let expected = scores.as_slice().unwrap().to_vec();
        scores.as_mut_slice().unwrap().fill(7.0);
        ctx.similarity(Metric::L2Squared, 40, &queries, &values, &mut scores).unwrap();
        for (found, wanted) in scores.as_slice().unwrap().iter().zip(&expected) {
            assert!((found - wanted).abs() <= 1e-5 + 1e-5 * wanted.abs(), "{device}: {found} and not {wanted}");
        }
        ctx.topk(Metric::L2Squared, 40, 5, &queries, &values[..], &mut indices, &mut scores).unwrap();
        let first: Vec<i64> = indices.as_slice().unwrap().iter().step_by(5).copied().collect();
        assert_eq!(first, [0, 1, 2, 3, 4, 5, 6, 7, 8]); // each query is a row
        ctx.similarity_rows(Metric::L2Squared, 40, &queries, &values, &[8, 0], &mut scores).unwrap();
        assert_eq!((scores.as_slice().unwrap()[1], scores.as_slice().unwrap()[16]), (0.0, 0.0));
        let stats = ctx.stats().unwrap();
        assert_eq!(stats.buffers_live, 4); // the four above
    }
}

#[test]
fn slices_of_no_rows_and_of_parts_of_rows() {
    let ctx = Context::builder().device("host").build().unwrap();
    let queries = UnifiedBuffer::from_slice(&ctx, &[1.0, 0.0_f32]).unwrap();
    let mut scores = UnifiedBuffer::<f32>::zeroed(&ctx, 2).unwrap();
    let mut indices = UnifiedBuffer::<i64>::zeroed(&ctx, 2).unwrap();
    let none: [f32; 0] = [];
    ctx.similarity(Metric::Dot, 2, &queries, &none, &mut scores).unwrap();
    ctx.topk(Metric::Dot, 2, 2, &queries, &none, &mut indices, &mut scores).unwrap();
    assert_eq!(indices.as_slice().unwrap(), [-1, -1]);
    let refused = ctx.similarity(Metric::Dot, 2, &queries, &[1.0, 2.0, 3.0_f32], &mut scores);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let refused = ctx.similarity(Metric::Dot, 2, &queries, &[F16(0); 6], &mut scores);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::BufferTooShort);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let ctx = Context::builder().device("host").build().unwrap();
    let queries = UnifiedBuffer::from_slice(&ctx, &[1.0, 0.0, 0.0_f32]).unwrap();
    let targets = UnifiedBuffer::from_slice(&ctx, &[1.0, 2.0, 3.0_f32]).unwrap();
    let mut scores = UnifiedBuffer::<f32>::zeroed(&ctx, 2).unwrap();
    let mut indices = UnifiedBuffer::<i64>::zeroed(&ctx, 2).unwrap();
    let mut score = |dim| ctx.similarity(Metric::Cosine, dim, &queries, &targets, &mut scores).unwrap_err().kind();
    assert_eq!(
        [score(0), score(2), score(1)],
        [ErrorKind::InvalidArgument, ErrorKind::InvalidArgument, ErrorKind::BufferTooShort]
    );
    for (k, kind) in [(0, ErrorKind::InvalidArgument), (3, ErrorKind::BufferTooShort)] {
        let refused = ctx.topk(Metric::Cosine, 3, k, &queries, &targets, &mut indices, &mut scores);
        assert_eq!(refused.unwrap_err().kind(), kind);
    }
}

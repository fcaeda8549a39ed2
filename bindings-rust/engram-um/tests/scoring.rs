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

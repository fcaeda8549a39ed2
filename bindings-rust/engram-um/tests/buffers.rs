//! Buffers: contents, sizes, leases, raw parts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{assert_scores, kind, numbers, on_each_device};
use engram_um::{BorrowedBuffer, BorrowedBufferMut, Context, Contradiction, ErrorKind, Role, UnifiedBuffer};
use std::thread;

#[test]
fn a_slice_comes_back_as_it_went_in() {
    on_each_device(|ctx, device| {
        let elements = (0..10_000_u64).collect::<Vec<_>>();
        let mut buffer = UnifiedBuffer::from_slice(ctx, &elements).unwrap().with_role(Role::Stream);
        assert_eq!(buffer.as_slice().unwrap(), elements, "{device}");
        buffer.as_mut_slice().unwrap()[17] = 42;
        assert_eq!(buffer.as_slice().unwrap()[16..19], [16, 42, 18], "{device}");
        buffer.write(18, &[7, 8]).unwrap();
        let mut some = [0; 4];
        buffer.read(16, &mut some).unwrap();
        assert_eq!(some, [16, 42, 7, 8], "{device}");
        assert_eq!((buffer.len(), buffer.is_empty()), (10_000, false));
    });
}

#[test]
fn a_zeroed_buffer_is_zero_also_where_memory_is_used_again() {
    on_each_device(|ctx, device| {
        for _ in 0..3 {
            let mut buffer = UnifiedBuffer::<u32>::zeroed(ctx, 5000).unwrap();
            assert!(buffer.as_slice().unwrap().iter().all(|&x| x == 0), "{device}");
            buffer.as_mut_slice().unwrap().fill(u32::MAX);
        }
    });
}

#[test]
fn no_elements_and_elements_of_no_size_are_legal() {
    on_each_device(|ctx, device| {
        let mut empty = UnifiedBuffer::<f64>::zeroed(ctx, 0).unwrap();
        assert_eq!(empty.as_slice().unwrap(), [0.0; 0], "{device}");
        assert_eq!(empty.as_mut_slice().unwrap(), [0.0; 0], "{device}");
        empty.write(0, &[]).unwrap();
        empty.read(0, &mut []).unwrap();
        assert!(empty.is_empty());
        let mut units = UnifiedBuffer::from_slice(ctx, &[(); 5]).unwrap();
        assert_eq!(units.as_mut_slice().unwrap().len(), 5, "{device}");
        assert_eq!(units.as_slice().unwrap(), [(); 5], "{device}");
        let nothing: [f32; 0] = [];
        assert!(BorrowedBuffer::new(ctx, &nothing).unwrap().as_slice().unwrap().is_empty(), "{device}");
    });
}

#[test]
fn sizes_that_overflow_are_errors() {
    on_each_device(|ctx, _| {
        assert_eq!(kind(UnifiedBuffer::<u64>::zeroed(ctx, usize::MAX)), ErrorKind::SizeOverflow);
        assert_eq!(kind(UnifiedBuffer::<u64>::zeroed(ctx, usize::MAX / 8)), ErrorKind::SizeOverflow);
        assert_eq!(kind(UnifiedBuffer::<u8>::zeroed(ctx, isize::MAX as usize + 1)), ErrorKind::SizeOverflow);
    });
}

#[test]
fn ranges_past_the_end_are_errors_and_change_nothing() {
    on_each_device(|ctx, device| {
        let mut buffer = UnifiedBuffer::from_slice(ctx, &[1_u16, 2, 3]).unwrap();
        assert_eq!(kind(buffer.write(2, &[9, 9])), ErrorKind::OutOfBounds);
        assert_eq!(kind(buffer.write(usize::MAX, &[9, 9])), ErrorKind::OutOfBounds);
        assert_eq!(kind(buffer.read(4, &mut [])), ErrorKind::OutOfBounds);
        assert_eq!(buffer.as_slice().unwrap(), [1, 2, 3], "{device}");
    });
}

#[test]
fn elements_that_need_more_than_64_bytes_of_alignment_are_refused() {
    #[derive(Clone, Copy, Debug)]
    #[repr(C, align(128))]
    struct Wide([u8; 128]);
    // SAFETY: all zero is a valid value.
    unsafe impl engram_um::bytemuck::Zeroable for Wide {}
    // SAFETY: 128 bytes without padding, every bit pattern is valid.
    unsafe impl engram_um::bytemuck::Pod for Wide {}
    on_each_device(|ctx, _| assert_eq!(kind(UnifiedBuffer::<Wide>::zeroed(ctx, 1)), ErrorKind::Misaligned));
}

#[test]
fn borrowed_slices_are_read_where_they_lie() {
    on_each_device(|ctx, device| {
        let elements = numbers(1, 1000);
        let mut buffer = BorrowedBuffer::new(ctx, &elements).unwrap().with_role(Role::Targets);
        assert_eq!(buffer.as_slice().unwrap().as_ptr(), elements.as_ptr(), "{device}");
        buffer.unmap().unwrap();
        assert_eq!(buffer.as_slice().unwrap(), elements, "{device}");
    });
}

#[test]
fn borrowed_slices_are_written_where_they_lie() {
    on_each_device(|ctx, device| {
        let (query, targets) = (numbers(1, 100), numbers(2, 1700));
        let mut scores = vec![7.0; 20];
        {
            let query = BorrowedBuffer::new(ctx, &query).unwrap();
            let targets = BorrowedBuffer::new(ctx, &targets).unwrap();
            let mut scores = BorrowedBufferMut::new(ctx, &mut scores).unwrap();
            scores.write(18, &[8.0]).unwrap();
            scores.as_mut_slice().unwrap()[19] = 9.0;
            ctx.cosine(&query, &targets, &mut scores).unwrap();
            assert_eq!(scores.as_slice().unwrap()[17..], [7.0, 8.0, 9.0], "{device}");
            std::mem::forget(scores); // what was written is there already
        }
        assert_scores(&scores[..17], &query, &targets, device);
        assert_eq!(scores[17..], [7.0, 8.0, 9.0], "{device}");
    });
}

#[test]
fn a_read_lease_lets_kernels_read_and_ends_before_a_write() {
    on_each_device(|ctx, device| {
        let (query, rows) = (numbers(1, 64), numbers(2, 64 * 50));
        let query = UnifiedBuffer::from_slice(ctx, &query).unwrap();
        let mut targets = UnifiedBuffer::from_slice(ctx, &rows).unwrap();
        let mut scores = UnifiedBuffer::zeroed(ctx, 50).unwrap();
        let held = targets.as_slice().unwrap();
        ctx.cosine(&query, &targets, &mut scores).unwrap();
        assert_eq!(held, rows, "{device}");
        assert_eq!(ctx.stats().unwrap().maps_live, 1, "{device}: the slice's lease");
        assert_scores(scores.as_slice().unwrap(), query.as_slice().unwrap(), &rows, device);
        // The kernel writes what the lease of `scores` reads, so the lease ends first.
        targets.write(0, &numbers(3, 64)).unwrap();
        ctx.cosine(&query, &targets, &mut scores).unwrap();
        let targets = targets.as_slice().unwrap();
        assert_scores(scores.as_slice().unwrap(), query.as_slice().unwrap(), targets, device);
    });
}

#[test]
fn a_write_lease_ends_before_a_kernel_reads() {
    on_each_device(|ctx, device| {
        let mut query = UnifiedBuffer::<f32>::zeroed(ctx, 96).unwrap();
        let mut targets = UnifiedBuffer::<f32>::zeroed(ctx, 96 * 30).unwrap();
        let mut scores = UnifiedBuffer::zeroed(ctx, 30).unwrap();
        for round in 0..4 {
            query.as_mut_slice().unwrap().copy_from_slice(&numbers(round, 96));
            targets.as_mut_slice().unwrap().copy_from_slice(&numbers(round + 10, 96 * 30));
            scores.as_mut_slice().unwrap().fill(f32::NAN);
            ctx.cosine(&query, &targets, &mut scores).unwrap();
            let scores = scores.as_slice().unwrap();
            assert_scores(scores, query.as_slice().unwrap(), targets.as_slice().unwrap(), device);
        }
    });
}

#[test]
fn the_address_stays_the_same() {
    on_each_device(|ctx, device| {
        let mut buffer = UnifiedBuffer::<u8>::zeroed(ctx, 100_000).unwrap();
        let first = buffer.as_mut_slice().unwrap().as_ptr();
        assert_eq!(first as usize % 64, 0, "{device}");
        assert_eq!(buffer.as_slice().unwrap().as_ptr(), first, "{device}");
        buffer.write(5, &[1]).unwrap();
        assert_eq!(buffer.as_slice().unwrap().as_ptr(), first, "{device}");
    });
}

#[test]
fn raw_parts_outlive_the_context_and_come_back() {
    on_each_device(|ctx, device| {
        let elements = numbers(5, 3000);
        let mut buffer = UnifiedBuffer::from_slice(ctx, &elements).unwrap();
        buffer.as_mut_slice().unwrap()[0] = 1.5;
        let raw = buffer.into_raw().unwrap();
        assert_eq!(raw.bytes, 12_000, "{device}");
        // SAFETY: the memory is ours, 3000 floats, until it is given back below.
        assert_eq!(unsafe { *raw.address.cast::<f32>() }, 1.5, "{device}");
        // SAFETY: as it came from into_raw, and not used after.
        let again = unsafe { UnifiedBuffer::<f32>::from_raw(ctx, raw, 3000) }.unwrap();
        assert_eq!(again.as_slice().unwrap()[1..], elements[1..], "{device}");
        drop(again);

        let other = Context::builder().device("host").build().unwrap();
        let raw = UnifiedBuffer::from_slice(&other, &elements).unwrap().into_raw().unwrap();
        drop(other);
        // SAFETY: the memory is ours; released once, with what it came with.
        unsafe {
            assert_eq!(*raw.address.cast::<f32>().add(7), elements[7]);
            raw.release.unwrap()(raw.release_user, raw.address, raw.bytes);
        }
    });
}

#[test]
fn raw_parts_that_are_too_short_stay_the_callers() {
    on_each_device(|ctx, _| {
        let raw = UnifiedBuffer::from_slice(ctx, &[1_u32, 2, 3]).unwrap().into_raw().unwrap();
        // SAFETY: fails, so nothing happens to the memory.
        assert_eq!(kind(unsafe { UnifiedBuffer::<u32>::from_raw(ctx, raw, 4) }), ErrorKind::BufferTooShort);
        // SAFETY: as it came from into_raw, and not used after.
        drop(unsafe { UnifiedBuffer::<u32>::from_raw(ctx, raw, 3) }.unwrap());
    });
}

#[test]
fn buffers_outlive_the_last_handle_of_their_context() {
    let context = Context::builder().device("host").build().unwrap();
    let buffer = UnifiedBuffer::from_slice(&context, &[1_u8, 2, 3]).unwrap();
    drop(context);
    assert_eq!(buffer.as_slice().unwrap(), [1, 2, 3]);
    assert_eq!(buffer.context().stats().unwrap().buffers_live, 1);
}

#[test]
fn threads_share_and_pass_on_buffers() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Context>();
    is_send_and_sync::<UnifiedBuffer<f32>>();
    is_send_and_sync::<BorrowedBuffer<'_, f32>>();
    is_send_and_sync::<BorrowedBufferMut<'_, f32>>();
    is_send_and_sync::<engram_um::Stream>();
    is_send_and_sync::<engram_um::Job<'_>>();
    is_send_and_sync::<engram_um::Error>();
    on_each_device(|ctx, device| {
        let rows = numbers(2, 128 * 40);
        let query = UnifiedBuffer::from_slice(ctx, &rows[..128]).unwrap();
        let targets = UnifiedBuffer::from_slice(ctx, &rows).unwrap();
        let (query, targets, rows) = (&query, &targets, &rows);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(move || {
                    let mut scores = UnifiedBuffer::<f32>::zeroed(ctx, 40).unwrap();
                    for _ in 0..5 {
                        ctx.cosine(query, targets, &mut scores).unwrap();
                        assert_eq!(targets.as_slice().unwrap(), rows, "{device}");
                        assert_scores(scores.as_slice().unwrap(), &rows[..128], rows, device);
                    }
                });
            }
        });
        let mut moved = UnifiedBuffer::<u32>::zeroed(ctx, 10).unwrap();
        moved.as_mut_slice().unwrap()[3] = 3;
        let moved = thread::spawn(move || {
            moved.as_mut_slice().unwrap()[4] = 4;
            moved
        });
        assert_eq!(moved.join().unwrap().as_slice().unwrap()[2..6], [0, 3, 4, 0], "{device}");
    });
}

#[test]
fn nothing_is_left_when_all_buffers_have_ended() {
    on_each_device(|ctx, device| {
        let mut kept = Vec::new();
        for len in [0, 1, 1000, 1_000_000] {
            let mut buffer = UnifiedBuffer::<u8>::zeroed(ctx, len).unwrap();
            buffer.as_mut_slice().unwrap();
            kept.push(buffer);
        }
        assert_eq!(ctx.stats().unwrap().buffers_live, 4, "{device}");
        drop(kept);
        let stats = ctx.stats().unwrap();
        assert_eq!((stats.buffers_live, stats.bytes_live, stats.maps_live), (0, 0, 0), "{device}");
        assert_eq!(stats.bytes_peak, 1_001_001, "{device}");
    });
}

#[test]
fn explain_says_how_a_buffer_is_held_and_why() {
    on_each_device(|ctx, device| {
        let buffer = UnifiedBuffer::<f32>::zeroed(ctx, 100).unwrap().with_role(Role::Results);
        let decision = buffer.explain().unwrap();
        assert_eq!(decision.role, Role::Results, "{device}");
        assert_eq!(decision.backing, ctx.info().unwrap().backing, "{device}");
        assert_eq!(decision.contradiction, Contradiction::None, "{device}");
        assert!(decision.to_string().len() > 20, "{device}: {decision}");
    });
}

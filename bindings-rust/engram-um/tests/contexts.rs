//! Contexts: devices, errors, what they say about themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{kind, numbers, on_each_device};
use engram_um::{
    sys, Backing, Context, CostsSource, DeviceKind, DeviceReason, ErrorKind, LogLevel, Operation, UnifiedBuffer, F16,
};
use std::sync::{Arc, Mutex};

#[test]
fn there_is_always_a_context_and_it_says_why_it_is_where_it_is() {
    let info = Context::new().unwrap().info().unwrap();
    assert!(
        !info.device_name.is_empty() && info.device_sentence.len() > 10 && info.backing_sentence.len() > 10,
        "{info:?}"
    );
    assert!(info.worker_threads >= 1 && info.memory_total > 0, "{info:?}");
    let host = Context::builder().device("host").worker_threads(3).build().unwrap().info().unwrap();
    assert_eq!((host.device_kind, host.device_reason), (DeviceKind::Host, DeviceReason::Asked));
    assert_eq!((host.backing, host.worker_threads, host.compute_capability), (Backing::Host, 3, None));
}

#[test]
fn simulated_devices_are_what_their_name_says() {
    for (device, concurrent) in [("sim:maxwell", false), ("sim:pascal", true)] {
        let info = Context::builder().device(device).build().unwrap().info().unwrap();
        assert_eq!(info.concurrent_managed, concurrent, "{info:?}");
        assert_eq!((info.device_kind, info.backing), (DeviceKind::Sim, Backing::Mirrored), "{info:?}");
        let managed = Context::builder().device(device).backing(Backing::Managed).build().unwrap().info().unwrap();
        assert_eq!(managed.backing, Backing::Managed, "{managed:?}");
    }
}

#[test]
fn devices_that_are_not_there_are_errors() {
    assert_eq!(kind(Context::builder().device("no such device").build()), ErrorKind::InvalidArgument);
    assert_eq!(kind(Context::builder().device("host\0").build()), ErrorKind::InvalidArgument);
    assert_eq!(kind(Context::builder().device("host").backing(Backing::Other(99)).build()), ErrorKind::InvalidEnum);
    assert!(matches!(
        kind(Context::builder().device("cuda:62").build()),
        ErrorKind::DeviceUnavailable | ErrorKind::Driver
    ));
}

#[test]
fn every_status_has_a_kind_and_every_kind_its_number() {
    for number in (1..=999).filter(|n| ErrorKind::from_raw(*n) != ErrorKind::Other(*n)) {
        assert_eq!(ErrorKind::from_raw(number).to_raw(), number);
    }
    let known = (1..=999).filter(|n| ErrorKind::from_raw(*n) != ErrorKind::Other(*n)).collect::<Vec<_>>();
    // SAFETY: gives a static string that ends with a 0 byte, for every number.
    let name = |n| unsafe { std::ffi::CStr::from_ptr(sys::eum_status_name(n)) }.to_str().unwrap().to_string();
    let in_c = (1..=999).filter(|n| name(*n) != "EUM_ERROR_UNKNOWN").collect::<Vec<_>>();
    assert_eq!(known, in_c);
}

#[test]
fn errors_are_errors() {
    let error = Context::builder().device("no such device").build().unwrap_err();
    let boxed: Box<dyn std::error::Error + Send + Sync> = error.clone().into();
    assert_eq!(boxed.to_string(), error.sentence());
    assert_eq!(error.cuda(), None);
}

#[test]
fn stats_count_launches_operations_and_buffers() {
    on_each_device(|ctx, device| {
        let before = ctx.stats().unwrap();
        let query = UnifiedBuffer::from_slice(ctx, &numbers(1, 8)).unwrap();
        let mut scores = UnifiedBuffer::zeroed(ctx, 1).unwrap();
        ctx.cosine(&query, &query, &mut scores).unwrap();
        let after = ctx.stats().unwrap();
        let cosines = ctx.operation_stats(Operation::Cosine).unwrap();
        // One row: on a simulated GPU the CPU does it if the bytes are there, without a launch.
        assert_eq!(cosines.cpu.runs + cosines.device.runs, 1, "{device}");
        let host = ctx.info().unwrap().device_kind == DeviceKind::Host;
        let launches = if host { 1 } else { cosines.device.runs };
        assert_eq!(after.launches, before.launches + launches, "{device}");
        assert!(host || cosines.cpu.timed == cosines.cpu.runs, "{device}");
        assert!(cosines.cpu.timed == 0 || cosines.cpu.predicted_ns > 0 && cosines.cpu.actual_ns > 0, "{device}");
        assert_eq!((cosines.chunked, cosines.fallbacks, cosines.rest), (0, 0, 0), "{device}");
        for other in [Operation::Similarity, Operation::TopK, Operation::Rows] {
            let stats = ctx.operation_stats(other).unwrap();
            assert_eq!(stats.cpu.runs + stats.device.runs, 0, "{device}");
        }
        assert_eq!((after.buffers_live, after.bytes_live), (2, 36), "{device}");
    });
}

#[test]
fn the_log_hears_a_closure_that_panics_and_one_that_does_not() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&heard);
    let log = move |level: LogLevel, message: &str| {
        writer.lock().unwrap().push((level, message.to_string()));
        panic!("in a log callback");
    };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let context = Context::builder().device("sim:pascal").log(LogLevel::Debug, log).build().unwrap();
    let buffer = UnifiedBuffer::from_slice(&context, &numbers(1, 100_000)).unwrap();
    let mut scores = UnifiedBuffer::zeroed(&context, 1000).unwrap();
    let query = UnifiedBuffer::from_slice(&context, &numbers(2, 100)).unwrap();
    context.cosine(&query, &buffer, &mut scores).unwrap();
    drop((buffer, scores, query, context));
    std::panic::set_hook(hook);
    let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(|e| e.into_inner()));
    assert!(heard.iter().all(|(_, message)| !message.is_empty()), "{heard:?}");
    assert!(!heard.is_empty(), "a debug log of a launch is not silent");
}

/// What a closure throws when it means harm.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the destructor of a panic");
    }
}

#[test]
fn a_panic_in_a_log_callback_that_panics_again_when_dropped_does_not_cross_the_library() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let throw = |_: LogLevel, _: &str| std::panic::panic_any(Bomb);
    let context = Context::builder().device("sim:pascal").log(LogLevel::Debug, throw).build();
    std::panic::set_hook(hook);
    assert!(context.is_ok());
}

#[test]
fn costs_are_told_measured_and_kept_in_a_file() {
    let context = Context::builder().device("sim:hopper").build().expect("a simulated device");
    let before = context.costs().expect("costs");
    assert_eq!((before.source, before.host_copy_mbps, before.calibration), (CostsSource::Default, None, None));
    let after = context.calibrate().expect("a calibration");
    assert_eq!((after.source, after.to_device_mbps.abs_diff(50_000) < 1000), (CostsSource::Measured, true));
    assert!(after.calibration.is_some() && after.host_copy_all_mbps.is_some());
    let path = std::env::temp_dir().join(format!("engram-um-costs-{}", std::process::id()));
    context.save_costs(&path).expect("a file");
    let text = std::fs::read_to_string(&path).expect("the file");
    std::fs::remove_file(&path).expect("the file can go");
    assert!(text.starts_with("engram_um costs 1\n") && text.contains(&format!("launch_ns {}\n", after.launch_ns)));
    assert_eq!(context.save_costs("/nowhere/costs").map_err(|e| e.kind()), Err(ErrorKind::System));
    assert_eq!(context.save_costs("a\0b").map_err(|e| e.kind()), Err(ErrorKind::InvalidArgument));
}

#[test]
fn the_break_even_is_that_of_the_device() {
    let device = Context::builder().device("sim:hopper").build().expect("a simulated device");
    let pays = device.break_even::<F16>(768, 1, 0).expect("an answer");
    assert!(pays.rows_resident > Some(1) && pays.uses.is_none());
    assert!(device.break_even::<f32>(768, 1, 1_000_000).expect("an answer").uses.is_some());
    assert_eq!(device.break_even::<f32>(0, 1, 0).map_err(|e| e.kind()), Err(ErrorKind::InvalidArgument));
    let host = Context::builder().device("host").build().expect("the host");
    assert_eq!(host.break_even::<f32>(768, 1, 10).expect("an answer").rows_resident, None);
}

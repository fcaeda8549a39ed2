//! Random programs on every device. `ENGRAM_UM_PROPTEST_CASES` is how many in all (200); `PROPTEST_RNG_SEED` repeats a run.
//! What failed once is kept in `regressions.txt`, and runs first.

#![allow(clippy::panic)]

use property_tests::{programs, run};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

const DEVICES: u32 = 6;

/// A program that takes longer than this hangs; they take milliseconds.
const LONGEST: Duration = Duration::from_secs(120);

/// The program that runs, and since when.
type Running = Arc<Mutex<Option<(Instant, String)>>>;

/// Ends the process when a program hangs: no test can end a thread that waits in the library.
fn watch(running: Running) {
    thread::spawn(move || loop {
        thread::sleep(Duration::from_secs(1));
        let now = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, program)) = now.as_ref().filter(|(since, _)| since.elapsed() > LONGEST) {
            // Not eprintln!, which the test runner keeps to itself until the test ends.
            let _ = writeln!(io::stderr(), "a program hangs: {program}");
            process::abort();
        }
    });
}

fn on(device: &'static str) {
    let asked = env::var("ENGRAM_UM_PROPTEST_CASES").ok().filter(|text| !text.is_empty());
    let cases =
        asked.map_or(200, |text| text.parse().unwrap_or_else(|_| panic!("ENGRAM_UM_PROPTEST_CASES is \"{text}\"")));
    let config = Config {
        cases: u32::max(1, cases).div_ceil(DEVICES),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("regressions.txt"))),
        max_shrink_iters: 2000,
        ..Config::default()
    };
    // A crash leaves this file: the program that ran, close enough to Rust to be pasted into a test.
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(device.replace(':', "-")).with_extension("program");
    let running = Running::default();
    watch(Arc::clone(&running));
    let set = |now| *running.lock().unwrap_or_else(PoisonError::into_inner) = now;
    let result = TestRunner::new(config).run(&programs(device), |program| {
        let text = format!("{program:#?}");
        fs::write(&last, &text).map_err(|why| TestCaseError::fail(why.to_string()))?;
        set(Some((Instant::now(), text)));
        let done = run(&program);
        set(None);
        done.map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => (),
        Err(TestError::Fail(why, program)) => panic!("{why}\nin {program:#?}"),
        Err(TestError::Abort(why)) => panic!("gave up: {why}"),
    }
}

#[test]
fn programs_on_the_host_agree_with_the_model() {
    on("host");
}

#[test]
fn programs_on_maxwell_agree_with_the_model() {
    on("sim:maxwell");
}

#[test]
fn programs_on_pascal_agree_with_the_model() {
    on("sim:pascal");
}

#[test]
fn programs_on_turing_agree_with_the_model() {
    on("sim:turing");
}

#[test]
fn programs_on_ampere_agree_with_the_model() {
    on("sim:ampere");
}

#[test]
fn programs_on_hopper_agree_with_the_model() {
    on("sim:hopper");
}

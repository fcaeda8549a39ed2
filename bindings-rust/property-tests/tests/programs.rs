//! Random programs on every device. `ENGRAM_UM_PROPTEST_CASES` is how many in all (200); `PROPTEST_RNG_SEED` repeats a run.
//! What failed once is kept in `regressions.txt`, and runs first.

#![allow(clippy::panic)]

use property_tests::{programs, run};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use std::path::Path;
use std::{env, fs};

const DEVICES: u32 = 6;

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
    let result = TestRunner::new(config).run(&programs(device), |program| {
        fs::write(&last, format!("{program:#?}")).map_err(|why| TestCaseError::fail(why.to_string()))?;
        run(&program).map_err(TestCaseError::fail)
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

//! The cases of the pool fuzzer, a fixed number of random ones. `docs/testing.md` says how to run the fuzzer itself.

#[path = "../fuzz/cases/pool.rs"]
mod pool;

use fencepost_harness::rng::Seed;

/// Cases in an ordinary run.
const CASES: u64 = 3000;

#[test]
fn arbitrary_pools_neither_panic_nor_mislead() {
    for case in 0..CASES {
        let mut rng = Seed(0xf022).rng(case);
        let changes = rng.below(24) as usize;
        let mut input: Vec<u8> = (0..4 + changes * 5).map(|_| rng.below(256) as u8).collect();
        // Most cases have all checksums right.
        if !case.is_multiple_of(4) {
            input[..4].fill(0xff);
        }
        let run = std::panic::catch_unwind(|| pool::run(&input));
        assert!(run.is_ok(), "case {case}: {input:?}");
    }
}

/// Found by the fuzzer: two records of one version, of which the first that a thread of the recovery met won.
#[test]
fn equal_versions_are_decided_the_same_way_each_time() {
    let input = &[
        93, 93, 93, 93, 93, 93, 93, 93, 93, 107, 56, 93, 93, 44, 93, 93, 93, 93, 29, 93, 93, 86, 93, 150, 93, 93, 93,
        107, 48, 93, 93, 6, 255, 239, 255,
    ];
    for _ in 0..20 {
        pool::run(input);
    }
}

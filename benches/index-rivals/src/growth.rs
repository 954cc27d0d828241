//! How long single inserts take while the index grows from empty, beside a control that does all but the insert, and waits
//! busily instead for about as long, so that it meets the scheduler as often.

use crate::tables::Striped;
use crate::workload::{hash_of, key_of};
use fencepost::base::LogAddr;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// About the median of an insert.
const CONTROL_WAIT: Duration = Duration::from_nanos(300);

/// Runs `rounds` rounds of control and growth in turn. The same keys come in the same order, so what recurs in the minimum per
/// insert is the index's doing, and what does not is the scheduler's.
pub fn run(keys: usize, rounds: usize) {
    if keys == 0 {
        return;
    }
    println!("\nns per insert while growing from empty to {keys} keys, upkeep every 2 ms (clock included)");
    println!(
        "{:<28}{:>8}{:>8}{:>8}{:>8}{:>10}{:>8}{:>8}",
        "", "p50", "p99", "p99.9", "p99.99", "max", ">100us", ">1ms"
    );
    let mut least = [vec![u32::MAX; keys], vec![u32::MAX; keys]];
    for round in 0..rounds {
        for (who, name) in ["control", "index"].iter().enumerate() {
            let mut samples = vec![0_u32; keys];
            if who == 0 {
                idle(&mut samples)
            } else {
                grow(&mut samples)
            }
            for (least, &sample) in least[who].iter_mut().zip(&samples) {
                *least = sample.min(*least);
            }
            print(&format!("{name}, round {round}"), samples);
        }
    }
    let [control, index] = least;
    print("control, least of rounds", control);
    print("index, least of rounds", index);
}

fn idle(samples: &mut [u32]) {
    for (number, sample) in samples.iter_mut().enumerate() {
        let start = Instant::now();
        black_box(hash_of(&key_of(number as u64)));
        while start.elapsed() < CONTROL_WAIT {
            spin_loop();
        }
        *sample = nanos(start.elapsed());
    }
}

fn grow(samples: &mut [u32]) {
    let table = Striped::new(samples.len());
    let done = AtomicBool::new(false);
    table.maintain();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                table.maintain();
                thread::sleep(Duration::from_millis(2));
            }
        });
        for (number, sample) in samples.iter_mut().enumerate() {
            let start = Instant::now();
            let hash = hash_of(&key_of(number as u64));
            let addr = LogAddr::from_units(number as u64 + 1).expect("fewer than 2^40");
            // Equal tags of different keys are rare, and the key's number is its address.
            table.upsert(hash, addr, |other| other == addr);
            *sample = nanos(start.elapsed());
        }
        done.store(true, Ordering::Relaxed);
    });
    println!("{:.1} bytes of DRAM a key", table.index.bytes() as f64 / samples.len() as f64);
}

fn nanos(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_nanos()).unwrap_or(u32::MAX)
}

fn print(name: &str, mut samples: Vec<u32>) {
    let over = |limit: u32| samples.iter().filter(|&&sample| sample > limit).count();
    let (over_100_us, over_1_ms) = (over(100_000), over(1_000_000));
    samples.sort_unstable();
    let at = |quantile: f64| samples[((samples.len() - 1) as f64 * quantile) as usize];
    println!(
        "{name:<28}{:>8}{:>8}{:>8}{:>8}{:>10}{over_100_us:>8}{over_1_ms:>8}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        at(1.0)
    );
}

//! Explores what power cuts can leave of a pool. See `docs/testing.md`.

mod concurrent;

use fencepost::base::mutant;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|a| a == "--concurrent") {
        let number = |i: usize, d: u64| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(d);
        if let Some(token) = args.get(2).and_then(|a| a.parse().ok()) {
            let outcome = concurrent::replay(token);
            println!("{outcome}");
            outcome.violations.iter().for_each(|v| println!("{}", v.text));
            return;
        }
        let started = std::time::Instant::now();
        let budget = concurrent::Budget {
            time: std::time::Duration::from_secs(number(2, 10)),
            states_per_schedule: number(4, 40),
            violations: number(5, 1) as usize,
            ..Default::default()
        };
        let outcome = concurrent::explore(number(3, 1), &budget);
        outcome.violations.iter().for_each(|v| println!("{}", v.text));
        println!("{outcome} in {:?}", started.elapsed());
        return;
    }
    println!("{} defects can be switched on", mutant::Mutant::ALL.len());
}

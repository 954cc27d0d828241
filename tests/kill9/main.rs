//! `kill -9` under load: every acknowledged effect is there after the restart, every unanswered one is whole or absent.
//!
//! The load, and what is compared, is that of `fencepost_harness::load`. The server is killed at random moments: under load, while it creates its pool
//! and while it recovers.
//!
//! ```text
//! cargo test --release --test kill9 -- --nocapture
//! ```
//!
//! prints as its last line `rounds N, acknowledged N, lost 0, torn 0` and fails when a number that should be 0 is not.
//! `FENCEPOST_KILL9_ROUNDS` sets the rounds, `FENCEPOST_SEED` the seed; `FENCEPOST_TEST_SERVER=redis-volatile` shows
//! that the test can fail.

mod commands;

use fencepost_harness::history::{Broken, Violation};
use fencepost_harness::load::{Clients, pause};
use fencepost_harness::{Rng, Seed, Server, Storage};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Instant;

/// Rounds on one pool before the next begins with a new one.
const ROUNDS_PER_POOL: usize = 25;

/// How large pools are: some that are small to begin with, so that many kills come while they grow, and some that never have much more room than
/// the keys take, so that all of it is cleaned again and again.
const SIZES: [&[&str]; 2] = [&["--pool-size", "8mb", "--pool-max-size", "1gb"], &["--pool-size", "12mb"]];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        println!("kill9: test");
        return ExitCode::SUCCESS;
    }
    // A filter that means other tests.
    if words.iter().any(|word| !word.starts_with('-') && !"kill9".contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    if let Err(text) = commands::check() {
        println!("{text}");
        return ExitCode::FAILURE;
    }
    let default = if cfg!(debug_assertions) { 12 } else { 50 };
    let rounds =
        std::env::var("FENCEPOST_KILL9_ROUNDS").map_or(default, |text| text.parse().expect("a number of rounds"));
    let verdict = run(rounds, Seed::from_env("kill9"));
    println!(
        "rounds {}, acknowledged {}, lost {}, torn {}",
        verdict.rounds, verdict.acknowledged, verdict.lost, verdict.torn
    );
    if verdict.lost + verdict.torn == 0 && verdict.acknowledged > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Verdict {
    rounds: usize,
    acknowledged: u64,
    lost: usize,
    torn: usize,
    refused: usize,
}

impl Verdict {
    fn note(&mut self, round: usize, violations: &[Violation]) {
        const SHOWN_MAX: usize = 10;
        for violation in violations {
            let (count, word) = match violation.broken {
                Broken::Lost => (&mut self.lost, "LOST"),
                Broken::Torn => (&mut self.torn, "TORN"),
            };
            *count += 1;
            if *count <= SHOWN_MAX {
                println!("round {round}: {word}: {}", violation.text);
            }
        }
    }
}

/// Takes turns between a pool in memory and one on a disk.
fn run(rounds: usize, seed: Seed) -> Verdict {
    let start = Instant::now();
    let mut rng = seed.rng(0);
    let mut verdict = Verdict::default();
    let places = [Storage::Memory, Storage::Disk(PathBuf::from(env!("CARGO_TARGET_TMPDIR")))];
    let kinds: Vec<_> = SIZES.iter().flat_map(|sizes| places.iter().map(move |place| (place, *sizes))).collect();
    let mut trials: Vec<Trial> = kinds.iter().map(|(place, sizes)| Trial::new(place, sizes, &mut rng)).collect();
    for round in 0..rounds {
        let turn = round % kinds.len();
        if trials[turn].rounds == ROUNDS_PER_POOL {
            trials[turn] = Trial::new(kinds[turn].0, kinds[turn].1, &mut rng);
        }
        let (acknowledged, refused, violations) = trials[turn].round(seed.rng(1 + round as u64));
        verdict.rounds += 1;
        verdict.acknowledged += acknowledged;
        verdict.refused += refused;
        verdict.note(round, &violations);
        if !violations.is_empty() {
            println!("{}", trials[turn].server.log_end());
            break;
        }
    }
    println!(
        "{} rounds in {:.1} s, {} commands refused within transactions for want of room",
        verdict.rounds,
        start.elapsed().as_secs_f64(),
        verdict.refused
    );
    verdict
}

/// One pool, its server and its clients.
struct Trial {
    server: Server,
    clients: Clients,
    rounds: usize,
}

impl Trial {
    /// A server on a new pool; some are killed while they are making it.
    fn new(place: &Storage, sizes: &[&str], rng: &mut Rng) -> Self {
        let mut server = Server::under_test(env!("CARGO_BIN_EXE_fencepost"), place, sizes);
        let (_quiet, silence) = mpsc::channel();
        for _ in 0..rng.below(4) {
            server.spawn();
            pause(&silence, rng.below(40_000));
            server.kill();
        }
        server.run();
        let clients = Clients::new();
        let clients = if server.has_field_expiry() { clients } else { clients.without_field_expiry() };
        Self { server, clients, rounds: 0 }
    }

    /// Load, kill, restart, compare. Returns how many commands were acknowledged, how many of these were refused for want
    /// of room, and what is wrong.
    fn round(&mut self, mut rng: Rng) -> (u64, usize, Vec<Violation>) {
        self.rounds += 1;
        let refused_before = self.clients.refused();
        self.server.vary_packing(&mut self.server.client(), &mut rng);
        let (address, server) = (self.server.address(), &mut self.server);
        let goal = 1 + rng.below(6_000);
        let round = self.clients.run(address, &mut rng, goal, |rng, goal_reached| {
            // Half of the kills come at a count of commands, half at a time.
            pause(goal_reached, if rng.one_in(2) { 10_000_000 } else { rng.below(150_000) });
            server.kill();
        });
        let (_quiet, silence) = mpsc::channel();
        for _ in 0..rng.below(3) {
            self.server.spawn();
            pause(&silence, rng.below(30_000));
            self.server.kill();
        }
        self.server.run();
        let mut violations = round.violations;
        violations.extend(self.clients.compare(self.server.address()));
        (round.acknowledged, self.clients.refused() - refused_before, violations)
    }
}

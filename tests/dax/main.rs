//! Power cuts of a machine with persistent memory: every acknowledged effect is there after the next boot, every unanswered one is whole or absent.
//!
//! The server runs in an emulated machine (`guest.rs`), on ext4 with DAX and on device DAX, and is loaded through a port of the host by the clients of
//! `fencepost_harness::load`. The power is cut at random moments, under load and while the server starts. After the next boot everything is
//! read and held against the history, which goes on over all cuts.
//!
//! **That it can fail** is shown by the same server with the same load on virtio-pmem. There the kernel has DAX too, but refuses MAP_SYNC, so the server
//! has to map the file without it, and says so: medium `file`, not safe from power loss. Its stores go straight to the memory, as on an NVDIMM; what
//! is missing is only that the file system's records of the blocks are durable before the bytes in them. A cut then has to lose acknowledged
//! writes, and it does. So no switch that weakens the server is needed for that, which somebody could find and use. (The control's segments are of
//! 8 MiB. In smaller ones their headers, written and synced when the pool is made, would bring the blocks of all of it into being, as a fault there
//! is one of 2 MiB.)
//!
//! ```text
//! tests/dax/run.sh target/release/fencepost
//! ```
//!
//! prepares the guest and runs this, whose last line is `boots N, cuts N, acknowledged N, lost 0, torn 0`. Run without that it says so and passes.
//! `FENCEPOST_DAX_CUTS` sets the number of cuts, `FENCEPOST_SEED` the seed.

mod guest;

use fencepost_harness::history::{Broken, Violation};
use fencepost_harness::load::{Clients, pause};
use fencepost_harness::{Client, Frame, Rng, Seed};
use guest::{Access, DEVICE_AT, Guest, Image, Module};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Cuts of a run that is not asked for more. Of three, two are on a file system and one is on device DAX.
const CUTS: usize = 7;

/// Small to begin with, so that some cuts come while the pool grows, and never with much more room than the keys take, so that it is cleaned.
const SIZES: &[&str] = &["--pool-size", "8mb", "--pool-max-size", "48mb"];

/// The control's pool does not grow: that syncs its file, and so would make up for what the control leaves out.
const CONTROL_SIZE: &[&str] = &["--pool-size", "520mb", "--fsync", "no"];

/// The same, with every reply behind a sync of the file: then nothing needs MAP_SYNC.
const SYNCED_SIZE: &[&str] = &["--pool-size", "520mb", "--fsync", "always"];

/// Commands after which the control is cut off: some megabytes for each of the workers' segments.
const CONTROL_GOAL: u64 = 12_000;

/// The longest that a load goes on before its cut, in microseconds.
const LOAD_MICROS: u64 = 6_000_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        println!("dax: test");
        return ExitCode::SUCCESS;
    }
    // A filter that means other tests.
    if words.iter().any(|word| !word.starts_with('-') && !"dax".contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    let Some(boot) = std::env::var_os("FENCEPOST_DAX_GUEST") else {
        println!("skipped: tests/dax/run.sh prepares the guest and runs this");
        return ExitCode::SUCCESS;
    };
    let cuts = std::env::var("FENCEPOST_DAX_CUTS").map_or(CUTS, |text| text.parse().expect("a number of cuts"));
    let mut suite = Suite { boot: boot.into(), seed: Seed::from_env("dax"), tally: Tally::default() };
    let start = Instant::now();
    suite.run(cuts);
    let Tally { boots, cuts, acknowledged, lost, torn, longest_boot } = suite.tally;
    println!(
        "{boots} boots in {:.0} s, the longest {:.1} s to the server's answer",
        start.elapsed().as_secs_f64(),
        longest_boot.as_secs_f64()
    );
    println!("boots {boots}, cuts {cuts}, acknowledged {acknowledged}, lost {lost}, torn {torn}");
    if lost + torn == 0 && acknowledged > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Tally {
    boots: usize,
    cuts: usize,
    acknowledged: u64,
    lost: usize,
    torn: usize,
    longest_boot: Duration,
}

struct Suite {
    boot: PathBuf,
    seed: Seed,
    tally: Tally,
}

impl Suite {
    fn run(&mut self, cuts: usize) {
        let on_device = cuts / 3;
        let device = self.cut_and_compare("device", Access::Device, on_device);
        let file_system = self.cut_and_compare("file-system", Access::FileSystem, cuts - on_device);
        self.persistent_caches_need_no_flush(&file_system);
        self.read_only_memory_is_refused(&file_system);
        self.read_only_memory_is_refused(&device);
        self.a_device_with_something_else_on_it_is_left_alone(&device);
        self.without_map_sync_writes_are_lost_and_with_it_they_are_not();
    }

    fn switch_on(&mut self, image: &Image, module: Module, sizes: &[&str]) -> Guest {
        self.tally.boots += 1;
        Guest::boot(&self.boot, image, module, sizes)
    }

    /// A guest whose server answers.
    fn start(&mut self, image: &Image, module: Module, sizes: &[&str]) -> Guest {
        let mut guest = self.switch_on(image, module, sizes);
        let took = guest.wait_ready().unwrap_or_else(|error| panic!("{error}\n{}", guest.console()));
        self.tally.longest_boot = self.tally.longest_boot.max(took);
        guest
    }

    /// Loads a server on a new pool and cuts it off so many times; each time all that was acknowledged has to be there. In the end it is closed.
    fn cut_and_compare(&mut self, name: &str, access: Access, cuts: usize) -> Image {
        let image = Image::new(name, access, 256);
        let mut clients = Clients::new();
        for cut in 0..cuts {
            let mut rng = self.seed.rng(self.tally.cuts as u64);
            if rng.one_in(3) {
                self.cut_while_it_starts(&image, &mut rng);
            }
            let mut guest = self.start(&image, Module::Nvdimm, SIZES);
            if cut == 0 {
                println!("{name}: {}", said(&guest, "guest: mount", "guest: device"));
                println!("{name}: {}", said(&guest, "medium dax", "medium"));
            }
            let facts = facts(&guest);
            expect(&facts, "pool_medium:dax");
            expect(&facts, "pool_power_loss_safe:yes");
            expect(&facts, "pool_granularity:cache_line");
            self.note(name, clients.compare(guest.address()), &guest);
            let address = guest.address();
            let round = clients.run(address, &mut rng, u64::MAX, |rng, never| {
                pause(never, rng.below(LOAD_MICROS));
                guest.cut();
            });
            self.tally.cuts += 1;
            self.tally.acknowledged += round.acknowledged;
            println!("{name}: cut after {} acknowledged", round.acknowledged);
            self.note(name, round.violations, &guest);
        }
        let mut guest = self.start(&image, Module::Nvdimm, SIZES);
        self.note(name, clients.compare(guest.address()), &guest);
        // The server goes without an answer.
        let _ = Client::connect(guest.address()).and_then(|mut client| client.call(&["SHUTDOWN"]));
        guest.wait_off();
        expect(&guest.console(), "bad sectors            0");
        expect(&guest.console(), "guest: pool check ended with status 0");
        expect(&guest.console(), "guest: the server ended with status 0");
        image
    }

    /// The power goes at some moment from the kernel's start to a bit after the pool is opened, or made.
    fn cut_while_it_starts(&mut self, image: &Image, rng: &mut Rng) {
        let mut guest = self.switch_on(image, Module::Nvdimm, SIZES);
        guest.wait_said("guest: ready").unwrap_or_else(|error| panic!("{error}\n{}", guest.console()));
        let (_quiet, silence) = std::sync::mpsc::channel();
        pause(&silence, rng.below(600_000));
        guest.cut();
        self.tally.cuts += 1;
        println!("cut while the server starts");
    }

    fn note(&mut self, name: &str, violations: Vec<Violation>, guest: &Guest) {
        if violations.is_empty() {
            return;
        }
        const SHOWN_MAX: usize = 10;
        for (number, violation) in violations.iter().enumerate() {
            let (count, word) = match violation.broken {
                Broken::Lost => (&mut self.tally.lost, "LOST"),
                Broken::Torn => (&mut self.tally.torn, "TORN"),
            };
            *count += 1;
            if number < SHOWN_MAX {
                println!("{name}: {word}: {}", violation.text);
            }
        }
        println!("{}", guest.console());
    }

    /// On a platform that saves its caches no line is flushed.
    fn persistent_caches_need_no_flush(&mut self, image: &Image) {
        let mut guest = self.start(image, Module::Eadr, SIZES);
        let facts = facts(&guest);
        expect(&facts, "pool_medium:dax");
        expect(&facts, "pool_granularity:byte");
        expect(&facts, "pool_flush_instruction:none");
        println!("eADR: {}", said(&guest, "medium dax", "medium"));
        let _ = Client::connect(guest.address()).and_then(|mut client| client.call(&["SHUTDOWN"]));
        guest.wait_off();
    }

    /// Modules that cannot save what is written to them: the server does not start, and says why.
    fn read_only_memory_is_refused(&mut self, image: &Image) {
        let mut guest = self.switch_on(image, Module::Unarmed, SIZES);
        guest.wait_off();
        println!("unarmed: {}", said(&guest, "fencepost: ", "guest: the server"));
        expect(&guest.console(), "read-only");
        expect(&guest.console(), "guest: the server ended with status 1");
    }

    /// A device that is neither a pool nor blank is refused, and not written to.
    fn a_device_with_something_else_on_it_is_left_alone(&mut self, image: &Image) {
        let file = fs::File::options().read(true).write(true).open(image.path()).expect("the image is ours");
        let mut start = vec![0x5a; 2 << 20];
        file.write_all_at(&start, DEVICE_AT).expect("the image can be written");
        let mut guest = self.switch_on(image, Module::Nvdimm, SIZES);
        guest.wait_off();
        println!("foreign: {}", said(&guest, "fencepost: ", "guest: the server"));
        expect(&guest.console(), "not blank either");
        expect(&guest.console(), "guest: the server ended with status 1");
        file.read_exact_at(&mut start, DEVICE_AT).expect("the image can be read");
        assert!(start.iter().all(|&byte| byte == 0x5a), "the server has written to it");
    }

    /// The control, see the head of the file, the same with an NVDIMM, and the same with a sync of the file before each reply.
    fn without_map_sync_writes_are_lost_and_with_it_they_are_not(&mut self) {
        let safe = "pool_power_loss_safe:yes";
        let (mut clients, image) = self.load_and_cut(Module::Nvdimm, CONTROL_SIZE, "pool_medium:dax", safe);
        self.nothing_is_lost("with MAP_SYNC", Module::Nvdimm, CONTROL_SIZE, &mut clients, &image);
        drop(image);

        let (mut clients, image) = self.load_and_cut(Module::Virtio, SYNCED_SIZE, "pool_medium:file", safe);
        let how = "without MAP_SYNC, with --fsync always";
        self.nothing_is_lost(how, Module::Virtio, SYNCED_SIZE, &mut clients, &image);
        drop(image);

        let not_safe = "pool_power_loss_safe:no";
        let (mut clients, image) = self.load_and_cut(Module::Virtio, CONTROL_SIZE, "pool_medium:file", not_safe);
        let mut guest = self.switch_on(&image, Module::Virtio, CONTROL_SIZE);
        if guest.wait_ready().is_ok() {
            let lost = clients.compare(guest.address()).len();
            println!("without MAP_SYNC: {lost} keys are lost or wrong");
            assert!(lost > 0, "nothing was lost without MAP_SYNC: this suite cannot fail");
        } else {
            // Or the pool is in pieces.
            println!("without MAP_SYNC: {}", said(&guest, "fencepost: ", "guest"));
            expect(&guest.console(), "is damaged in");
        }
    }

    /// After the cut everything is there.
    fn nothing_is_lost(&mut self, how: &str, module: Module, settings: &[&str], clients: &mut Clients, image: &Image) {
        let mut guest = self.switch_on(image, module, settings);
        let took = guest.wait_ready();
        took.unwrap_or_else(|error| panic!("{error}\n{}", guest.console()));
        self.note(how, clients.compare(guest.address()), &guest);
        println!("{how}: read and compared");
    }

    /// A server on a new pool with large segments is loaded, which has to say this of itself, and cut off.
    fn load_and_cut(
        &mut self,
        module: Module,
        settings: &[&str],
        medium: &str,
        power_loss_safe: &str,
    ) -> (Clients, Image) {
        let image = Image::new(&format!("control-{module:?}"), Access::FileSystem, 640);
        let mut clients = Clients::new();
        let mut guest = self.start(&image, module, settings);
        println!("{module:?}: {}", said(&guest, "survives", "medium"));
        let facts = facts(&guest);
        expect(&facts, medium);
        expect(&facts, power_loss_safe);
        let address = guest.address();
        let mut rng = self.seed.rng(u64::MAX);
        let round = clients.run(address, &mut rng, CONTROL_GOAL, |_, reached| {
            pause(reached, 60_000_000);
            guest.cut();
        });
        assert!(round.violations.is_empty(), "before the cut nothing is wrong");
        println!("{module:?}: cut after {} acknowledged", round.acknowledged);
        if power_loss_safe.ends_with("yes") {
            self.tally.cuts += 1;
            self.tally.acknowledged += round.acknowledged;
        }
        (clients, image)
    }
}

/// What the server says of its medium.
fn facts(guest: &Guest) -> String {
    let mut client = Client::connect(guest.address()).expect("a ready server accepts");
    match client.must(&["INFO", "persistence"]) {
        Frame::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("INFO answered {other:?}"),
    }
}

fn expect(text: &str, part: &str) {
    assert!(text.contains(part), "{part:?} is not in\n{text}");
}

/// The first line on the guest's console with one of these.
fn said(guest: &Guest, either: &str, or: &str) -> String {
    let console = guest.console();
    let line =
        console.lines().find(|line| line.contains(either)).or_else(|| console.lines().find(|line| line.contains(or)));
    line.unwrap_or("nothing").to_owned()
}

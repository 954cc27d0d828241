//! Explores what power cuts can leave of a pool. See `docs/testing.md`.

use fencepost::base::mutant;

fn main() {
    println!("{} defects can be switched on", mutant::Mutant::ALL.len());
}

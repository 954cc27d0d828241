#!/usr/bin/env bash
# Power cuts of an emulated machine with persistent memory (tests/dax/main.rs says what is shown).
#
#   tests/dax/run.sh target/release/fencepost
#
# The guest's kernel comes from a Debian package, which is kept outside the tree, under FENCEPOST_DAX_CACHE. Needs qemu-system-x86_64, apt-get,
# dpkg-deb, cpio, depmod (kmod), mke2fs (e2fsprogs), strip and a Rust toolchain. FENCEPOST_DAX_CUTS sets the number of power cuts.
set -euo pipefail

program=$(realpath "${1:?usage: run.sh PROGRAM}")
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin
export FENCEPOST_DAX_GUEST=${FENCEPOST_DAX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fencepost-dax}

bash "$here/guest.sh" "$FENCEPOST_DAX_GUEST" "$program"
cd "$here/../.."
cargo test --release --locked --test dax -- --nocapture

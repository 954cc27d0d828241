#!/usr/bin/env bash
# Makes what the suite boots: the kernel of a Debian package, and an initial file system of busybox, the modules for persistent
# memory and the network, and the program under test. Nothing is installed into this machine's own boot.
#
#   tests/dax/guest.sh FOLDER PROGRAM
#
# The packages are fetched once into FOLDER (27 MB; FENCEPOST_DAX_KERNEL names another kernel package). PROGRAM is taken with the libraries
# that it is linked with here, so it is the very binary that other tests run. FOLDER gets: vmlinuz, base.cpio, and boot.cpio, which is
# base.cpio with the program.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: guest.sh FOLDER PROGRAM}
program=${2:?usage: guest.sh FOLDER PROGRAM}
package=${FENCEPOST_DAX_KERNEL:-linux-image-cloud-amd64}
PATH=$PATH:/usr/sbin:/sbin

pack() { (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0); }

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
scratch=$(mktemp -d "$folder/making.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# What base.cpio is made of: made anew when that changes.
recipe=$(cat "$here/guest.sh" "$here/init" - <<<"$package" | sha256sum)
if [[ ! -s $folder/vmlinuz || $(cat "$folder/recipe" 2>/dev/null) != "$recipe" ]]; then
    # The package without a version only depends on the one that has the kernel.
    download() {
        local kernel
        kernel=$(apt-cache depends "$package" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
        (cd "$scratch/packages" && apt-get download -qq -o APT::Sandbox::User=root "${kernel:-$package}" busybox-static)
    }
    mkdir "$scratch/packages"
    if ! download 2>/dev/null; then
        # No lists of packages yet, or old ones.
        if [[ $(id -u) == 0 ]]; then apt-get update -qq; else sudo apt-get update -qq; fi
        download
    fi
    for deb in "$scratch"/packages/*.deb; do dpkg-deb -x "$deb" "$scratch/unpacked"; done
    version=$(ls "$scratch/unpacked/lib/modules")
    root=$scratch/root
    mkdir -p "$root"/{bin,dev,proc,sys,tmp,pmem,modules}
    busybox=$(find "$scratch/unpacked" -type f -path '*/bin/busybox' | head -n 1)
    install -m 755 "$busybox" "$root/bin/busybox"
    install -m 755 "$here/init" "$root/init"
    depmod -b "$scratch/unpacked" "$version"
    # Each module behind those that it needs; what is built into the kernel is left out.
    for module in nfit nd_pmem dax_pmem device_dax virtio_pci virtio_pmem virtio_net ext4; do
        modprobe -d "$scratch/unpacked" -S "$version" --show-depends "$module" 2>/dev/null || true
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
        name=$(basename "${file%.xz}")
        if [[ $file == *.xz ]]; then xz -dc "$file" >"$root/modules/$name"; else cp "$file" "$root/modules/$name"; fi
        echo "$name" >>"$root/modules/order"
    done
    for needed in nfit nd_pmem virtio_net; do
        grep -q "^$needed\.ko" "$root/modules/order" || { echo "the kernel of $package has no module $needed"; exit 1; }
    done
    pack "$root" >"$folder/base.cpio"
    cp "$scratch"/unpacked/boot/vmlinuz-* "$folder/vmlinuz"
    echo "$recipe" >"$folder/recipe"
    echo "$version" >"$folder/version"
fi

mkdir "$scratch/program"
strip -o "$scratch/program/fencepost" "$program"
# The files among "name => /file (address)" and "/file (address)"; a static program has none.
ldd "$program" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 755 "$library" "$scratch/program$library"
done
# The kernel unpacks one archive after the other.
{ pack "$scratch/program"; cat "$folder/base.cpio"; } >"$folder/boot.cpio"
echo "guest: kernel $(cat "$folder/version"), initial file system of $(stat -c %s "$folder/boot.cpio") bytes"

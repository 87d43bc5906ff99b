#!/bin/bash
# A virtual machine's image on a cached volume: qemu-nbd serves the volume as a disk, as it would to a virtual machine; qemu-io works on it as a guest
# does, with flushes; then the image is compared with what the slow disk alone has.
#
#     bash examples/vm-image.sh
#
# qemu itself would be given `-drive file=VOL/volume.img,format=raw,cache=none`. Needs qemu-utils (qemu-img, qemu-nbd, qemu-io). As root, or as a user with
# fusermount3. `pcache` must be in the PATH. Status 77: something that it needs is missing.
set -eu

for program in qemu-img qemu-nbd qemu-io; do
  if ! command -v "$program" >/dev/null; then
    echo "skipped: no $program (Debian: qemu-utils)"
    exit 77
  fi
done

dir=$(mktemp -d)
nbd=
cleanup() {
  if [ -n "$nbd" ] && kill "$nbd" 2>/dev/null; then wait "$nbd" || true; fi
  pcache umount "$dir/vol" >"$dir/umount.log" 2>&1 || true
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

echo "- an image as it may come from a template, and a cache in front of it"
qemu-img create -q -f raw "$dir/image.raw" 256M
qemu-io -f raw -c 'write -q -P 0x11 0 64M' "$dir/image.raw"
pcache format "$dir/cache.pmem" --size 96M
mkdir "$dir/vol"
pcache mount "$dir/cache.pmem" "$dir/image.raw" "$dir/vol"

echo "- qemu serves the volume as a disk"
# --persistent: it goes on after the first client. Its write cache is off: pcache is the cache, and a guest's flush reaches it.
qemu-nbd --persistent --cache=none --aio=threads --discard=unmap -f raw -k "$dir/nbd.sock" "$dir/vol/volume.img" &
nbd=$!
for _ in $(seq 100); do
  [ -S "$dir/nbd.sock" ] && break
  kill -0 "$nbd"
  sleep 0.1
done
disk="nbd+unix:///?socket=$dir/nbd.sock"
qemu-img info "$disk" | grep 'virtual size'

echo "- a guest reads what is there, writes, flushes, and reads again"
qemu-io -f raw \
  -c 'read -q -P 0x11 32M 4M' \
  -c 'write -q -P 0x22 32M 8M' -c 'aio_write -q -P 0x33 100M 4M' -c 'aio_write -q -P 0x44 200M 4k' -c 'aio_flush' -c 'flush' \
  -c 'discard -q 0 1M' \
  -c 'read -q -P 0x22 32M 8M' -c 'read -q -P 0x33 100M 4M' -c 'read -q -P 0x44 200M 4k' -c 'read -q -P 0 0 1M' \
  "$disk" >"$dir/guest.log" 2>&1 || { cat "$dir/guest.log"; exit 1; }
if grep -i 'fail\|error' "$dir/guest.log"; then exit 1; fi
pcache status "$dir/vol"

echo "- the machine is shut down; everything goes to the image"
kill "$nbd"
wait "$nbd" || true
nbd=
cp --sparse=always "$dir/vol/volume.img" "$dir/volume.copy"
pcache umount "$dir/vol" --flush
qemu-img compare -f raw -F raw "$dir/volume.copy" "$dir/image.raw"
echo "done"

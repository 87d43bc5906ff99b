#!/bin/sh
# A first session: makes a cache and a backing file, mounts, writes, looks, unmounts, checks. All of it in a temporary folder that is gone afterwards.
#
#     sh examples/first-session.sh
#
# As root, or as a user with fusermount3 and permission to open /dev/fuse. `pcache` must be in the PATH.
set -eu

dir=$(mktemp -d)
cleanup() {
  # Nothing to do if all went well.
  pcache umount "$dir/vol" >"$dir/umount.log" 2>&1 || true
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

echo "- a slow disk of 256 MiB, and a cache of 96 MiB (on real hardware: persistent memory, or a file on an SSD)"
truncate -s 256M "$dir/disk.img"
mkdir "$dir/vol"
pcache format "$dir/cache.pmem" --size 96M

echo "- both together are a volume"
pcache mount "$dir/cache.pmem" "$dir/disk.img" "$dir/vol"
ls -l "$dir/vol"

echo "- write 16 MiB, and make them durable"
seq 1 2400000 | head -c 16M >"$dir/text"
dd if="$dir/text" of="$dir/vol/volume.img" bs=1M conv=notrunc,fsync status=none
cmp -n 16777216 "$dir/text" "$dir/vol/volume.img"
pcache status "$dir/vol"

echo "- unmount: what is not on the disk yet stays in the cache"
pcache umount "$dir/vol"
pcache check "$dir/cache.pmem"

echo "- mount again, and write everything back before unmounting"
pcache mount "$dir/cache.pmem" "$dir/disk.img" "$dir/vol"
cmp -n 16777216 "$dir/text" "$dir/vol/volume.img"
pcache umount "$dir/vol" --flush

echo "- the disk alone has it now"
cmp -n 16777216 "$dir/text" "$dir/disk.img"
echo "done"

#!/bin/bash
# A database on a cached volume: a loop device over it, ext4 on that, SQLite in it. In the middle the engine of the gateway is killed with -9, which the
# database does not notice. At the end SQLite checks the database twice: on the volume, and on the slow disk alone.
#
#     sudo bash examples/database.sh
#
# Root only (loop devices, mount). Needs sqlite3 and e2fsprogs. `pcache` must be in the PATH. Status 77: something that it needs is missing.
set -eu

if [ "$(id -u)" -ne 0 ]; then
  echo "skipped: needs root, for a loop device and a mount"
  exit 77
fi
for program in sqlite3 mkfs.ext4 losetup; do
  if ! command -v "$program" >/dev/null; then
    echo "skipped: no $program"
    exit 77
  fi
done

dir=$(mktemp -d)
cleanup() {
  {
    if mountpoint -q "$dir/mnt"; then umount "$dir/mnt" || umount -l "$dir/mnt"; fi
    pcache loop detach "$dir/vol" || true
    pcache umount "$dir/vol" || true
  } >"$dir/cleanup.log" 2>&1
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

echo "- a slow disk, a cache in front of it, a block device over both, a file system on that"
truncate -s 256M "$dir/disk.img"
pcache format "$dir/cache.pmem" --size 96M --data-crc
mkdir "$dir/vol" "$dir/mnt"
pcache mount "$dir/cache.pmem" "$dir/disk.img" "$dir/vol"
loop=$(pcache loop attach "$dir/vol")
mkfs.ext4 -q -E nodiscard "$loop"
mount "$loop" "$dir/mnt"

# Each transaction is durable when it is committed: that is one flush of the volume at least.
insert() {
  {
    echo 'PRAGMA synchronous = FULL;'
    for i in $(seq "$1" "$2"); do
      echo "INSERT INTO account VALUES ($i, $((i * 7)), hex(randomblob(300)));"
    done
  } | sqlite3 -batch -bail "$dir/mnt/bank.db"
}

echo "- 300 transactions, with the engine killed in the middle of them"
sqlite3 -batch "$dir/mnt/bank.db" 'PRAGMA journal_mode = WAL; CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER, note TEXT)' >"$dir/mode"
insert 1 100
insert 101 200 &
inserting=$!
sleep 0.2
engine=$(pcache --json status "$dir/vol" | sed -n 's/.*"engine_pid": *\([0-9]*\).*/\1/p')
kill -9 "$engine"
wait "$inserting"
insert 201 300
sqlite3 "$dir/mnt/bank.db" 'SELECT count(*) || " rows, " || sum(amount) || " in all" FROM account'
sqlite3 "$dir/mnt/bank.db" 'PRAGMA integrity_check'
pcache status "$dir/vol"

echo "- take it all down, with everything written back"
umount "$dir/mnt"
pcache loop detach "$dir/vol"
pcache umount "$dir/vol" --flush

echo "- the slow disk alone has a sound file system, with a sound database"
e2fsck -fn "$dir/disk.img" >"$dir/fsck.log" 2>&1
mount -o loop,ro,noload "$dir/disk.img" "$dir/mnt"
sqlite3 "file:$dir/mnt/bank.db?immutable=1" 'PRAGMA integrity_check; SELECT count(*) || " rows, " || sum(amount) || " in all" FROM account'
umount "$dir/mnt"
echo "done"

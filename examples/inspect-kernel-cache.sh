#!/bin/sh
# Looks into a cache that the kernel's dm-pcache wrote, and gets its data out: what is on it, whether it is sound, what would be written to the backing
# device, and then that. Works on copies; the files that are named are only read.
#
#     sh examples/inspect-kernel-cache.sh CACHE BACKING
#
# Each may be compressed with zstd (then zstd is needed), as those in test/fixtures/golden are, which is where this takes its example from if none is named.
# Needs no root. `pcache` must be in the PATH. Status 77: something that it needs is missing.
set -eu

golden=$(dirname "$0")/../test/fixtures/golden
cache=${1:-$golden/mixed-dirty.pmem.zst}
backing=${2:-$golden/mixed-dirty.backing.zst}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

copy() {
  case $1 in
    *.zst)
      if ! command -v zstd >/dev/null; then
        echo "skipped: no zstd"
        exit 77
      fi
      zstd -q -d --sparse "$1" -o "$2"
      ;;
    *) cp --sparse=always "$1" "$2" ;;
  esac
}
copy "$cache" "$dir/cache"
copy "$backing" "$dir/backing"

echo "- what is on it"
pcache dump "$dir/cache"
echo "- its segments, of which the first ten"
pcache dump "$dir/cache" --segments >"$dir/dump"
grep '^segment' "$dir/dump" | sed -n '1,10p'
echo "- what the kernel would say of it"
pcache status "$dir/cache" --dm
echo "- is it sound?"
pcache check "$dir/cache" --backing "$dir/backing"
echo "- what is not on the backing device yet"
pcache recover "$dir/cache" "$dir/backing" --dry-run
echo "- write that, and look again"
echo "  (The log's \"dirty\" counts a place of the volume as often as it was written, \"would write\" counts it once. What is written lies between the two:"
echo "  writing back keeps the order of the log, so what was written over is left out only within a batch.)"
pcache recover "$dir/cache" "$dir/backing"
pcache recover "$dir/cache" "$dir/backing" --dry-run
echo "- the backing device alone, with all of the volume:"
sha256sum <"$dir/backing"
echo "done"

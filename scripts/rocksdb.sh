#!/usr/bin/env bash
# Puts a ready-made RocksDB library where the build looks for it (.rocksdb/ and target/*/), so that nobody waits
# for the C++ build of the `rocksdb` crate. The library is the one inside Maven Central's rocksdbjni, of exactly the
# version that the crate binds: take both up together. Idempotent; the download is kept in $FLOWD_CACHE.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=11.8.1
CACHE=${FLOWD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flowd}/rocksdb-$VERSION
case $(uname -m) in
  x86_64) LIB=librocksdbjni-linux64.so ;;
  aarch64) LIB=librocksdbjni-linux-aarch64.so ;;
  *) echo "rocksdb.sh: no ready-made RocksDB for $(uname -m); unset ROCKSDB_LIB_DIR in .cargo/config.toml to build it" >&2; exit 1 ;;
esac
if [ ! -s "$CACHE/librocksdb.so" ]; then
  mkdir -p "$CACHE"
  mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    "-Dartifact=org.rocksdb:rocksdbjni:$VERSION" "-DoutputDirectory=$CACHE"
  unzip -oqj "$CACHE/rocksdbjni-$VERSION.jar" "$LIB" -d "$CACHE"
  rm -f "$CACHE/rocksdbjni-$VERSION.jar"
  mv "$CACHE/$LIB" "$CACHE/librocksdb.so"
fi
TARGET=${CARGO_TARGET_DIR:-target}
for dir in .rocksdb "$TARGET/debug" "$TARGET/release"; do
  mkdir -p "$dir"
  cmp -s "$CACHE/librocksdb.so" "$dir/librocksdb.so" || cp "$CACHE/librocksdb.so" "$dir/librocksdb.so"
done

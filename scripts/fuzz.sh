#!/usr/bin/env bash
# Runs every fuzz target for so many seconds each (default 60). A crash ends it and stays in fuzz/artifacts.
# cargo-fuzz needs the compiler's unstable sanitizer flags; RUSTC_BOOTSTRAP lets a stable compiler take them.
set -euo pipefail
cd "$(dirname "$0")/.."
SECONDS_EACH=${1:-60}
export RUSTC_BOOTSTRAP=1
for target in $(cargo fuzz list); do
  echo "== $target"
  cargo fuzz run "$target" -- -max_total_time="$SECONDS_EACH" -rss_limit_mb=2048
done

#!/usr/bin/env bash
# Makes a bare Debian or Ubuntu machine ready: what is missing, and only that. Idempotent, and quiet when all is there.
#
#   setup.sh build       to build: a C compiler, libclang for RocksDB's bindings, the ready-made RocksDB (rocksdb.sh)
#   setup.sh test        also to test: cargo-nextest, Maven for the Java SDK, the database servers (servers.sh)
#   setup.sh lint        to build, with rustfmt and clippy
#   setup.sh deny        cargo-deny
#   setup.sh fuzz        to build, with cargo-fuzz
#   setup.sh tools       print the directory of the Rust tools fetched here, for PATH
#
# System packages are installed by apt, as root or with sudo; everything else lands in $FLOWD_CACHE
# (default ~/.cache/flowd), never in the checkout. Nothing here asks a question.
set -euo pipefail
cd "$(dirname "$0")/.."
export FLOWD_CACHE=${FLOWD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flowd}
TOOLS=$FLOWD_CACHE/tools

die() { echo "setup.sh: $*" >&2; exit 1; }
say() { echo "setup.sh: $*" >&2; }

# Installs packages by apt. Refreshes its lists only when a package is not found.
apt_install() {
  command -v apt-get >/dev/null || die "missing: $*; there is no apt-get here, install them by hand"
  local root=() options=(-y -qq --no-install-recommends -o Dpkg::Use-Pty=0)
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || die "missing: $*; install them as root: apt-get install $*"
    root=(sudo -n)
  fi
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" </dev/null >&2 && return
  "${root[@]}" apt-get update -qq </dev/null >&2
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" </dev/null >&2
}

# Rust's own installer, for this user alone. (Debian 12 has no Rust that is new enough.)
install_rust() {
  need_commands curl=curl
  say "installing Rust into ~/.cargo by rustup"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt -c clippy >&2 ||
    die "Rust could not be installed: install it by hand (https://rustup.rs), then run this again"
}

need_rust() {
  if ! command -v cargo >/dev/null; then
    export PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null || install_rust
  fi
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
  have=$(rustc --version | cut -d' ' -f2)
  if [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -1)" != "$wanted" ]; then
    die "Rust $have is too old, flowd needs $wanted: rustup update stable"
  fi
}

# The library, and the headers that it needs for itself: bindgen wants both.
has_libclang() {
  local library=() header=()
  shopt -s nullglob
  library=("${LIBCLANG_PATH:-/nowhere}"/libclang.so* /usr/lib/llvm-*/lib/libclang{.,-[0-9]}*so* /usr/lib/*-linux-gnu/libclang{.,-[0-9]}*so*)
  header=(/usr/lib/llvm-*/lib/clang/*/include/stdbool.h /usr/lib/clang/*/include/stdbool.h)
  shopt -u nullglob
  [ ${#library[@]} -gt 0 ] && { [ ${#header[@]} -gt 0 ] || [ -n "${BINDGEN_EXTRA_CLANG_ARGS:-}" ]; }
}

# The release's own version of libclang: the newest that apt knows.
libclang_packages() {
  local newest
  newest=$(apt-cache pkgnames libclang1- 2>/dev/null | sed -n 's/^libclang1-\([0-9]*\)$/\1/p' | sort -n | tail -1)
  [ -n "$newest" ] && echo "libclang1-$newest libclang-common-$newest-dev"
}

need_libclang() {
  has_libclang && return
  local packages
  if ! packages=$(libclang_packages); then
    apt_install libclang-dev
    return
  fi
  # shellcheck disable=SC2086 # two words on purpose
  apt_install $packages
}

need_commands() {
  local missing=() command package
  for pair in "$@"; do
    command=${pair%%=*} package=${pair#*=}
    command -v "$command" >/dev/null || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

need_rocksdb() {
  if [ ! -s "$FLOWD_CACHE/rocksdb-$(sed -n 's/^VERSION=//p' scripts/rocksdb.sh)/librocksdb.so" ]; then
    need_commands mvn=maven java=default-jre-headless unzip=unzip
  fi
  scripts/rocksdb.sh </dev/null
}

# A Rust tool as a ready-made binary: $1 the cargo command, the rest of the name is the package's.
need_tool() {
  command -v "cargo-$1" >/dev/null && return
  [ -x "$TOOLS/bin/cargo-$1" ] && return
  need_commands python3=python3
  python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
  say "fetching cargo-$1"
  mkdir -p "$TOOLS"
  python3 -m pip install -q --no-input --disable-pip-version-check --root-user-action ignore --no-deps --upgrade \
    --target "$TOOLS/$1" "astral-dev-toolchain-cargo-$1" </dev/null >&2
  mkdir -p "$TOOLS/bin"
  ln -sf "../$1/bin/cargo-$1" "$TOOLS/bin/cargo-$1"
}

build() {
  need_rust
  need_commands cc=build-essential
  need_libclang
  need_rocksdb
}

test_() {
  build
  need_tool nextest
  need_commands mvn=maven javac=default-jdk-headless openssl=openssl curl=curl python3=python3
  scripts/servers.sh fetch </dev/null
  scripts/rabbitmq.sh fetch </dev/null
  scripts/kafka.sh fetch </dev/null
  scripts/postgres.sh fetch </dev/null
}

lint() {
  build
  for component in rustfmt clippy; do
    "cargo-${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
    command -v rustup >/dev/null || die "$component is missing; with rustup it is: rustup component add $component"
    rustup component add "$component" </dev/null >&2
  done
}

case ${1:-} in
  build) build ;;
  test) test_ ;;
  lint) lint ;;
  deny) need_rust; need_tool deny ;;
  fuzz) build; need_tool fuzz ;;
  tools) echo "$TOOLS/bin" ;;
  *) die "usage: setup.sh build|test|lint|deny|fuzz|tools" ;;
esac

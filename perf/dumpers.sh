#!/usr/bin/env bash
# The dump programs that perf/snapshot prints beside flowd, from the host's own Debian archive, without installing them.
#
#   dumpers.sh fetch                 unpack mydumper and mariadb-dump; exit code 1 where they cannot be had
#   dumpers.sh mydumper [ARG...]     run one of them, as this very process
#   dumpers.sh mariadb-dump [ARG...]
#
# What is unpacked stays in $FLOWD_CACHE (default ~/.cache/flowd)/dumpers.
set -euo pipefail
TREE=${FLOWD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flowd}/dumpers
ROOT=$TREE/root
MULTIARCH=$(uname -m)-linux-gnu

die() { echo "dumpers.sh: $*" >&2; exit 1; }

# Downloads what the host lacks to run mydumper, and mariadb-dump's package alone, whose other programs want Perl.
unpack() {
  local debs=$TREE/debs deb options=(-qq -y --no-install-recommends -o Debug::NoLocking=true -o "APT::Sandbox::User=$(id -un)")
  command -v dpkg-deb > /dev/null && command -v apt-get > /dev/null || die "apt-get and dpkg-deb are needed to unpack mydumper"
  echo "dumpers.sh: fetching mydumper and mariadb-dump" >&2
  rm -rf "$debs" "$ROOT.new" && mkdir -p "$debs/partial" "$ROOT.new"
  apt-get "${options[@]}" -o "Dir::Cache::archives=$debs" --download-only install mydumper < /dev/null >&2 ||
    die "apt has no mydumper; refresh its lists: apt-get update"
  (cd "$debs" && apt-get "${options[@]}" download mariadb-client < /dev/null >&2) || die "apt has no mariadb-client"
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$ROOT.new"; done
  rm -rf "$debs" "$ROOT.new/usr/share/doc" "$ROOT.new/usr/share/man" "$ROOT"
  mv "$ROOT.new" "$ROOT"
}

[ $# -ge 1 ] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
mkdir -p "$TREE"
exec 9> "$TREE/.lock"
flock 9
[ -x "$ROOT/usr/bin/mydumper" ] && [ -x "$ROOT/usr/bin/mariadb-dump" ] || unpack
exec 9>&-
export LD_LIBRARY_PATH=$ROOT/usr/lib/$MULTIARCH:$ROOT/lib/$MULTIARCH
export MARIADB_PLUGIN_DIR=$ROOT/usr/lib/$MULTIARCH/libmariadb3/plugin
case $1 in
  fetch) "$ROOT/usr/bin/mydumper" --version >&2 && "$ROOT/usr/bin/mariadb-dump" --version >&2 ;;
  mydumper | mariadb-dump) exec "$ROOT/usr/bin/$1" "${@:2}" ;;
  *) die "no dumper '$1'; there are: mydumper mariadb-dump" ;;
esac

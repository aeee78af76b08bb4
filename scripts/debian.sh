# Debian packages unpacked into a directory of their own, for the scripts that start servers: nothing is installed, nothing
# of the host's apt state is read or changed, and no maintainer script runs. To be sourced.
#
#   version=$(debian_unpack NAME SUITE DIR PACKAGE...)   PACKAGEs of a SUITE, with all that they need, unpacked into DIR;
#                                                        prints the version of the first. NAME is for messages.
#   debian_libraries DIR                                 the directories of DIR with libraries, colon-separated
#   debian_loader DIR                                    the loader of DIR's C library
#   debian_bind DIR HOME                                 lets the programs of DIR, which will be moved to HOME, start with
#                                                        its loader and libraries by themselves, as programs must that
#                                                        others of the tree start; patchelf is among the PACKAGEs
#   debian_fetch [NAME...]                               prepares these of the script's NAMES (default: all), by its own
#                                                        `describe`, which sets TREE, and `prepare`
#   usage                                                prints the head of the script, and ends it
#
# The archive is the one in the host's apt sources. A host whose sources name none (Ubuntu): set FLOWD_DEBIAN_ARCHIVE to
# one; the package debian-archive-keyring must be there.
DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
MULTIARCH=$(uname -m)-linux-gnu

die() { echo "${0##*/}: $*" >&2; exit 1; }

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

# The first address in the host's apt sources whose last path component is $1.
debian_archive() {
  {
    find /etc/apt/sources.list.d -name '*.sources' -exec sed -n 's/^URIs:[[:space:]]*//p' {} + 2>/dev/null | tr ' ' '\n'
    find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' -exec grep -ho '^deb [^#]*' {} + 2>/dev/null |
      grep -o '[a-z+]*://[^ ]*'
  } | grep -m1 "/$1/\?\$" || true
}

# Writes a private apt configuration for a suite into a directory.
debian_private_apt() {
  local name=$1 suite=$2 dir=$3 debian security signed
  debian=${FLOWD_DEBIAN_ARCHIVE:-$(debian_archive debian)} security=$(debian_archive debian-security)
  [ -n "$debian" ] || die "the apt sources of this host ($(. /etc/os-release && echo "$PRETTY_NAME")) name no Debian archive," \
    "and $name comes from Debian's $suite: set FLOWD_DEBIAN_ARCHIVE to the address of one (it ends in /debian)"
  [ -r $DEBIAN_KEYRING ] || die "$DEBIAN_KEYRING is missing: install the package debian-archive-keyring"
  signed="[signed-by=$DEBIAN_KEYRING]"
  mkdir -p "$dir"/{lists,archives}/partial "$dir/parts"
  : > "$dir/status"
  echo "deb $signed $debian $suite main" > "$dir/sources.list"
  if [ "$suite" != sid ] && [ -n "$security" ]; then
    echo "deb $signed $security $suite-security main" >> "$dir/sources.list"
  fi
  cat > "$dir/apt.conf" <<CONF
Dir::State "$dir";
Dir::State::status "$dir/status";
Dir::State::Lists "$dir/lists";
Dir::Cache "$dir";
Dir::Cache::archives "$dir/archives";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "$dir/parts";
Dir::Etc::preferencesparts "$dir/parts";
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Debug::NoLocking "true";
CONF
}

debian_unpack() {
  local name=$1 suite=$2 root=$3 work=$3.apt deb
  shift 3
  command -v dpkg-deb > /dev/null && command -v apt-get > /dev/null || die "apt-get and dpkg-deb are needed to unpack $name"
  echo "${0##*/}: fetching $name from Debian $suite" >&2
  rm -rf "$work" "$root" && mkdir -p "$work" "$root" || die "cannot write to $root"
  debian_private_apt "$name" "$suite" "$work"
  APT_CONFIG=$work/apt.conf apt-get -qq -o APT::Update::Post-Invoke-Success= update >&2 || die "apt-get update failed for $suite"
  APT_CONFIG=$work/apt.conf apt-get -qq -y --download-only install "$@" > "$work/log" 2>&1 ||
    { cat "$work/log" >&2; die "$suite has no $* for $(uname -m), or the download failed"; }
  for deb in "$work"/archives/*.deb; do dpkg-deb -x "$deb" "$root" || die "cannot unpack ${deb##*/}"; done
  dpkg-deb -f "$work/archives/$1"_*.deb Version
  rm -rf "$root"/usr/share/{doc,man,locale,perl,icu} "$work"
}

debian_fetch() {
  local name
  # shellcheck disable=SC2086 # words on purpose
  [ $# -gt 0 ] || set -- $NAMES
  for name in "$@"; do
    describe "$name"
    prepare
    echo "$name $(cat "$TREE/version")"
  done
}

debian_libraries() { echo "$1/usr/lib/$MULTIARCH:$1/lib/$MULTIARCH"; }

debian_loader() {
  local loader
  loader=$(find "$1/lib/$MULTIARCH" "$1/usr/lib/$MULTIARCH" -maxdepth 1 -name 'ld-linux-*.so.*' 2>/dev/null | head -n1 || true)
  [ -n "$loader" ] || die "$1 is incomplete: remove it and fetch it again"
  echo "$loader"
}

debian_bind() {
  local root=$1 home=$2 loader libraries program
  loader=$(debian_loader "$root") libraries=$(debian_libraries "$root")
  find "$root" -type f -perm -u+x ! -name '*.so*' ! -name patchelf | while read -r program; do
    # A program that is linked statically has no loader, and what is no program has none either.
    "$loader" --library-path "$libraries" "$root/usr/bin/patchelf" --set-interpreter "${loader/#"$root"/"$home"}" \
      --force-rpath --set-rpath "$(debian_libraries "$home")" "$program" 2> /dev/null || true
  done
}

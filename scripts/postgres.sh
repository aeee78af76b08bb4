#!/usr/bin/env bash
# The PostgreSQL that flowd is tested on, from Debian, without installing anything.
#
#   postgres.sh fetch [NAME...]                  unpack the servers (default: all) and prepare their template datadirs
#   postgres.sh run NAME DATADIR PORT [ARG...]   a server in the foreground on 127.0.0.1:PORT, as this very process; ends
#                                                with its parent. ARGs are server options, the last one wins
#   postgres.sh sql NAME DATADIR [ARG...]        psql, as the superuser over the socket
#   postgres.sh names                            the NAMEs: postgres-15 postgres-17
#
# A DATADIR that does not exist is copied from the template. Roles: postgres over the socket without a password; app/app,
# which owns the schema public of the database shop. What is unpacked stays in $FLOWD_CACHE (default
# ~/.cache/flowd)/servers. The server refuses to be root: started by root it runs as nobody. A host whose apt sources name
# no Debian archive (Ubuntu): see debian.sh.
set -euo pipefail
CACHE=${FLOWD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flowd}/servers
NAMES="postgres-15 postgres-17"
RECIPE=1 # counted up when the template's content changes: it is then made anew
. "$(dirname "$0")/debian.sh"

# What a NAME stands for.
describe() {
  NAME=$1 TREE=$CACHE/$1 VERSION=${1#postgres-}
  case $NAME in
    postgres-15) SUITE=bookworm ;;
    postgres-17) SUITE=trixie ;;
    *) die "no server '$NAME'; there are: $NAMES" ;;
  esac
  ROOT=$TREE/root BIN=$TREE/root/usr/lib/postgresql/$VERSION/bin
}

unpack() {
  local new=$TREE/root.new version
  version=$(debian_unpack "$NAME" "$SUITE" "$new" "postgresql-$VERSION" patchelf)
  debian_bind "$new" "$ROOT"
  rm -rf "$ROOT" "$TREE/template"
  mv "$new" "$ROOT"
  echo "$version" > "$TREE/version"
}

# Becomes a program of the tree, as somebody who is not root but may pass root's directories on the way to it.
as_user() {
  if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid=nobody --regid=nogroup --clear-groups --securebits=+no_setuid_fixup \
      --inh-caps=+dac_override --ambient-caps=+dac_override \
      --pdeathsig KILL env HOME=/nonexistent LC_ALL=C.UTF-8 "$@"
  fi
  exec setpriv --pdeathsig KILL env LC_ALL=C.UTF-8 "$@"
}

# Gives a directory to whom the server runs as.
give() { [ "$(id -u)" != 0 ] || chown -R nobody:nogroup "$1"; }

template() {
  local data=$TREE/template.new status=0
  rm -rf "$data"
  mkdir -m 700 "$data"
  give "$data"
  echo "postgres.sh: preparing the template of $NAME" >&2
  {
    (as_user "$BIN/initdb" -D "$data" -U postgres --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8 -N) &&
      (as_user "$BIN/postgres" --single -D "$data" postgres) <<< "CREATE ROLE app LOGIN PASSWORD 'app'
CREATE DATABASE shop" &&
      (as_user "$BIN/postgres" --single -D "$data" shop) <<< "ALTER SCHEMA public OWNER TO app"
  } > "$TREE/template.log" 2>&1 || status=$?
  [ $status = 0 ] || { tail -n 20 "$TREE/template.log" >&2; die "the template of $NAME could not be made"; }
  rm -rf "$TREE/template"
  mv "$data" "$TREE/template"
  echo $RECIPE > "$TREE/recipe"
}

# Everything that a start needs, once, whoever asks first.
prepare() {
  mkdir -p "$TREE"
  exec 9> "$TREE/.lock"
  flock 9
  [ -s "$TREE/version" ] || unpack
  [ "$(cat "$TREE/recipe" 2> /dev/null)" = $RECIPE ] && [ -d "$TREE/template" ] || template
  exec 9>&-
}

run() {
  local data=$1 port=$2
  shift 2
  [[ $port =~ ^[0-9]+$ ]] || die "not a port: $port"
  data=$(realpath -m "$data")
  [ ${#data} -le 80 ] || die "$data is too long for a socket's path"
  mkdir -p "$(dirname "$data")"
  if [ ! -d "$data" ]; then
    rm -rf "$data.copy"
    cp -r --reflink=auto "$TREE/template" "$data.copy"
    chmod 700 "$data.copy"
    give "$data.copy"
    mv "$data.copy" "$data"
  fi
  rm -f "$data/postmaster.pid"
  as_user "$BIN/postgres" -D "$data" -p "$port" -c listen_addresses=127.0.0.1 -c "unix_socket_directories=$data" \
    -c unix_socket_permissions=0777 -c fsync=off -c full_page_writes=off -c shared_buffers=32MB -c max_connections=50 \
    -c max_wal_size=256MB "$@"
}

[ $# -ge 1 ] || usage
verb=$1
shift
case $verb in
  names) echo "$NAMES" ;;
  fetch) debian_fetch "$@" ;;
  run)
    [ $# -ge 3 ] || usage
    describe "$1"
    shift
    prepare
    run "$@" ;;
  sql)
    [ $# -ge 2 ] || usage
    describe "$1"
    data=$(realpath -m "$2")
    shift 2
    port=$(sed -n 4p "$data/postmaster.pid" 2> /dev/null) || true
    [ -n "$port" ] || die "no server runs on $data"
    as_user "$BIN/psql" -X -q -v ON_ERROR_STOP=1 -U postgres -h "$data" -p "$port" -d shop "$@" ;;
  *) usage ;;
esac

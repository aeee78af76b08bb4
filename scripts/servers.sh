#!/usr/bin/env bash
# The database servers that flowd is tested on, from the host's own Debian archive, without installing anything.
#
#   servers.sh fetch [NAME...]                  unpack the servers (default: all) and prepare their template datadirs
#   servers.sh start NAME DATADIR PORT [ARG...] a server in the background on 127.0.0.1:PORT; returns when it answers
#   servers.sh run   NAME DATADIR PORT [ARG...] the same in the foreground, as this very process; ends with its parent
#   servers.sh sql   NAME DATADIR [ARG...]      the server's own client program, as root over the socket
#   servers.sh stop  DATADIR                    end the server of DATADIR, by its process id
#   servers.sh names                            the NAMEs: mariadb-10.11 mariadb-11.8 mysql-9
#
# A DATADIR that does not exist is copied from the template. Accounts: root over the socket, cdc/cdc with the grants that
# the README asks for, app/app with all rights on the schemas shop and test*. The binlog is on: ROW, FULL, FULL, GTID.
# What is unpacked stays in $FLOWD_CACHE (default ~/.cache/flowd)/servers. ARGs are server options, the last one wins.
# A host whose apt sources name no Debian archive (Ubuntu): see debian.sh.
set -euo pipefail
CACHE=${FLOWD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flowd}/servers
NAMES="mariadb-10.11 mariadb-11.8 mysql-9"
RECIPE=1 # counted up when the template's content changes: it is then made anew
. "$(dirname "$0")/debian.sh"

# What a NAME stands for.
describe() {
  NAME=$1 TREE=$CACHE/$1
  case $NAME in
    mariadb-10.11) SUITE=bookworm KIND=mariadb ;;
    mariadb-11.8) SUITE=trixie KIND=mariadb ;;
    mysql-9) SUITE=sid KIND=mysql ;;
    *) die "no server '$NAME'; there are: $NAMES" ;;
  esac
  case $KIND in
    mariadb) SERVER=mariadbd CLIENT=mariadb ;;
    mysql) SERVER=mysqld CLIENT=mysql ;;
  esac
}

# --- unpacking -----------------------------------------------------------------------------------------------------

unpack() {
  local version
  version=$(debian_unpack "$NAME" "$SUITE" "$TREE/root.new" "$KIND-server-core" "$KIND-client-core")
  rm -rf "$TREE/root"
  mv "$TREE/root.new" "$TREE/root"
  echo "$version" > "$TREE/version"
}

# Sets EXEC (loader and libraries of the tree, so that the host's C library does not matter) and the BASE options.
locate() {
  local root=$TREE/root loader share plugins
  loader=$(debian_loader "$root")
  EXEC=("$loader" --library-path
    "$(debian_libraries "$root"):$root/usr/lib/$MULTIARCH/mysql/private:$root/usr/lib/mysql/private")
  share=$root/usr/share/$KIND plugins=$root/usr/lib/mysql/plugin
  [ -d "$share/charsets" ] || share=$root/usr/share/mysql
  [ -d "$plugins" ] || plugins=$root/usr/lib/mariadb/plugin
  SHARE=$share
  SERVER_PATH=$root/usr/sbin/$SERVER CLIENT_PATH=$root/usr/bin/$CLIENT
  BASE=(--no-defaults "--basedir=$root/usr" "--lc-messages-dir=$share" "--character-sets-dir=$share/charsets"
    "--plugin-dir=$plugins" --innodb-buffer-pool-size=32M --performance-schema=OFF)
  [ "$(id -u)" != 0 ] || BASE+=(--user=root)
  if [ "$KIND" = mariadb ]; then
    BASE+=(--innodb-log-file-size=16M)
  else
    BASE+=(--innodb-redo-log-capacity=16M --mysqlx=OFF --secure-file-priv=NULL)
  fi
}

# --- template ------------------------------------------------------------------------------------------------------

accounts() {
  cat <<SQL
CREATE USER 'cdc'@'%' IDENTIFIED BY 'cdc';
GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO 'cdc'@'%';
CREATE USER 'app'@'%' IDENTIFIED BY 'app';
GRANT ALL ON \`shop\`.* TO 'app'@'%';
GRANT ALL ON \`test%\`.* TO 'app'@'%';
SQL
}

template() {
  local data=$TREE/template.new file
  echo "servers.sh: preparing the template of $NAME" >&2
  rm -rf "$data"
  if [ "$KIND" = mysql ]; then
    accounts > "$TREE/accounts.sql"
    "${EXEC[@]}" "$SERVER_PATH" "${BASE[@]}" --initialize-insecure "--datadir=$data" "--init-file=$TREE/accounts.sql" \
      > "$TREE/template.log" 2>&1 || { tail -n 20 "$TREE/template.log" >&2; die "the template of $NAME could not be made"; }
  else
    mkdir -p "$data"
    {
      printf '%s;\n' 'CREATE DATABASE mysql' 'USE mysql' 'SET @auth_root_socket=NULL' # the bootstrap takes a statement a line
      for file in system_tables performance_tables system_tables_data; do
        cat "$SHARE/mariadb_$file.sql" 2>/dev/null || cat "$SHARE/mysql_$file.sql"
      done
      echo 'FLUSH PRIVILEGES;'
      accounts
    } > "$TREE/bootstrap.sql"
    "${EXEC[@]}" "$SERVER_PATH" "${BASE[@]}" --bootstrap "--datadir=$data" --skip-log-bin --max-allowed-packet=64M \
      < "$TREE/bootstrap.sql" > "$TREE/template.log" 2>&1 ||
      { tail -n 20 "$TREE/template.log" >&2; die "the template of $NAME could not be made"; }
  fi
  rm -rf "$data/auto.cnf" "$TREE/template"
  mv "$data" "$TREE/template"
  echo $RECIPE > "$TREE/recipe"
}

# Everything that a start needs, once, whoever asks first.
prepare() {
  mkdir -p "$TREE"
  exec 9> "$TREE/.lock"
  flock 9
  [ -x "$TREE/root/usr/sbin/$SERVER" ] || unpack
  locate
  [ "$(cat "$TREE/recipe" 2>/dev/null)" = $RECIPE ] || template
  exec 9>&-
}

# --- running -------------------------------------------------------------------------------------------------------

# Sets COMMAND for DATADIR and PORT.
command_line() {
  DATA=$1 PORT=$2
  shift 2
  [[ $PORT =~ ^[0-9]+$ ]] || die "not a port: $PORT"
  mkdir -p "$(dirname "$DATA")"
  DATA=$(realpath -m "$DATA")
  [ ${#DATA} -le 90 ] || die "$DATA is too long for a socket's path"
  if [ ! -d "$DATA" ]; then
    rm -rf "$DATA.copy"
    cp -r --reflink=auto --sparse=always "$TREE/template" "$DATA.copy"
    mv "$DATA.copy" "$DATA"
  fi
  # Temporary tables in a place of their own: a MariaDB that starts clears those of others away, who then die.
  rm -rf "$DATA.tmp" && mkdir "$DATA.tmp"
  COMMAND=("${EXEC[@]}" "$SERVER_PATH" "${BASE[@]}" "--datadir=$DATA" "--tmpdir=$DATA.tmp" --bind-address=127.0.0.1 "--port=$PORT"
    "--socket=$DATA/sock" "--pid-file=$DATA/pid" "--log-error=$DATA/error.log" --server-id=1 --log-bin=binlog
    --character-set-server=utf8mb4 --binlog-format=ROW --binlog-row-image=FULL --binlog-row-metadata=FULL --max-connections=50
    --sync-binlog=0 --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --skip-name-resolve)
  if [ "$KIND" = mysql ]; then
    COMMAND+=(--gtid-mode=ON --enforce-gtid-consistency=ON)
  else
    COMMAND+=(--gtid-strict-mode=ON)
  fi
  COMMAND+=("$@")
  echo "$NAME" > "$DATA/flowd-server"
  rm -f "$DATA/pid"
}

answers() { "${EXEC[@]}" "$CLIENT_PATH" --no-defaults -uroot -S "$DATA/sock" -e 'DO 1' > /dev/null 2>&1; }

start() {
  command_line "$@"
  setsid "${COMMAND[@]}" < /dev/null > "$DATA/output" 2>&1 &
  local pid=$!
  for _ in $(seq 300); do
    if answers; then
      echo "$NAME $(cat "$TREE/version") on 127.0.0.1:$PORT, socket $DATA/sock, process $pid"
      return
    fi
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
  done
  kill $pid 2>/dev/null || true
  tail -n 20 "$DATA/error.log" "$DATA/output" >&2 || true
  die "$NAME did not come up on port $PORT"
}

stop() {
  local pid data
  data=$(realpath -m "$1")
  pid=$(cat "$data/pid" 2>/dev/null || true)
  [ -n "$pid" ] && grep -qF -- "--datadir=$data" "/proc/$pid/cmdline" 2>/dev/null || { rm -f "$data/pid"; return 0; }
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 200); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$data/pid"; return 0; }
    sleep 0.05
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$data/pid"
}

[ $# -ge 1 ] || usage
verb=$1
shift
case $verb in
  names) echo "$NAMES" ;;
  fetch) debian_fetch "$@" ;;
  start | run)
    [ $# -ge 3 ] || usage
    describe "$1"
    shift
    prepare
    if [ "$verb" = start ]; then
      start "$@"
    else
      command_line "$@"
      exec setpriv --pdeathsig KILL "${COMMAND[@]}"
    fi ;;
  sql)
    [ $# -ge 2 ] || usage
    describe "$1"
    locate
    data=$(realpath -m "$2")
    shift 2
    exec "${EXEC[@]}" "$CLIENT_PATH" --no-defaults -uroot -S "$data/sock" "$@" ;;
  stop) [ $# -eq 1 ] || usage; stop "$1" ;;
  *) usage ;;
esac

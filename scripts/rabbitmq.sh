#!/usr/bin/env bash
# The RabbitMQ that flowd is tested on, with its own Erlang, from Debian, without installing anything.
#
#   rabbitmq.sh fetch                                    unpack it
#   rabbitmq.sh run DATADIR PORT DIST EPMD [SETTING...]  a broker in the foreground, AMQP on 127.0.0.1:PORT, as this very
#                                                        process; ends with its parent. DIST and EPMD are two more free
#                                                        ports; each SETTING is a line of rabbitmq.conf
#   rabbitmq.sh ctl DATADIR ARG...                       rabbitmqctl for the broker of DATADIR
#
# Account: guest/guest, all rights on the virtual host /. What is unpacked stays in $FLOWD_CACHE (default
# ~/.cache/flowd)/servers. A host whose apt sources name no Debian archive (Ubuntu): see debian.sh.
set -euo pipefail
TREE=${FLOWD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flowd}/servers/rabbitmq-4
SUITE=trixie
. "$(dirname "$0")/debian.sh"

unpack() {
  local new=$TREE/root.new version
  version=$(debian_unpack RabbitMQ $SUITE "$new" rabbitmq-server erlang-base patchelf)
  debian_bind "$new" "$TREE/root"
  # Debian's scripts of Erlang name the place where they would have been installed.
  sed -i "s#=/usr/lib/erlang\$#=$TREE/root/usr/lib/erlang#" "$new"/usr/lib/erlang/{bin,erts-*/bin}/{erl,start}
  rm -rf "$TREE/root"
  mv "$new" "$TREE/root"
  echo "$version" > "$TREE/version"
}

# Everything that a start needs, once, whoever asks first.
prepare() {
  mkdir -p "$TREE"
  exec 9> "$TREE/.lock"
  flock 9
  [ -s "$TREE/version" ] || unpack
  exec 9>&-
  export ERL_ROOTDIR=$TREE/root/usr/lib/erlang PATH=$TREE/root/usr/lib/erlang/bin:$PATH
  RABBITMQ_HOME=$(echo "$TREE"/root/usr/lib/rabbitmq/lib/rabbitmq_server-*)
  export RABBITMQ_HOME
}

# The environment of a DATADIR, for the broker and for rabbitmqctl.
settle() {
  DATA=$(realpath -m "$1")
  export HOME=$DATA ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODENAME=flowd@localhost RABBITMQ_CONF_ENV_FILE=/dev/null
  export RABBITMQ_LOG_BASE=$DATA/log
}

run() {
  settle "$1"
  local port=$2 dist=$3 epmd=$4
  shift 4
  [[ $port$dist$epmd =~ ^[0-9]+$ ]] || die "not ports: $port $dist $epmd"
  mkdir -p "$DATA"
  echo "$epmd" > "$DATA/epmd"
  printf '%s\n' "log.console = true" "log.file = false" "$@" > "$DATA/rabbitmq.conf"
  echo '[].' > "$DATA/enabled_plugins"
  export ERL_EPMD_PORT=$epmd RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$dist
  export RABBITMQ_MNESIA_BASE=$DATA/mnesia RABBITMQ_CONFIG_FILE=$DATA/rabbitmq RABBITMQ_ADVANCED_CONFIG_FILE=$DATA/none
  export RABBITMQ_ENABLED_PLUGINS_FILE=$DATA/enabled_plugins RABBITMQ_PID_FILE=$DATA/pid
  export ERL_LIBS=$RABBITMQ_HOME/plugins ERL_MAX_ETS_TABLES=50000 ERL_CRASH_DUMP_SECONDS=0
  # The broker becomes this process: that is the parent with which its name server ends.
  setpriv --pdeathsig KILL epmd -port "$epmd" -address 127.0.0.1 > "$DATA/epmd.log" 2>&1 &
  exec setpriv --pdeathsig KILL erl -noinput +W w +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -boot start_sasl \
    -kernel inet_dist_use_interface '{127,0,0,1}' -kernel inet_dist_listen_min "$dist" -kernel inet_dist_listen_max "$dist" \
    -kernel prevent_overlapping_partitions false -syslog logger '[]' -syslog syslog_error_logger false -s rabbit boot
}

ctl() {
  settle "$1"
  shift
  ERL_EPMD_PORT=$(cat "$DATA/epmd") exec "$RABBITMQ_HOME/sbin/rabbitmqctl" -q "$@"
}

[ $# -ge 1 ] || usage
verb=$1
shift
case $verb in
  fetch) prepare; echo "rabbitmq-4 $(cat "$TREE/version")" ;;
  run) [ $# -ge 4 ] || usage; prepare; run "$@" ;;
  ctl) [ $# -ge 2 ] || usage; prepare; ctl "$@" ;;
  *) usage ;;
esac

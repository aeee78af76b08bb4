#!/usr/bin/env bash
# An Apache EventMesh (Java) runtime as a test server, from a distribution that is already unpacked.
#
#   eventmesh.sh start DIR PORT   a runtime in the background, its files in DIR; returns when it answers, prints host:port
#   eventmesh.sh stop  DIR        an orderly end: its clients are told goodbye (takes some 12 s)
#   eventmesh.sh kill  DIR        kill -9
#
# EVENTMESH_HOME names the distribution: with apps/ lib/ plugin/, or a flat directory of jars. Needs a JRE 11 or newer.
# PORT takes TCP; HTTP, gRPC and the admin's HTTP take the three ports behind it. EVENTMESH_PROPERTIES holds more lines
# for eventmesh.properties, the last one wins; without it the limits are those that EventMesh is shipped with.
# EventMesh listens on every interface and has no setting for it: not on a machine that strangers reach.
set -euo pipefail
die() { echo "eventmesh.sh: $*" >&2; exit 1; }
[ $# -ge 2 ] || die "usage: eventmesh.sh start DIR PORT | stop DIR | kill DIR"
mkdir -p "$2"
DIR=$(cd "$2" && pwd)

# Its process, if it is still the one that we started.
pid() {
  local pid
  pid=$(cat "$DIR/pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null < "/proc/$pid/cmdline" | grep -qF -- "-DconfPath=$DIR/conf " && echo "$pid"
}

finish() { # SIGNAL SECONDS
  local pid
  pid=$(pid) || return 0
  kill -s "$1" "$pid"
  for _ in $(seq $(($2 * 10))); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$DIR/pid"; return 0; }
    sleep 0.1
  done
  kill -s KILL "$pid"
  rm -f "$DIR/pid"
}

configure() { # PORT
  mkdir -p "$DIR/conf" "$DIR/logs"
  cat > "$DIR/conf/eventmesh.properties" <<CONF
eventMesh.server.idc=DEFAULT
eventMesh.server.env=PRD
eventMesh.server.provide.protocols=HTTP,TCP,GRPC
eventMesh.server.cluster=COMMON
eventMesh.server.name=EVENTMESH-runtime
eventMesh.sysid=0000
eventMesh.server.hostIp=127.0.0.1
eventMesh.server.tcp.port=$1
eventMesh.server.http.port=$(($1 + 1))
eventMesh.server.grpc.port=$(($1 + 2))
eventMesh.server.admin.http.port=$(($1 + 3))
eventMesh.server.session.expiredInMills=60000
eventMesh.server.session.upstreamBufferSize=20
eventMesh.server.maxEventSize=1000
eventMesh.server.tcp.msgReqnumPerSecond=15000
eventMesh.server.security.enabled=false
eventMesh.security.plugin.type=security
eventMesh.storage.plugin.type=standalone
eventMesh.metaStorage.plugin.enabled=false
eventMesh.metaStorage.plugin.type=nacos
eventMesh.metaStorage.plugin.server-addr=127.0.0.1:8848
eventMesh.metrics.plugin=prometheus
eventMesh.server.trace.enabled=false
eventMesh.trace.plugin=zipkin
eventMesh.webHook.admin.start=false
${EVENTMESH_PROPERTIES:-}
CONF
  echo "eventMesh.metrics.prometheus.port=$(($1 + 4))" > "$DIR/conf/prometheus.properties"
  cat > "$DIR/conf/log4j2.xml" <<'CONF'
<Configuration status="OFF"><Appenders><Console name="c"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="c"/></Root></Loggers></Configuration>
CONF
}

# True when a HELLO is answered with code 0: the port alone is open before the server is ready.
greets() { # PORT
  local header body length reply
  header='{"cmd":"HELLO_REQUEST","code":0,"seq":"probe","properties":{}}'
  body='{"env":"PRD","subsystem":"probe","path":"/","pid":1,"host":"localhost","port":1,"version":"2.0","username":"","password":"","idc":"DEFAULT","group":"probe","purpose":"pub","unack":0}'
  printf -v length '\\x%02x\\x%02x\\x%02x\\x%02x' 0 0 $(((13 + ${#header} + ${#body}) / 256)) $(((13 + ${#header} + ${#body}) % 256))
  reply=$(timeout 5 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf "EventMesh0000$2\x00\x00\x00\\x$(printf %02x "${#3}")%s%s" "$3" "$4" >&3
    head -c 56 <&3 | tr -d "\0"' - "$1" "$length" "$header" "$body" 2>/dev/null) || return 1
  [[ $reply == *HELLO_RESPONSE*'"code":0'* ]]
}

start() { # PORT
  local port=$1 home jars
  [[ $port =~ ^[0-9]+$ ]] || die "not a port: $port"
  [ -d "${EVENTMESH_HOME:-}" ] || die "EVENTMESH_HOME must name the directory of an unpacked EventMesh"
  home=$(cd "$EVENTMESH_HOME" && pwd)
  jars="$home/*"
  [ -d "$home/apps" ] && jars="$home/apps/*:$home/lib/*"
  pid >/dev/null && die "the runtime of $DIR runs already"
  configure "$port"
  (
    cd "$DIR"
    # shellcheck disable=SC2086 # several options
    exec setsid java ${EVENTMESH_JAVA_OPTS:--Xmx512m} -Djava.net.preferIPv4Stack=true "-DconfPath=$DIR/conf" \
      "-Dlog4j.configurationFile=$DIR/conf/log4j2.xml" "-Deventmesh.log.home=$DIR/logs" \
      "-DeventMeshPluginDir=$home/plugin" -cp "$DIR/conf:$jars" org.apache.eventmesh.runtime.boot.EventMeshStartup \
      < /dev/null > "$DIR/runtime.log" 2>&1
  ) &
  echo $! > "$DIR/pid"
  for _ in $(seq 200); do
    greets "$port" && { echo "127.0.0.1:$port"; return; }
    kill -0 "$(cat "$DIR/pid")" 2>/dev/null || break
    sleep 0.3
  done
  tail -20 "$DIR/runtime.log" >&2
  finish KILL 1
  die "the runtime did not come up (its log's end is above)"
}

case $1 in
  start) [ $# = 3 ] || die "start needs DIR and PORT"; start "$3" ;;
  stop) finish TERM 20 ;;
  kill) finish KILL 5 ;;
  *) die "no such command: $1" ;;
esac

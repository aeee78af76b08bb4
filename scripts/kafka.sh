#!/usr/bin/env bash
# Apache Kafka as a test server: one node, broker and controller in one JVM, from Maven Central's jars.
#
#   kafka.sh fetch                      the jars, and a template of the data directory
#   kafka.sh run  DIR PORT [LINE...]    a broker in the foreground, as this very process, on 127.0.0.1:PORT (its controller on
#                                       PORT+1), its files in DIR; ends with its parent. LINEs are added to server.properties
#   kafka.sh tool NAME [ARG...]         one of Kafka's own programs: topics, configs, console-producer, console-consumer,
#                                       consumer-groups, get-offsets, delete-records
#
# What is fetched stays in $FLOWD_CACHE (default ~/.cache/flowd). Needs a JRE 17 or newer; to fetch, Maven. The broker takes
# a line `listeners=…` of the caller's in place of its own; of a property that is given twice, the last one holds.
set -euo pipefail
VERSION=4.3.1
HOME_DIRECTORY=${FLOWD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flowd}/kafka-$VERSION
RECIPE=1 # counted up when what is fetched or the template changes: it is then made anew
JAVA=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto)

die() { echo "kafka.sh: $*" >&2; exit 1; }

dependency() { echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"; }

fetch_jars() { # DIRECTORY
  local pom=$1/pom.xml
  {
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>flowd</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>'
    dependency org.apache.kafka kafka_2.13 $VERSION
    dependency org.apache.kafka kafka-tools $VERSION
    dependency org.slf4j slf4j-simple 1.7.36
    echo '</dependencies></project>'
  } > "$pom"
  mvn -B -q -ntp -f "$pom" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$1/libs" > "$1/mvn.log" 2>&1 ||
    { tail -20 "$1/mvn.log" >&2; die "the jars could not be fetched"; }
}

properties() { # DIR PORT
  cat <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$(($2 + 1))
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$(($2 + 1))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
controller.listener.names=CONTROLLER
log.dirs=$1/data
num.partitions=1
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
CONF
}

TOOL=("${JAVA[@]}" -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$HOME_DIRECTORY/libs/*")
java_tool() { "${TOOL[@]}" "$@"; } # CLASS ARG...

# Once: several tests may come here at the same time.
prepare() {
  [ "$(cat "$HOME_DIRECTORY/recipe" 2>/dev/null)" = $RECIPE ] && return
  mkdir -p "$HOME_DIRECTORY"
  exec 9> "$HOME_DIRECTORY/.lock"
  flock 9
  if [ "$(cat "$HOME_DIRECTORY/recipe" 2>/dev/null)" != $RECIPE ]; then
    echo "kafka.sh: fetching Kafka $VERSION" >&2
    rm -rf "$HOME_DIRECTORY/libs" "$HOME_DIRECTORY/template"
    mkdir -p "$HOME_DIRECTORY/template"
    fetch_jars "$HOME_DIRECTORY"
    properties "$HOME_DIRECTORY/template" 9092 > "$HOME_DIRECTORY/template/server.properties"
    java_tool kafka.tools.StorageTool format -t "$(java_tool kafka.tools.StorageTool random-uuid)" \
      -c "$HOME_DIRECTORY/template/server.properties" > "$HOME_DIRECTORY/template/format.log" 2>&1 ||
      { cat "$HOME_DIRECTORY/template/format.log" >&2; die "the data directory could not be made"; }
    echo $RECIPE > "$HOME_DIRECTORY/recipe"
  fi
  exec 9>&-
}

run() { # DIR PORT [LINE...]
  local directory port=$2
  mkdir -p "$1"
  directory=$(cd "$1" && pwd)
  shift 2
  [ -e "$directory/data" ] || cp -r "$HOME_DIRECTORY/template/data" "$directory/data"
  { properties "$directory" "$port"; printf '%s\n' "$@"; } > "$directory/server.properties"
  exec setpriv --pdeathsig KILL "${JAVA[@]}" -Xmx256m -Djava.awt.headless=true -cp "$HOME_DIRECTORY/libs/*" \
    kafka.Kafka "$directory/server.properties"
}

tool() { # NAME [ARG...]
  local class
  case $1 in
    topics) class=org.apache.kafka.tools.TopicCommand ;;
    configs) class=kafka.admin.ConfigCommand ;;
    console-producer) class=org.apache.kafka.tools.ConsoleProducer ;;
    console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    consumer-groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    get-offsets) class=org.apache.kafka.tools.GetOffsetShell ;;
    delete-records) class=org.apache.kafka.tools.DeleteRecordsCommand ;;
    *) die "no such tool: $1" ;;
  esac
  shift
  # This very process, so that who ends it ends the program.
  exec "${TOOL[@]}" $class "$@"
}

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }

case ${1:-} in
  fetch) prepare; echo "kafka $VERSION" ;;
  run) [ $# -ge 3 ] || usage; prepare; shift; run "$@" ;;
  tool) [ $# -ge 2 ] || usage; prepare; shift; tool "$@" ;;
  *) usage ;;
esac

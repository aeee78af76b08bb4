#!/usr/bin/env bash
# A real MariaDB, an embedded mesh, a subscriber, and flowd between them, on this machine alone: as a source it copies the
# rows that are there, then streams; as a sink it applies both to a second table. Both are killed with kill -9 in the
# middle and started again: the subscriber gets every row and every change, and the tables are equal. Leaves nothing
# behind but the cache.
set -euo pipefail
cd "$(dirname "$0")/.."
WORK=$(mktemp -d)
PIDS=()
finish() {
  for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
  scripts/servers.sh stop "$WORK/db" >/dev/null 2>&1 || true
  wait 2>/dev/null || true
  rm -rf "$WORK"
}
trap finish EXIT
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# A port that nobody listens on.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
sql() { scripts/servers.sh sql mariadb-11.8 "$WORK/db" "$@"; }
wait_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -lt $end ] || { echo "demo.sh: gave up waiting for: $*" >&2; exit 1; }; sleep 0.1; done
}
# Different ones: what was in flight when somebody died comes again under the same id.
events() { [ "$(grep -o '^{[^}]*"id":"[^"]*"' "$WORK/events" 2>/dev/null | sort -u | wc -l)" -ge "$1" ]; }
copied() { [ "$(sql -N -e 'SELECT COUNT(*) FROM copy.orders')" = "$1" ]; }
checksum() { sql -N -e "CHECKSUM TABLE $1.orders" | cut -f2; }
equal() { [ "$(checksum shop)" = "$(checksum copy)" ]; }
snapshot_is_finished() { "$FLOWD" position --json --config "$WORK/flowd.yml" 2>/dev/null | grep -q '"state":"finished"'; }

say "1. a MariaDB 11.8 with a row binlog (the first time it is fetched and unpacked), a table of 5000 rows, and an empty one"
scripts/servers.sh fetch mariadb-11.8
DB_PORT=$(free_port) MESH_PORT=$(free_port)
scripts/servers.sh start mariadb-11.8 "$WORK/db" "$DB_PORT" >/dev/null
sql -e "CREATE DATABASE IF NOT EXISTS shop; CREATE TABLE shop.orders
  (id INT PRIMARY KEY, customer VARCHAR(40), total DECIMAL(10,2), placed DATETIME(3))"
sql shop -e "INSERT INTO orders SELECT seq, 'Ada', seq + 0.90, '2026-01-31 12:00:00.125' FROM seq_1_to_5000"
sql -e "CREATE DATABASE copy; CREATE TABLE copy.orders LIKE shop.orders;
  CREATE USER writer IDENTIFIED BY 'writer'; GRANT ALL ON copy.* TO writer"

if [ ! -x target/release/flowd ] || [ -n "$(find src engine codec connectors registry Cargo.toml -newer target/release/flowd -print -quit)" ]; then
  say "2. building flowd (only once)"
  ${CARGO:-cargo} build --release --locked --bin flowd
fi
FLOWD=target/release/flowd

say "3. a mesh, and a subscriber of its topic shop.orders"
"$FLOWD" mesh --listen "127.0.0.1:$MESH_PORT" --data "$WORK/mesh" 2>"$WORK/mesh.log" & PIDS+=($!)
wait_for 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$MESH_PORT" 2>/dev/null
"$FLOWD" tail --mesh "127.0.0.1:$MESH_PORT" --topic shop.orders >"$WORK/events" 2>"$WORK/tail.log" & PIDS+=($!)

say "4. flowd, with these two configurations: from shop into the mesh, and from there into copy"
cat >"$WORK/flowd.yml" <<YML
pubSubConfig:
  meshAddress: 127.0.0.1:$MESH_PORT
  subject: "{db}.{table}"
connectorConfig:
  connectorName: demo
  hostname: 127.0.0.1
  port: $DB_PORT
  user: cdc
  password: cdc
  tableIncludeList: ["shop.*"]
offsetStorageConfig:
  offsetStorageAddr: $WORK/state
pipeline:
  delivery: applied
  appliedBy: [copy]
YML
cat >"$WORK/sink.yml" <<YML
pubSubConfig:
  meshAddress: 127.0.0.1:$MESH_PORT
  subject: shop.orders
connectorConfig:
  connectorName: copy
  hostname: 127.0.0.1
  port: $DB_PORT
  user: writer
  password: writer
  database: copy
YML
cat "$WORK/flowd.yml"
echo ---
cat "$WORK/sink.yml"
start_flowd() { "$FLOWD" --connector mysql-cdc --config "$WORK/flowd.yml" 2>>"$WORK/flowd.log" & FLOWD_PID=$!; PIDS+=($!); }
start_sink() { "$FLOWD" --connector mysql-sink --config "$WORK/sink.yml" 2>>"$WORK/sink.log" & SINK_PID=$!; PIDS+=($!); }
start_sink
start_flowd
wait_for 30 events 1
say "5. the first event, as the subscriber gets it: a row that was there already"
head -1 "$WORK/events"
wait_for 60 events 5000
wait_for 30 snapshot_is_finished
wait_for 60 copied 5000
say "   all 5000 rows have arrived, at the subscriber and in the copy, and flowd knows it"

say "6. kill -9 of both, changes while they are dead, and a start"
kill -9 "$FLOWD_PID" "$SINK_PID"
wait "$FLOWD_PID" "$SINK_PID" 2>/dev/null || true
sql shop -e "UPDATE orders SET total = 19.80 WHERE id = 1; INSERT INTO orders SELECT seq, 'Grace', seq, NOW(3) FROM seq_5001_to_5999; DELETE FROM orders WHERE id = 1"
start_sink
start_flowd
wait_for 60 events 6001
sleep 0.5
IDS=$(grep -o '"id":"[^"]*"' "$WORK/events" | sort -u | wc -l)
tail -1 "$WORK/events"
say "7. the subscriber has $IDS different events (5000 rows, then 1 + 999 + 1 changes: 6001)"
[ "$IDS" = 6001 ]
wait_for 60 equal
say "   and the copy is equal to its source: CHECKSUM TABLE says $(checksum copy) of both"
say "8. a clean stop, and where both stand"
kill "$FLOWD_PID" "$SINK_PID"
wait "$FLOWD_PID" "$SINK_PID"
"$FLOWD" position --config "$WORK/flowd.yml"
"$FLOWD" position --connector mysql-sink --config "$WORK/sink.yml"

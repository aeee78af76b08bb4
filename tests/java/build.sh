#!/usr/bin/env bash
# Fetches the EventMesh Java SDK once, compiles MeshPeer.java against it, and prints the class path.
# Needs a JDK (11 or newer) and Maven. Safe to call from several tests at once.
#   java -cp "$(tests/java/build.sh)" MeshPeer subscribe 127.0.0.1 10000 TOPIC GROUP
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${FLOWD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flowd}/java-sdk
for tool in java javac mvn flock; do
  command -v "$tool" >/dev/null || { echo "build.sh: $tool is missing (Debian: apt-get install -y default-jdk-headless maven util-linux)" >&2; exit 3; }
done
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

# A directory counts only when its stamp does: a run that was cut off is done again.
sum=$(sha256sum <"$here/pom.xml" | cut -c1-16)
if [ "$(cat "$cache/jars.stamp" 2>/dev/null)" != "$sum" ]; then
  rm -rf "$cache/jars"
  for try in 1 2 3; do
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$cache/jars" >&2 && break
    [ "$try" = 3 ] && { echo "build.sh: Maven could not fetch the SDK (see above)" >&2; exit 3; }
    sleep "$try"
  done
  echo "$sum" >"$cache/jars.stamp"
fi
sum=$(cat "$here/MeshPeer.java" "$here/build.sh" "$cache/jars.stamp" | sha256sum | cut -c1-16)
if [ "$(cat "$cache/classes.stamp" 2>/dev/null)" != "$sum" ]; then
  rm -rf "$cache/classes"
  mkdir -p "$cache/classes"
  javac -nowarn -Xlint:none -d "$cache/classes" -cp "$cache/jars/*" "$here/MeshPeer.java" >&2
  # In front of the SDK's own, which logs every frame.
  echo '<Configuration status="OFF"><Loggers><Root level="OFF"/></Loggers></Configuration>' >"$cache/classes/log4j2.xml"
  echo "$sum" >"$cache/classes.stamp"
fi
echo "$cache/classes:$cache/jars/*"

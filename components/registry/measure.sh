#!/bin/sh
# The quota container: runs the relay that writes pass through, measures the volume every INTERVAL seconds, and tells the
# gate by files in STATE what to refuse. Needs busybox only (Alpine's: du, df, flock, wget, awk) and nginx.
#
# VOLUME STATE COUNTERS LOCKS TMP   folders, as in components/registry/layout.ts
# LIMIT RESERVE KEEP_FREE           bytes
# INTERVAL                          seconds between two measurements
# WRITES_CONF WRITERS_URL           the relay's configuration, and where it tells how many writes are under way
# REGISTRY_HEALTH_URL LOGIN_CHECK_URL  what is asked for health
# REMEDY                            command that frees space, for the message
set -u

put() { # FILE CONTENT... : whole or not at all, as nginx may read it at any moment
  file=$STATE/$1; shift
  printf '%s\n' "$*" >"$file.new" && mv "$file.new" "$file"
}

flag() { # FILE 0|1
  if [ "$2" = 1 ]; then [ -f "$STATE/$1" ] || : >"$STATE/$1"; else rm -f "$STATE/$1"; fi
}

gib() { awk -v b="$1" 'BEGIN { if (b >= 1073741824) printf "%.1f GiB", b / 1073741824; else printf "%.1f MiB", b / 1048576 }'; }

start_health() { watch_health & health=$!; }
start_watch() { watch_writes & watch=$!; }

start_relay() { nginx -e stderr -p "$TMP/" -c "$WRITES_CONF" & relay=$!; }

# nginx ends its workers, and with them every write under way, at once on TERM.
cut_writes() {
  kill -TERM "$relay" 2>/dev/null; wait "$relay" 2>/dev/null
  start_relay
}

# One walk over the volume: bytes used, uploads under way or abandoned, and their bytes. du counts folders too.
measure() {
  # shellcheck disable=SC2046,SC2153 # the three numbers are words; VOLUME is the environment's
  set -- $(du -k "$VOLUME" 2>/dev/null | awk '
    /\/_uploads\/[^\/]+$/ { uploads++; bytes += $1 }
    { total = $1 }
    END { printf "%.0f %d %.0f", total * 1024, uploads, bytes * 1024 }')
  # A walk that failed says 0: what was known before still holds, and at the start that is full.
  [ "$1" -gt 0 ] || return 0
  used=$1 uploads=$2 upload_bytes=$3
  free=$(df -Pk "$VOLUME" | awk 'END { printf "%.0f", $4 * 1024 }')
}

decide() {
  full=0 over=0 reason=
  if [ "$free" -lt "$KEEP_FREE" ]; then
    full=1 reason="the node's disk has only $(gib "$free") left"
  fi
  if [ "$used" -ge $((LIMIT - RESERVE)) ]; then
    full=1 reason="$(gib "$used") of $(gib "$LIMIT") are used (new uploads stop $(gib "$RESERVE") below the limit)"
  fi
  if [ "$used" -ge "$LIMIT" ] || [ "$free" -lt $((KEEP_FREE / 2)) ]; then over=1; fi
}

tell() {
  [ "$full" = 0 ] || put full.json "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"registry storage is full: $reason; delete images, then free their space with: $REMEDY\",\"detail\":{\"used\":$used,\"limit\":$LIMIT}}]}"
  flag over "$over"
  flag full "$full"
}

# The lock is the kernel's and goes with the last process that holds it: however the collector ends, writes reopen.
watch_collector() {
  if flock -n -s "$LOCKS/collect" true; then maintenance=0; else maintenance=1; fi
  # The collector waits for a count that was made after the gate closed.
  if [ "$maintenance" = 1 ] && [ ! -f "$STATE/maintenance" ]; then rm -f "$STATE/writers"; fi
  flag maintenance "$maintenance"
}

# `unknown` where the relay does not answer: nobody may take that for none.
count_writers() {
  counted=$(timeout 5 wget -q -O - "$WRITERS_URL" 2>/dev/null | awk '/Writing/ { print $4 - 1 }')
  put writers "${counted:-unknown}"
}

# A loop of its own: a walk over a large volume takes minutes on a slow disk, and nobody who holds the lock waits so long.
watch_writes() {
  while :; do
    watch_collector
    count_writers
    sleep 1
  done
}

tally() { # NAME : events so far; the file is emptied before it fills the memory volume
  size=$(stat -c %s "$COUNTERS/$1" 2>/dev/null || echo 0)
  if [ "$size" -gt 1048576 ]; then
    : >"$COUNTERS/$1"
    echo "$(($(cat "$TMP/$1.base" 2>/dev/null || echo 0) + size))" >"$TMP/$1.base"
    size=0
  fi
  echo $(($(cat "$TMP/$1.base" 2>/dev/null || echo 0) + size))
}

# A loop of its own: a busy login check answers late, and the measurements must not wait for it.
watch_health() {
  while :; do
    registry=fail login=fail volume=fail
    if timeout 5 wget -q -O /dev/null "$REGISTRY_HEALTH_URL" 2>/dev/null; then registry=pass; fi
    # A user that does not exist: 401 shows that the file of users was read, and nothing is hashed.
    if timeout 10 wget -O /dev/null --header "Authorization: Basic bm9ib2R5Og==" "$LOGIN_CHECK_URL" 2>&1 | grep -q ' 401 '; then login=pass; fi
    if timeout 10 df -Pk "$VOLUME" >/dev/null 2>&1; then volume=pass; fi
    status=pass
    case $registry$login$volume in *fail*) status=fail ;; esac
    put health.json "{\"status\":\"$status\",\"checks\":{\"registry\":\"$registry\",\"volume\":\"$volume\",\"login\":\"$login\"}}"
    if [ $status = pass ]; then flag healthy 1; else flag healthy 0; fi
    sleep 1
  done
}

publish() {
  if [ -f "$STATE/healthy" ]; then healthy=1; else healthy=0; fi
  if [ -f "$STATE/maintenance" ]; then maintenance=1; else maintenance=0; fi
  put metrics.txt "# HELP homecloud_registry_used_bytes What the registry's volume holds, uploads included.
# TYPE homecloud_registry_used_bytes gauge
homecloud_registry_used_bytes $used
# HELP homecloud_registry_limit_bytes The quota.
# TYPE homecloud_registry_limit_bytes gauge
homecloud_registry_limit_bytes $LIMIT
# HELP homecloud_registry_disk_free_bytes What the node's disk has left.
# TYPE homecloud_registry_disk_free_bytes gauge
homecloud_registry_disk_free_bytes $free
# HELP homecloud_registry_uploads Uploads under way or abandoned.
# TYPE homecloud_registry_uploads gauge
homecloud_registry_uploads $uploads
# HELP homecloud_registry_upload_bytes What those uploads hold.
# TYPE homecloud_registry_upload_bytes gauge
homecloud_registry_upload_bytes $upload_bytes
# HELP homecloud_registry_full 1 while new uploads are refused.
# TYPE homecloud_registry_full gauge
homecloud_registry_full $full
# HELP homecloud_registry_healthy 1 while the registry is ready to be used.
# TYPE homecloud_registry_healthy gauge
homecloud_registry_healthy $healthy
# HELP homecloud_registry_metrics_timestamp_seconds When these figures were written: they stay where the quota container dies.
# TYPE homecloud_registry_metrics_timestamp_seconds gauge
homecloud_registry_metrics_timestamp_seconds $(date +%s)
# HELP homecloud_registry_maintenance 1 while garbage is collected.
# TYPE homecloud_registry_maintenance gauge
homecloud_registry_maintenance $maintenance
# HELP homecloud_registry_last_collection_timestamp_seconds When the last collection ended well. 0: there was none.
# TYPE homecloud_registry_last_collection_timestamp_seconds gauge
homecloud_registry_last_collection_timestamp_seconds $(stat -c %Y "$VOLUME/last-collection" 2>/dev/null || echo 0)
# HELP homecloud_registry_writers Writes under way.
# TYPE homecloud_registry_writers gauge
homecloud_registry_writers $([ "$writers" = unknown ] && echo NaN || echo "$writers")
# HELP homecloud_gate_requests_total Requests that the gate answered, by class of status.
# TYPE homecloud_gate_requests_total counter
homecloud_gate_requests_total{class=\"2xx\"} $(tally requests.2xx)
homecloud_gate_requests_total{class=\"4xx\"} $(tally requests.4xx)
homecloud_gate_requests_total{class=\"5xx\"} $(tally requests.5xx)
# HELP homecloud_gate_failed_logins_total Logins that were wrong or over the limit.
# TYPE homecloud_gate_failed_logins_total counter
homecloud_gate_failed_logins_total $(tally logins.failed)"
}

stop() { kill "$health" "$watch" 2>/dev/null; kill -QUIT "$relay" 2>/dev/null; wait "$relay" 2>/dev/null; exit 0; }

mkdir -p "$STATE" "$LOCKS"
: >>"$LOCKS/collect"
rm -f "$STATE/healthy"
# QUIT is what the nginx image asks to be stopped with; as process 1 the shell would ignore it for the whole grace period.
trap stop TERM INT QUIT
used=$LIMIT uploads=0 upload_bytes=0 free=0
start_relay
start_health
start_watch
while :; do
  kill -0 "$relay" 2>/dev/null || start_relay
  kill -0 "$health" 2>/dev/null || start_health
  kill -0 "$watch" 2>/dev/null || start_watch
  measure
  decide
  tell
  writers=$(cat "$STATE/writers" 2>/dev/null || echo unknown)
  if [ "$over" = 1 ] && [ "$writers" != 0 ]; then cut_writes; fi
  publish
  sleep "$INTERVAL" &
  wait $!
done

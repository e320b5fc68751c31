#!/bin/sh
# Frees the space of deleted images and abandoned uploads. Runs in the registry's container, by hand:
#   kubectl -n registry exec deploy/registry -c registry -- sh /etc/homecloud/collect-garbage.sh [--dry-run]
# Pushes get 503 and Retry-After meanwhile; pulls go on. Options are those of `registry garbage-collect`.
#
# VOLUME STATE LOCKS  folders, as in components/registry/layout.ts
# DISTRIBUTION_CONF   the registry's config.yml
# DRAIN_SECONDS       how long pushes that are under way may take to end. Defaults to 600
# COLLECT_SECONDS     how long the collection may take before it is ended. Defaults to 3600
set -eu
drain=${DRAIN_SECONDS:-600}
longest=${COLLECT_SECONDS:-3600}

say() { echo "collect-garbage: $*"; }
fail() { say "$*" >&2; exit 1; }
repositories=$VOLUME/docker/registry/v2/repositories
blobs=$VOLUME/docker/registry/v2/blobs
used() { du -sk "$VOLUME" | awk '{ print $1 }'; }

# Not busybox's `timeout`: it leaves a helper that would hold the lock for another second.
end_after() { # PID SECONDS
  pause=
  trap '[ -z "$pause" ] || kill "$pause"; exit' TERM
  sleep "$2" &
  pause=$!
  wait "$pause"
  if grep -q garbage-collect "/proc/$1/cmdline"; then kill "$1"; fi
}

# A dry run only reads and prints a line a blob: nobody's writes need to wait for that.
case " $* " in
*" --dry-run "* | *" -d "*)
  [ -d "$blobs" ] || { say "the registry is empty"; exit 0; }
  exec timeout "$longest" registry garbage-collect "$@" "$DISTRIBUTION_CONF" ;;
esac

# Held on a file descriptor that the collector inherits: the quota container sees the lock, tells the gate, and reopens
# writes when the last process that holds it is gone, whoever was killed.
exec 9>>"$LOCKS/collect"
# Tried more than once: the quota container takes the lock for a moment every second, to see whether it is free.
tries=0
until flock -n 9; do
  tries=$((tries + 1))
  [ "$tries" -lt 4 ] || fail "a collection is already running"
  sleep 1
done

waited=0
until [ -f "$STATE/maintenance" ]; do
  [ "$waited" -lt 30 ] || fail "the gate still lets writes through after 30 s: is the quota container running?"
  sleep 1; waited=$((waited + 1))
done

# A file that is missing has not been counted since the gate closed, and `unknown` is not none.
waited=0
while writers=$(cat "$STATE/writers" 2>/dev/null || echo unknown) && [ "$writers" != 0 ]; do
  [ "$waited" -lt "$drain" ] || fail "pushes are still under way after $drain s; nothing was changed, writes are open again. Run it again later"
  [ $((waited % 15)) -ne 3 ] || say "waiting for pushes to end: $writers"
  sleep 1; waited=$((waited + 1))
done

before=$(used)
if [ -d "$repositories" ]; then
  # With no write under way every upload that is left is abandoned or will be begun again by its client.
  find "$repositories" -type d -path '*/_uploads/*' -prune -exec rm -rf {} +
fi
if [ -d "$blobs" ]; then
  say "collecting; pushes wait, pulls go on"
  # Its line a blob goes into awk, not to the terminal: a client that is gone leaves a pipe that nobody reads, and a
  # collector that blocks on it would hold the lock until its time limit (seen: pushes refused for minutes).
  {
    registry garbage-collect "$@" "$DISTRIBUTION_CONF" 2>&1 &
    collector=$!
    end_after "$collector" "$longest" 9>&- >/dev/null 2>&1 &
    watchdog=$!
    wait "$collector" || echo "failed with status $?"
    kill "$watchdog"
  } | awk '
    /eligible for deletion$/ && /marked/ { summary = $0 }
    { last = $0 }
    END { print (summary != "" ? summary : last); exit (last ~ /^failed with status/) }' ||
    fail "the collection did not end well (143 is the time limit of $longest s); run it again"
fi
after=$(used)
say "freed $(((before - after) / 1024)) MiB; $((after / 1024)) MiB are used"

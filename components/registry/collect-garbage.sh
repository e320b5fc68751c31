#!/bin/sh
# Frees the space of deleted images and abandoned uploads. Runs in the registry's container: `homecloud gc` does, or by hand
#   kubectl -n registry exec deploy/registry -c registry -- sh /etc/homecloud/collect-garbage.sh [OPTION…]
#     --dry-run           only tells what would go; nobody waits for that
#     --untagged          also takes manifests that no tag names, nor anything that stays (see survey.awk) …
#     --older-than AGE    … if they were pushed this long ago: 90m, 24h, 7d. Defaults to 24h
#     --stop              ends a collection that runs; what it has freed stays freed, and nothing else is changed
#     --porcelain         tells each step as a line of JSON
# Pushes get 503 and Retry-After meanwhile; pulls go on.
#
# VOLUME STATE LOCKS  folders, as in components/registry/layout.ts
# DISTRIBUTION_CONF   the registry's config.yml
# DRAIN_SECONDS       how long pushes that are under way may take to end. Defaults to 600
# COLLECT_SECONDS     how long the collection may take after that before it is ended. Defaults to 3600
set -eu
drain=${DRAIN_SECONDS:-600}
longest=${COLLECT_SECONDS:-3600}
here=${0%/*}
repositories=$VOLUME/docker/registry/v2/repositories
blobs=$VOLUME/docker/registry/v2/blobs
# Open in every process of this collection, and in no other: how --stop and the time limit find them.
mark=$LOCKS/collection.$$.$(date +%s)
dry='' untagged='' age='' porcelain='' stop=''

say() { [ -n "$porcelain" ] || echo "collect-garbage: $*"; }
tell() { [ -z "$porcelain" ] || echo "{\"step\":$*}"; } # JSON
fail() { echo "collect-garbage: $*" >&2; exit 1; }
misused() { echo "collect-garbage: $*" >&2; exit 2; }

read_options() {
  while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=yes ;;
    --untagged) untagged=yes ;;
    --older-than) [ $# -gt 1 ] || misused "--older-than needs an age, such as 24h"; age=$2; shift ;;
    --stop) stop=yes ;;
    --porcelain) porcelain=yes ;;
    -m | --delete-untagged) misused "$1 cuts pushes of several architectures that are under way: use --untagged" ;;
    *) misused "there is no option $1; there are --dry-run, --untagged, --older-than AGE, --stop, --porcelain" ;;
    esac
    shift
  done
  [ -z "$age" ] || [ -n "$untagged" ] || misused "--older-than says how old the manifests of --untagged are: add --untagged"
}

seconds_of() { # AGE
  number=${1%[mhd]}
  # Six digits: more than that the shell might count below zero, and then everything is old.
  case $number in '' | *[!0-9]* | 0?* | ???????*) number=none ;; esac
  case $number$1 in
  none*) misused "$1 is no age: say 90m, 24h or 7d" ;;
  *m) echo $((number * 60)) ;;
  *h) echo $((number * 3600)) ;;
  *d) echo $((number * 86400)) ;;
  *) misused "$1 is no age: say 90m, 24h or 7d" ;;
  esac
}

used() { du -sk "$VOLUME" | awk '{ print $1 }'; }
count_blobs() { find "$blobs" -name data | wc -l; }
is_held() { ! flock -n -s "$LOCKS/collect" true; }

# find and stat, and not a glob: there may be more files than a command takes. In a dry run files may go meanwhile.
list() { # KIND FORMAT FOLDER PATTERN
  find "$3" \( -name _layers -o -name _uploads \) -prune -o -path "$4" -exec stat -c "$1 $2 %n" {} + || [ -n "$dry" ]
}
manifests() {
  list revision %Y "$repositories" '*/_manifests/revisions/*/link' &&
    list tag 0 "$repositories" '*/_manifests/tags/*/current/link' &&
    echo decide &&
    list history 0 "$repositories" '*/_manifests/tags/*/index/*/link'
}
survey() { # REMOVER
  cutoff=0
  [ -z "$untagged" ] || cutoff=$(($(date +%s) - youngest))
  awk -v blobs="$blobs" -v cutoff="$cutoff" -v remover="$1" -f "$here/survey.awk"
}

tell_what_would_go() {
  ! is_held || fail "a collection is running: what it leaves is not known before it has ended"
  manifests=0 freed=0 bytes=0 uploads=0 upload_bytes=0
  if [ -d "$repositories" ]; then
    # shellcheck disable=SC2046 # the numbers are words
    set -- $({ manifests; [ ! -d "$blobs" ] || list blob %b "$blobs" '*/data'; } 2>/dev/null | survey '')
    [ $# = 3 ] || fail "the registry's folders cannot be read"
    manifests=$1 freed=$2 bytes=$3
    # Nobody knows yet which are abandoned: those to which nothing came for ten minutes.
    # shellcheck disable=SC2046
    set -- $(find "$repositories" -path '*/_uploads/*/data' -mmin +10 -exec stat -c %b {} + 2>/dev/null |
      awk '{ blocks += $1 } END { printf "%d %.0f", NR, blocks * 512 }')
    uploads=$1 upload_bytes=$2
  fi
  total=$((bytes + upload_bytes))
  tell "\"found\",\"freed\":$total,\"manifests\":$manifests,\"blobs\":$freed,\"uploads\":$uploads,\"used\":$(($(used) * 1024))"
  say "would free $((total / 1048576)) MiB: $manifests untagged manifests, $freed blobs, $uploads abandoned uploads; nothing was changed"
}

members() { # MARK, or what several begin with
  # shellcheck disable=SC2012 # one fork instead of a readlink for each; these names are numbers
  ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v mark="$1" '
    /^\/proc\// { split($0, part, "/"); process = part[3] }
    index($NF, mark) == 1 { print process }' | sort -u
}

end_members() { # MARK
  for signal in TERM KILL; do
    tries=0
    while [ "$tries" -lt 5 ]; do
      processes=$(members "$1")
      [ -n "$processes" ] || return 0
      # shellcheck disable=SC2086 # the numbers are words
      [ "$tries" -gt 0 ] || kill "-$signal" $processes 2>/dev/null || :
      sleep 1
      tries=$((tries + 1))
    done
  done
}

stop_collection() {
  if [ -n "$(members "$LOCKS/collection.")" ]; then
    end_members "$LOCKS/collection."
    say "the collection has been ended; writes are open again in a few seconds"
  elif is_held; then fail "something else holds writes, a backup or a restore: it is left alone"
  else say "no collection is running"
  fi
}

# Not busybox's `timeout`: it leaves a helper that would hold the lock for another second.
end_after() { # SECONDS
  # Not as redirections of the call: the shell keeps copies of what those replace, and this would hold the lock itself.
  exec 8>&- 9>&- >/dev/null 2>&1
  pause=
  trap '[ -z "$pause" ] || kill "$pause"; exit' TERM
  left=$1
  while [ "$left" -gt 0 ]; do
    # A shell that is killed ends nobody: the collector that it leaves has its time limit all the same.
    kill -0 $$ || [ -n "$(members "$mark")" ] || exit 0
    sleep 1 &
    pause=$!
    wait "$pause"
    left=$((left - 1))
  done
  echo late >"$mark"
  end_members "$mark"
}

explain_end() {
  trap '' TERM
  [ -s "$mark" ] || fail "the collection was ended before its time; what it has freed stays freed, and writes are open again"
  # The watchdog lives on, and sees to it that all of it ends.
  trap - EXIT
  fail "the collection was ended by its time limit of $longest s; what it has freed stays freed. Run it again"
}

# Held on a file descriptor that the collector inherits: the quota container sees the lock, tells the gate, and reopens
# writes when the last process that holds it is gone, whoever was killed.
hold_writes() {
  exec 8>"$mark" 9>>"$LOCKS/collect"
  # Tried more than once: the quota container takes the lock for a moment every second, to see whether it is free.
  tries=0
  until flock -n 9; do
    tries=$((tries + 1))
    [ "$tries" -lt 4 ] || fail "a collection is already running, or a backup; only one at a time can hold writes"
    sleep 1
  done
  held_since=$(date +%s)
  # Of runs that were killed: on memory, a few bytes each.
  find "$LOCKS" -name 'collection.*' ! -path "$mark" -exec rm -f {} +
  tell '"holding"'
  # What the gate was told, and what was counted, before now may be of an earlier hold: counted anew, then asked.
  : >"$mark"
  waited=0
  # shellcheck disable=SC3013 # busybox's has it
  until [ "$STATE/writers" -nt "$mark" ] && [ -f "$STATE/maintenance" ]; do
    [ "$waited" -lt 30 ] || fail "the gate still lets writes through after 30 s: is the quota container running?"
    sleep 1; waited=$((waited + 1))
  done
}

wait_for_writers() {
  # A file that is missing has not been counted since the gate closed, and `unknown` is not none.
  waited=0
  while writers=$(cat "$STATE/writers" 2>/dev/null || echo unknown) && [ "$writers" != 0 ]; do
    [ "$waited" -lt "$drain" ] || fail "pushes are still under way after $drain s; nothing was changed, writes are open again. Run it again later"
    if [ $((waited % 15)) = 3 ]; then
      tell "\"waiting\",\"writers\":\"$writers\""
      say "waiting for pushes to end: $writers"
    fi
    sleep 1; waited=$((waited + 1))
  done
  tell '"drained"'
}

# The registry's collector fails where one of these is missing: of a repository that has manifests and never had a layer (an
# empty index), and where every repository was removed by hand.
make_folders() {
  [ ! -d "$blobs" ] || mkdir -p "$repositories"
  [ -d "$repositories" ] || return 0
  find "$repositories" \( -name _layers -o -name _uploads \) -prune -o -name _manifests -prune -print |
    while IFS= read -r each; do [ -d "${each%/*}/_layers" ] || mkdir -p "${each%/*}/_layers"; done
}

remove_uploads() {
  # With no write under way every upload that is left is abandoned or will be begun again by its client.
  uploads=$(find "$repositories" -type d -path '*/_uploads/*' -prune -exec rm -rf {} + -print | wc -l)
}

# Before the registry's own collector, which then finds their blobs in nobody's use. The registry's --delete-untagged knows
# no age and no `subject`: https://github.com/distribution/distribution/blob/v3.1.1/registry/storage/garbagecollect.go
remove_untagged() {
  # shellcheck disable=SC2046 # the numbers are words
  set -- $(manifests | survey 'xargs rm -rf')
  [ $# = 3 ] || fail "the manifests cannot be listed or removed; writes are open again"
  manifests=$1
}

# Its line a blob goes into awk, not to the terminal: a client that is gone leaves a pipe that nobody reads, and a collector
# that blocks on it would hold the lock until its time limit (seen: pushes refused for minutes). For the same reason the
# progress is a bounded number of lines.
mark_and_sweep() {
  say "collecting; pushes wait, pulls go on"
  { registry garbage-collect "$DISTRIBUTION_CONF" 2>&1 || printf '\nfailed with status %s\n' $?; } |
    awk -v porcelain="$porcelain" -v blobs="$present" '
      function tell(step, done, total) {
        if (porcelain != "") { printf "{\"step\":\"%s\",\"done\":%d,\"of\":%d}\n", step, done, total; fflush() }
      }
      BEGIN { stride = int(blobs / 20) + 1; tell("mark", 0, blobs) }
      /: marking (manifest|blob) / { if (++marked % stride == 0) tell("mark", marked, blobs); next }
      / blobs marked, .* eligible for deletion$/ { doomed = $4; stride = int(doomed / 50) + 1; tell("sweep", 0, doomed); next }
      /^blob eligible for deletion/ { if (++swept % stride == 0) tell("sweep", swept, doomed); next }
      /^failed with status/ { failed = $0; next }
      /^failed/ { reason = $0 }
      END {
        if (failed == "") exit 0
        print "collect-garbage: " (reason != "" ? reason : failed) | "cat >&2"
        exit 1
      }' || fail "the collection did not end well; writes are open again, every tag is as it was"
}

collect() {
  uploads=0 manifests=0 freed=0
  make_folders
  before=$(used)
  if [ -d "$repositories" ]; then
    remove_uploads
    [ -z "$untagged" ] || remove_untagged
  fi
  if [ -d "$blobs" ]; then
    present=$(count_blobs)
    mark_and_sweep
    freed=$((present - $(count_blobs)))
  fi
  after=$(used)
  [ "$after" -le "$before" ] || before=$after
}

report() {
  held=$(($(date +%s) - held_since))
  # For `homecloud status`. A full disk is no reason to fail.
  touch "$VOLUME/last-collection" 2>/dev/null || :
  tell "\"done\",\"freed\":$(((before - after) * 1024)),\"manifests\":$manifests,\"blobs\":$freed,\"uploads\":$uploads,\"used\":$((after * 1024)),\"seconds\":$held"
  say "freed $(((before - after) / 1024)) MiB: $manifests untagged manifests, $freed blobs, $uploads abandoned uploads; $((after / 1024)) MiB are used; pushes waited $held s"
}

read_options "$@"
youngest=$(seconds_of "${age:-24h}")
if [ -n "$stop" ]; then stop_collection; exit; fi
if [ -n "$dry" ]; then tell_what_would_go; exit; fi
trap explain_end TERM
hold_writes
wait_for_writers
end_after "$longest" &
watchdog=$!
trap 'kill "$watchdog" 2>/dev/null || :; rm -f "$mark"' EXIT
collect
report

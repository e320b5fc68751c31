#!/bin/sh
# What `homecloud backup` and `homecloud restore` run in the registry's containers. They hand it over as an argument, so that
# a pod which an older program has deployed can be backed up too:  sh -c "$(cat registry-pod.sh)" registry-pod COMMAND
#   look       what there is and how much fits, as words (quota container)
#   hold       keeps writes and collections out and works on the words of its stdin; its stdout answers each
#   links      the snapshot's repositories, as a tar
#   blobs      the snapshot's blobs, as a tar
#   unpack     takes a tar, beside what is there
#
# VOLUME STATE LOCKS    folders, as in components/registry/layout.ts
# LIMIT KEEP_FREE       bytes, of the quota container
# DRAIN_SECONDS         how long pushes that are under way may take to end. Defaults to 600
# PATIENCE              seconds without a word after which the command is taken for dead. Defaults to 20
set -eu
drain=${DRAIN_SECONDS:-600}
patience=${PATIENCE:-20}
# On the volume, as the memory volumes are small. Nothing but this script looks at them.
snapshot=$VOLUME/homecloud-backup
incoming=$VOLUME/homecloud-restore
former=$VOLUME/homecloud-former
# Open in every process that moves data, and in no other: how they are found when the command is gone.
mark=$LOCKS/transfer

fail() { echo "registry-pod: $*" >&2; exit 1; }

# Every tag and manifest is a file `link`: without any there is nothing to lose.
look() {
  links=$(find "$VOLUME/docker/registry/v2/repositories" -path '*/_manifests/*' -name link 2>/dev/null | head -n 1 | wc -l)
  used=$(du -sk "$VOLUME" | awk '{ printf "%.0f", $1 * 1024 }')
  free=$(df -Pk "$VOLUME" | awk 'END { printf "%.0f", $4 * 1024 }')
  echo "$links $used $free $LIMIT $KEEP_FREE"
}

members() {
  # shellcheck disable=SC2012 # one fork instead of a readlink for each; these names are numbers
  ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v mark="$mark" '
    /^\/proc\// { split($0, part, "/"); process = part[3] }
    $NF == mark { print process }' | sort -u
}

# KILL: a tar whose output nobody takes any more may sit in a write.
end_members() {
  processes=$(members)
  # shellcheck disable=SC2086 # the numbers are words
  [ -z "$processes" ] || kill -KILL $processes 2>/dev/null || :
}

clean() { rm -rf "$snapshot" "$incoming" "$former"; }

# A pod that died between the two renames of a swap.
mend() { if [ -d "$former" ] && [ ! -e "$VOLUME/docker" ]; then mv "$former" "$VOLUME/docker"; fi; }

gone() {
  trap '' PIPE
  fail "the command is gone: nothing more is done, and writes are open again"
}

# The command says `beat` every second, whatever else it does: that is the clock here, and the sign that it lives. An end of
# its connection shows at once where the network tells of it.
next() {
  # shellcheck disable=SC3045 # busybox's has it
  read -r -t "$patience" word || gone
  [ "$word" != end ] || exit 0
}

# Exclusive: the quota container sees it and tells the gate, which answers writes with 503. The kernel gives it back.
hold_writes() {
  exec 9>>"$LOCKS/collect"
  # More than once: the quota container takes it for a moment every second.
  tries=0
  until flock -n 9; do
    tries=$((tries + 1))
    [ "$tries" -lt 4 ] || fail "a collection, a backup or a restore is running: only one at a time can hold writes"
    sleep 1
  done
  # Not before: what is there may be another's.
  trap 'end_members; mend; clean' EXIT
  trap 'exit 1' TERM INT HUP
  end_members
  mend
  clean
  # What the gate was told, and what was counted, before now may be of an earlier hold: counted anew, then asked.
  : >"$mark"
  waited=0
  # shellcheck disable=SC3013 # busybox's has it
  until [ "$STATE/writers" -nt "$mark" ] && [ -f "$STATE/maintenance" ]; do
    [ "$waited" -lt 30 ] || fail "the gate still lets writes through after 30 s: is the quota container running?"
    next; waited=$((waited + 1))
  done
}

wait_for_writers() {
  # A file that is missing has not been counted since the gate closed, and `unknown` is not none.
  waited=0
  while writers=$(cat "$STATE/writers" 2>/dev/null || echo unknown) && [ "$writers" != 0 ]; do
    [ "$waited" -lt "$drain" ] || fail "pushes are still under way after $drain s: nothing was changed, writes are open again. Try again later"
    [ $((waited % 15)) != 3 ] || echo "waiting $writers"
    next; waited=$((waited + 1))
  done
}

# What a backup must not see change, taken while writes are held: the links in a tar, and the names of the blobs. Blobs
# themselves never change, and go with a collection only. No name has a space: the registry's own rules are stricter.
# Not all into one tar: busybox's takes its names as arguments only, in some builds. One behind the other is as good.
# The names come through a pipe: of a file, what xargs runs shares the place that xargs has come to, and moves it back at its
# end (exit() of a forked busybox). With more names than one command takes, some were cut in the middle.
each_of() { # FILE COMMAND…
  names=$1; shift
  tr '\n' '\0' <"$names" | xargs -0 -r "$@"
}

take_snapshot() {
  mkdir -p "$snapshot"
  cd "$VOLUME"
  : >"$snapshot/names"
  [ ! -d docker/registry/v2/repositories ] ||
    find docker/registry/v2/repositories -name _uploads -prune -o -print >"$snapshot/names"
  each_of "$snapshot/names" tar --no-recursion -cf - >"$snapshot/links.tar"
  : >"$snapshot/blobs"
  : >"$snapshot/sizes"
  if [ -d docker/registry/v2/blobs ]; then
    find docker/registry/v2/blobs -type f -name data >"$snapshot/blobs"
    each_of "$snapshot/blobs" stat -c %s >"$snapshot/sizes"
  fi
  awk '{ bytes += $1 } END { printf "snapshot %d %.0f\n", NR, bytes }' "$snapshot/sizes"
}

# From here on pushes go on; a collection, which wants the lock for itself, stays out.
share() {
  flock -n -s 9 || fail "a collection has begun in the very moment: try again"
  echo shared
}

swap() {
  mkdir -p "$incoming/docker"
  trap '' TERM INT HUP PIPE
  [ ! -e "$VOLUME/docker" ] || mv "$VOLUME/docker" "$former"
  mv "$incoming/docker" "$VOLUME/docker"
  clean
  echo swapped
}

# A broken blob is better away: a push sees that it is missing, and brings it again.
drop() { # HEX
  rm -rf "$incoming/docker/registry/v2/blobs/sha256/${1%"${1#??}"}/$1"
}

hold() {
  hold_writes
  wait_for_writers
  echo held
  while next; do
    case $word in
    beat) ;;
    snapshot) take_snapshot ;;
    share) share ;;
    "drop "*) drop "${word#drop }" ;;
    swap) swap ;;
    *) fail "there is no word $word" ;;
    esac
  done
}

command=${1:-}
case $command in
look | hold) "$command" ;;
links)
  exec 8>>"$mark"
  exec cat "$snapshot/links.tar"
  ;;
blobs)
  exec 8>>"$mark"
  cd "$VOLUME"
  each_of "$snapshot/blobs" tar --no-recursion -cf -
  ;;
unpack)
  exec 8>>"$mark"
  mkdir -p "$incoming"
  exec tar -xpf - -C "$incoming"
  ;;
*) fail "there is no command $command" ;;
esac

#!/bin/sh
# What `homecloud backup` and `homecloud restore` run while LocalStack is scaled to 0, in a pod that holds its volume:
#   look       what there is and how much fits, as words (in LocalStack's own pod, container watch)
#   wait       the pod's own process: ends when no `beat` has come for a while, so that a killed command leaves no pod
#   beat       touches a file for every line of its stdin
#   mend       puts back what a swap that was cut off has moved away
#   read       the volume as a tar
#   unpack     takes a tar, beside what is there
#   swap       puts that in the place of what is there, and removes the latter
#
# VOLUME    LocalStack's volume
# LIMIT KEEP_FREE  bytes, of the watch container
# TMP       a folder of its own, on memory
# PATIENCE  seconds without a beat after which the command is taken for dead. Defaults to 20
set -eu
patience=${PATIENCE:-20}
incoming=$VOLUME/homecloud-restore
# Where a swap that was cut off shows how far it had come: `moving` holds a part of the former content, `former` all of it.
moving=$VOLUME/homecloud-moving
former=$VOLUME/homecloud-former
removed=$VOLUME/homecloud-removed
beat=${TMP:-/tmp}/beat

fail() { echo "localstack-pod: $*" >&2; exit 1; }

# But for temporary files, damaged ones that were set aside, and our own folders.
entries() { # FOLDER
  (cd "$1" && find . -mindepth 1 -maxdepth 1 ! -name scratch ! -name damaged ! -name lost+found ! -name 'homecloud-*') |
    cut -c 3- | sort
}

look() {
  cd "$VOLUME"
  # shellcheck disable=SC2046 # no name of LocalStack's has a space
  set -- $(entries .)
  files=0 used=0
  if [ $# -gt 0 ]; then
    files=$(find "$@" -path '*/state/*' -type f 2>/dev/null | head -n 1 | wc -l)
    used=$({ du -sk "$@" 2>/dev/null || :; } | awk '{ total += $1 } END { printf "%.0f", total * 1024 }')
  fi
  free=$(df -Pk "$VOLUME" | awk 'END { printf "%.0f", $4 * 1024 }')
  echo "$files $used $free $LIMIT $KEEP_FREE"
}

wait_for_the_end() {
  trap 'exit 0' TERM INT
  : >"$beat"
  while [ $(($(date +%s) - $(stat -c %Y "$beat"))) -lt "$patience" ]; do
    sleep 2 &
    wait $!
  done
}

read_volume() {
  cd "$VOLUME"
  # shellcheck disable=SC2046 # no name of LocalStack's has a space
  set -- $(entries .)
  # An empty volume: a tar of nothing.
  [ $# -gt 0 ] || exec head -c 1024 /dev/zero
  exec tar -cf - "$@"
}

move_entries() { # FROM TO
  for name in $(entries "$1"); do mv "$1/$name" "$2/"; done
}

mend() {
  rm -rf "$incoming" "$removed"
  if [ -d "$former" ]; then
    for name in $(entries "$VOLUME"); do rm -rf "${VOLUME:?}/$name"; done
    mv "$former" "$moving"
  fi
  [ -d "$moving" ] || return 0
  move_entries "$moving" "$VOLUME"
  rmdir "$moving"
}

swap() {
  mkdir -p "$moving" "$incoming"
  move_entries "$VOLUME" "$moving"
  mv "$moving" "$former"
  move_entries "$incoming" "$VOLUME"
  sync
  mv "$former" "$removed"
  rm -rf "$incoming" "$removed"
}

command=${1:-}
case $command in
wait) wait_for_the_end ;;
beat) while read -r _; do : >"$beat"; done ;;
look | mend | swap) "$command" ;;
read) read_volume ;;
unpack)
  mkdir -p "$incoming"
  exec tar -xpf - -C "$incoming"
  ;;
*) fail "there is no command $command" ;;
esac

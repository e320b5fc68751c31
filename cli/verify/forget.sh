#!/bin/sh
# Removes what `homecloud verify` has pushed: the repository of one run, and those of runs that were killed, once they are an
# hour old. Runs in the registry's container, from its standard input: sh -s RUN.
# No collection is needed: every layer and configuration there is random, so that no other repository has it, but where
# somebody has copied it there meanwhile. That is looked at, and what is theirs too stays.
#
# VOLUME LOCKS  folders, as in components/registry/layout.ts
set -eu
registry=$VOLUME/docker/registry/v2
ours=$registry/repositories/homecloud-verify
run=$1

fail() { echo "$*" >&2; exit 1; }

# Shared: a collection waits or is waited for, and pushes go on, which only an exclusive lock would hold.
keep_collections_out() {
  exec 9>>"$LOCKS/collect"
  tries=0
  until flock -s -n 9; do
    tries=$((tries + 1))
    [ "$tries" -lt 10 ] || fail "a garbage collection is running: the next verify removes it, an hour from now or later"
    sleep 1
  done
}

# Tags first: killed half-way, this leaves nothing that a collection would miss the layers of.
forget() { # FOLDER
  for link in "$1"/_manifests/revisions/sha256/*/ "$1"/_layers/sha256/*/; do
    link=${link%/}
    blobs="$blobs ${link##*/}"
  done
  rm -rf "$1/_manifests"
  rm -rf "$1"
}

# Of these blobs, those that another repository links. One walk for all of them.
linked_elsewhere() { # HEX…
  find "$registry/repositories" -path "$ours" -prune -o -name link -print | awk -F/ -v wanted="$*" '
    BEGIN { for (i = split(wanted, hex, " "); i > 0; i--) is_wanted[hex[i]] = 1 }
    $(NF - 1) in is_wanted { print $(NF - 1) }'
}

remove_blobs() {
  # shellcheck disable=SC2086 # the digests are words
  linked=" $(linked_elsewhere $blobs | tr '\n' ' ') "
  for hex in $blobs; do
    # What a pattern that matched nothing has left is no digest.
    case $hex in *[!0-9a-f]*) continue ;; esac
    case $linked in *" $hex "*) continue ;; esac
    [ ${#hex} != 64 ] || rm -rf "$registry/blobs/sha256/${hex%"${hex#??}"}/$hex"
  done
}

is_old() { [ -n "$(find "$1" -prune -mmin +60)" ]; }

[ -d "$ours" ] || exit 0
keep_collections_out
blobs=
for folder in "$ours"/*/; do
  folder=${folder%/}
  case ${folder##*/} in
  "$run")
    forget "$folder"
    # An upload that was cut a moment ago may still write what it had received.
    sleep 1
    forget "$folder"
    ;;
  *[!0-9a-f-]*) ;;
  [0-9]*-*) if is_old "$folder"; then forget "$folder"; fi ;;
  esac
done
remove_blobs
rmdir "$ours" 2>/dev/null || :
exit 0

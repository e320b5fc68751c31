# Read by the commands beside it, which have set `here` to this folder.
# shellcheck shell=sh disable=SC2154

# Starts a program with the Node that `npm ci` brings: the one on PATH may be too old to run TypeScript.
start() { # PROGRAM ARGUMENT…
  program=$1
  shift
  node=$here/../../node_modules/.bin/node
  [ -x "$node" ] || node=node
  keep_compiled
  exec "$node" "$here/../$program" "$@"
}

# Node keeps what it has compiled, which is half the time of a start. In a folder of this person's own: whoever can write
# there says what runs. Made here, because Node tries for ever where a folder cannot be made (24.21, below /proc).
keep_compiled() {
  [ -z "$NODE_COMPILE_CACHE" ] || return 0
  cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  case $cache in /*) ;; *) return 0 ;; esac
  cache=$cache/homecloud/node
  [ -d "$cache" ] || (umask 077 && mkdir -p "$cache") 2>/dev/null || return 0
  if [ -O "$cache" ] && [ -w "$cache" ]; then export NODE_COMPILE_CACHE="$cache"; fi
}

#!/bin/sh
# The Docker container: the daemon that LocalStack runs functions with, on a unix socket. It loads the images that are
# brought along, measures what the images hold, and above CAP removes what no function uses. Needs Docker's dind image:
# dockerd, docker and Alpine's busybox.
#
# SOCKET          unix socket of the daemon, in a folder that LocalStack's container shares
# GROUP           gid that may use it
# DATA_ROOT       folder of images and containers, on a volume
# EXEC_ROOT       the daemon's folder of sockets and pid files, none of which outlives it. /var/run/docker unless given
# BRIDGE          address and size of the functions' network: where functions find LocalStack
# STATE           folder for lambda-images.used: bytes in DATA_ROOT. The file is there once functions can run
# CAP             bytes
# INTERVAL        seconds between two measurements
# IMAGES_FOLDER   *.tar as `docker save` writes them, for homes that can pull nothing. May be empty, or not there
set -u
: "${EXEC_ROOT:=/var/run/docker}" "${BRIDGE:=172.17.0.1/16}" "${IMAGES_FOLDER:=}"
export DOCKER_HOST="unix://$SOCKET"

put() { # FILE CONTENT : whole or not at all, as somebody may read it at any moment
  printf '%s\n' "$2" >"$STATE/$1.new" && mv "$STATE/$1.new" "$STATE/$1"
}

mib() { echo "$(($1 / 1048576)) MiB"; }

# What a killed predecessor left: its pids are others' by now.
clean_up() {
  rm -f "$SOCKET" "$EXEC_ROOT/docker.pid" "$EXEC_ROOT/containerd/containerd.pid" "$STATE/lambda-images.used"
  mkdir -p "$EXEC_ROOT" "$DATA_ROOT/homecloud-loaded"
}

# - bip: by itself the daemon takes another network where this one seems taken, and functions would miss LocalStack.
# - mtu: the pod's network may carry less than the daemon's 1500 (flannel's 1450), and large answers would be lost.
# - ip6tables: nothing here has IPv6, and a node without those modules would not start.
start_daemon() {
  set -- dockerd --host="$DOCKER_HOST" --group="$GROUP" --data-root="$DATA_ROOT" --exec-root="$EXEC_ROOT" \
    --pidfile="$EXEC_ROOT/docker.pid" --bip="$BRIDGE" --mtu="$(cat /sys/class/net/eth0/mtu 2>/dev/null || echo 1500)" \
    --ip6tables=false --log-opt max-size=10m --log-level=warn
  # The image's entry point prepares cgroups and picks the iptables that this kernel has.
  if command -v dockerd-entrypoint.sh >/dev/null; then set -- dockerd-entrypoint.sh "$@"; fi
  # The entry point's docker-init is not process 1 here.
  TINI_SUBREAPER=1 "$@" &
  daemon=$!
}

# A file's size and time tell whether it was loaded; its mark holds the names of its images.
load_images() {
  kept=
  for archive in "$IMAGES_FOLDER"/*.tar; do
    [ -f "$archive" ] || continue
    version=$(basename "$archive").$(stat -c %s.%Y "$archive")
    mark=$DATA_ROOT/homecloud-loaded/$version
    # shellcheck disable=SC2046 # names of images are words
    if ! [ -s "$mark" ] || ! docker image inspect $(cat "$mark") >/dev/null 2>&1; then
      case $failed in *" $version "*) continue ;; esac
      said=$(docker load -q -i "$archive" 2>&1)
      names=$(echo "$said" | sed -n 's/^Loaded image: //p' | tr '\n' ' ')
      if [ -z "$names" ]; then
        failed="$failed $version "
        echo "no image with a name could be loaded from $archive: $said"
        continue
      fi
      echo "$names" >"$mark"
      echo "loaded $names"
    fi
    kept="$kept $(cat "$mark") "
  done
}

# -x: not the file systems of running functions, which are mounted inside and made of what is counted anyway.
measure() {
  measured=$(du -skx "$DATA_ROOT" 2>/dev/null | awk '{ printf "%.0f", $1 * 1024 }')
  # A walk that failed says nothing.
  [ "${measured:-0}" -gt 0 ] && used=$measured
}

# Images brought along stay: nothing could bring them back.
remove_images() {
  docker image prune -f
  docker image ls --format '{{.Repository}}:{{.Tag}}' | while read -r image; do
    case $kept in *" $image "*) continue ;; esac
    # Refused for an image that a container uses.
    docker image rm "$image"
  done
}

# Not what LocalStack is putting together at this moment: that is a container which does not run either.
free_space() {
  before=$used
  docker container prune -f --filter until=2m >/dev/null 2>&1
  measure
  removed=
  if [ "$used" -gt "$CAP" ]; then
    removed=$(remove_images 2>/dev/null | sed -n 's/^Untagged: \([^@]*\)$/ \1/p' | tr -d '\n')
    measure
  fi
  if [ "$used" -lt "$before" ]; then
    echo "removed what no function uses:${removed:- stopped containers}; $(mib "$used") of $(mib "$CAP") are used"
  elif [ "$stuck" = 0 ]; then
    echo "functions in use hold $(mib "$used"), more than the $(mib "$CAP") they may: nothing is left to remove"
  fi
  if [ "$used" -gt "$CAP" ]; then stuck=1; else stuck=0; fi
}

watch() {
  until docker info >/dev/null 2>&1; do sleep 0.2; done
  # Containers that a predecessor ran.
  docker container prune -f --filter until="$started" >/dev/null
  used=0 stuck=0 failed=
  while :; do
    if [ -n "$IMAGES_FOLDER" ]; then load_images; else kept=; fi
    measure
    if [ "$used" -gt "$CAP" ]; then free_space; fi
    put lambda-images.used "$used"
    sleep "$INTERVAL"
  done
}

started=$(date +%s)
clean_up
start_daemon
trap 'kill -TERM "$daemon" 2>/dev/null' TERM INT
watch &
watcher=$!
# A signal ends `wait` early. The daemon's end is this container's: kubelet starts it again.
while :; do
  wait "$daemon"
  code=$?
  kill -0 "$daemon" 2>/dev/null || break
done
kill "$watcher" 2>/dev/null
rm -f "$STATE/lambda-images.used"
exit "$code"

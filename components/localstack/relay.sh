#!/bin/sh
# The uploads container: runs the relay that S3 uploads pass, and cuts those under way while storage is over its limit.
# Needs nginx, and of busybox awk, sed, sleep and wget.
#
# STATE         folder in which the watch container tells that the limit is reached
# TMP           private, writable folder
# UPLOADS_CONF  the relay's configuration
set -u

start_relay() { nginx -e stderr -p "$TMP/" -c "$UPLOADS_CONF" & relay=$!; }

# nginx ends its workers, and with them every upload under way, at once on TERM.
cut_uploads() {
  kill -TERM "$relay" 2>/dev/null; wait "$relay" 2>/dev/null
  start_relay
}

# Uploads under way; where the relay does not answer nobody may take that for none.
uploads() {
  timeout 5 wget -q -O - "http://$address/" 2>/dev/null | awk '/Writing/ { n = $4 - 1 } END { print n == "" ? 1 : n }'
}

stop() { kill -QUIT "$relay" 2>/dev/null; wait "$relay" 2>/dev/null; exit 0; }

address=$(sed -n 's/^ *listen \([^;]*\);/\1/p' "$UPLOADS_CONF")
# QUIT is what the nginx image asks to be stopped with; as process 1 the shell would ignore it for the whole grace period.
trap stop TERM INT QUIT
start_relay
while :; do
  kill -0 "$relay" 2>/dev/null || start_relay
  if [ -f "$STATE/over" ] && [ "$(uploads)" -gt 0 ]; then cut_uploads; fi
  sleep 1 &
  wait $!
done

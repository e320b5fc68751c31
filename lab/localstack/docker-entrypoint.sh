#!/bin/bash
# Starts LocalStack as its own image does: settings without their prefix, the BOOT scripts, then the supervisor.
set -eo pipefail

for name in $(compgen -e LOCALSTACK_); do
  case $name in
    # LocalStack reads the first by their full name; the second are links that Docker makes.
    LOCALSTACK_HOST* | LOCALSTACK_[0-9]*) ;;
    LOCALSTACK_?*) export "${name#LOCALSTACK_}=${!name}" ;;
  esac
done

mkdir -p /var/lib/localstack/logs
# shellcheck disable=SC1091  # only the image has it
source /opt/code/localstack/.venv/bin/activate
[[ ! -d /etc/localstack/init/boot.d ]] || python3 -m localstack.runtime.init BOOT
exec localstack-supervisor

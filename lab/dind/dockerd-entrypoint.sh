#!/bin/sh
# What the entry point of Docker's dind image does for `dockerd …`, as far as the lab needs it.

# Legacy iptables where the kernel cannot do with nftables what Docker asks for.
try='POSTROUTING --source 127.0.0.99 --match addrtype --dst-type LOCAL --jump MASQUERADE'
# shellcheck disable=SC2086 # the rule is words
if iptables --table nat --append $try 2>/dev/null; then
  iptables --table nat --delete $try
else
  export PATH="/usr/local/sbin/.iptables-legacy:$PATH"
fi

# In cgroup v2 a group has processes, or groups with limits below it, not both: the processes step aside.
root=/sys/fs/cgroup
if [ -f $root/cgroup.controllers ]; then
  mkdir -p $root/init
  processes=$(cat $root/cgroup.procs)
  for pid in $processes; do echo "$pid" >$root/init/cgroup.procs; done 2>/dev/null
  sed 's/\([a-z_]\+\)/+\1/g' $root/cgroup.controllers >$root/cgroup.subtree_control
fi

exec "$@"

#!/bin/bash
# Makes an image of unpacked packages: what their installers would have done, and what LocalStack's own image has.
# Runs as root inside the image's root folder, without a network.
set -eu
venv=/opt/code/localstack/.venv

cat >/etc/passwd <<END
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
localstack:x:1000:1000::/home/localstack:/bin/bash
END
printf '%s\n' root:x:0: nogroup:x:65534: localstack:x:1000: >/etc/group
printf '%s\n' '127.0.0.1 localhost' '::1 localhost' >/etc/hosts
# Without this file, names are asked of DNS before /etc/hosts is read.
printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >/etc/nsswitch.conf
mkdir -p /etc/ssl/certs
cat /usr/share/ca-certificates/mozilla/*.crt >/etc/ssl/certs/ca-certificates.crt
ln -sf mawk /usr/bin/awk
ln -sf which.debianutils /usr/bin/which

mkdir -p /usr/local/bin /tmp/localstack /var/lib/localstack /home/localstack
mkdir -p /etc/localstack/init/{boot,start,ready,shutdown}.d
install /build/docker-entrypoint.sh /usr/local/bin
# Marks that tell LocalStack that it runs in its container.
touch /tmp/localstack/.marker /usr/lib/localstack/.community-version
ln -s $venv/bin/{aws,awslocal} /usr/local/bin

# Java's own classes, read at each start in the form that they have in memory.
/usr/lib/localstack/java/21/bin/java -Xshare:dump >/dev/null

rm -rf /usr/share/{doc,man,info,locale,lintian,bug} /usr/lib/python3*/{ensurepip,test,idlelib,tkinter,lib2to3}
# Never compared with the sources: in the image those have other times, and a user who cannot write would compile all
# of it again at every start.
python3 -m compileall -q -j 2 --invalidation-mode unchecked-hash /usr/lib/python3* $venv/lib
PYTHONDONTWRITEBYTECODE=1 OVERRIDE_IN_DOCKER=1 $venv/bin/python -m localstack.aws.spec

chown 1000:1000 /home/localstack
chmod 777 /opt/code/localstack /tmp/localstack /var/lib/localstack
chmod -R a+rwX /usr/lib/localstack
chmod 755 /root

#!/bin/sh
# Downloads LocalStack and its DynamoDB. Runs as root inside a throwaway root folder, which has this folder's files in
# /build, Python, Maven and the machine's way to the package registries. What it makes is moved into the image.
set -eu
cd /build
authorities=/etc/ssl/certs/ca-certificates.crt

python3 -c 'import sys; sys.exit(sys.version_info < (3, 12))' || {
  echo "LocalStack needs Python 3.12, and this release has $(python3 --version)" >&2
  exit 1
}

venv=/opt/code/localstack/.venv
python3 -m venv "$venv"
pip() { PIP_CERT=${PIP_CERT:-$authorities} "$venv/bin/pip" --disable-pip-version-check --quiet --quiet "$@"; }
install() { pip install --no-deps --require-hashes --no-compile --no-cache-dir --no-build-isolation --requirement "$1"; }
# Four packages have no wheels. They are built with the setuptools of the lock, which has to be there first.
sed -n '/^setuptools==/,/[^\\]$/p' requirements.txt >setuptools.txt
install setuptools.txt
install requirements.txt
pip uninstall --yes pip
packages=$(echo "$venv"/lib/python3*/site-packages)
# For the help texts of the AWS CLI, and for a Kinesis client that runs on another Java.
rm -r "$packages/awscli/examples" "$packages/amazon_kclpy/jars"
find "$packages" -type d -name tests -prune -exec rm -r {} +

python3 truststore.py "$authorities" authorities.jks
export MAVEN_OPTS="-Djavax.net.ssl.trustStore=/build/authorities.jks -Djavax.net.ssl.trustStorePassword=changeit"
JAVA_HOME=$(echo /usr/lib/jvm/java-21-openjdk-*)
export JAVA_HOME
/usr/share/maven/bin/mvn --batch-mode --quiet --strict-checksums dependency:copy-dependencies
dynamodb=/usr/lib/localstack/dynamodb-local/2
mkdir -p "$dynamodb"
mv DynamoDBLocal_lib "$dynamodb"
cd "$dynamodb"
rm -f DynamoDBLocal_lib/*.dll DynamoDBLocal_lib/*.dylib DynamoDBLocal_lib/*-linux-i386-*
# LocalStack's own agent, on no registry, allows tables more than 20 global indexes. Java insists on some agent here.
mv DynamoDBLocal_lib/byte-buddy-agent-*.jar ddb-local-loader-0.1.jar
python3 /build/launcher_jar.py .

# LocalStack takes for Java 21 what lies here. Half of it is enough.
modules=java.base,java.compiler,java.desktop,java.instrument,java.management,java.naming,java.security.jgss,java.sql
mkdir -p /usr/lib/localstack/java
"$JAVA_HOME/bin/jlink" --add-modules "$modules,jdk.crypto.ec,jdk.management,jdk.unsupported,jdk.zipfs" \
  --strip-java-debug-attributes --no-header-files --no-man-pages --output /usr/lib/localstack/java/21

"""Makes DynamoDBLocal.jar, which LocalStack runs, out of the jars in DynamoDBLocal_lib beside it: launcher_jar.py FOLDER

Amazon's download has such a jar; Maven Central has only the libraries. It names them and says how to log.
"""

import sys
import zipfile
from pathlib import Path

LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="Console" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{HH:mm:ss.SSS} %-5level %logger{36}: %msg%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="Console"/></Root>
  </Loggers>
</Configuration>
"""


def line(text: str) -> str:
    """A manifest's lines have at most 72 bytes; what goes on begins with a space."""
    parts = [text[:70], *(" " + text[start : start + 69] for start in range(70, len(text), 69))]
    return "".join(f"{part}\r\n" for part in parts)


folder = Path(sys.argv[1])
jars = sorted(str(jar.relative_to(folder)) for jar in (folder / "DynamoDBLocal_lib").glob("*.jar"))
manifest = [
    "Manifest-Version: 1.0",
    "Main-Class: com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
    "Class-Path: " + " ".join(jars),
]
with zipfile.ZipFile(folder / "DynamoDBLocal.jar", "w") as jar:
    jar.writestr("META-INF/MANIFEST.MF", "".join(map(line, manifest)))
    jar.writestr("log4j2.xml", LOGGING)

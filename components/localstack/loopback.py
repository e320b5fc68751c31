"""Run by LocalStack at its start (start.d), in its own process: its services ask its own S3 over loopback. Written after
LocalStack 4.14; where its inside is another, it goes on as it is.
"""

import logging

LOG = logging.getLogger("homecloud.loopback")

try:
    from localstack.utils.aws import aws_stack

    # Once s3.HOST has an address, services ask it for buckets, with a port that is LocalStack's own and no Service's:
    # no function could be made (measured: 404 for the bucket of the functions' code).
    aws_stack.CACHE_S3_HOSTNAME_DNS_STATUS = False
except Exception as error:
    LOG.warning("%s: %s", type(error).__name__, error)

"""Run by LocalStack once it is ready: localstack-persist reads the state of Lambda at the first request to it only, and
until then no queue calls a function and no function's URL answers.
"""

import os
import urllib.request

urllib.request.urlopen(f"{os.environ['AWS_ENDPOINT_URL']}/2015-03-31/functions/", timeout=60).read()

"""What the snippets of check.sh begin with."""

import datetime
import json
import os
import urllib.request

import boto3
import botocore.exceptions

s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
iam = boto3.client("iam", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")


def now():
    return datetime.datetime.now(datetime.timezone.utc)



"""Makes or reads a Kinesis stream: `stream.py create|read ENDPOINT STREAM`. `read` prints the lines of all records, as they were taken."""

import sys

import boto3

verb, endpoint, stream = sys.argv[1:]
kinesis = boto3.client("kinesis", region_name="eu-central-1", endpoint_url=endpoint)

if verb == "create":
    kinesis.create_stream(StreamName=stream, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
else:
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        where = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while where:
            answer = kinesis.get_records(ShardIterator=where, Limit=1000)
            for record in answer["Records"]:
                sys.stdout.write(record["Data"].decode().rstrip("\n") + "\n")
            where = answer.get("NextShardIterator") if answer["Records"] else None

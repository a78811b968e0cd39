"""aiokafka: kafka-python's protocol on asyncio."""

import asyncio
import json
import sys
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

import plan


class Client:
    def __init__(self, given):
        self.plan = given
        self.records = plan.records_of(given)
        self.common = {"bootstrap_servers": given["bootstrap"]}

    async def create(self, step):
        async with Admin(self.common) as admin:
            answer = await admin.create_topics([NewTopic(step["topic"], step["partitions"], 1)])
        return succeeded(answer.topic_errors)

    async def produce(self, step):
        codec = None if step["codec"] == "none" else step["codec"]
        settings = {"compression_type": codec, "enable_idempotence": step["idempotent"], "acks": "all", "linger_ms": 5}
        async with AIOKafkaProducer(**self.common, **settings) as producer:
            sent = [
                await producer.send(
                    step["topic"],
                    key=record["key"],
                    value=record["value"],
                    headers=record["headers"],
                    timestamp_ms=record["timestamp"],
                    partition=record["partition"],
                )
                for record in self.records
            ]
            places = await asyncio.wait_for(asyncio.gather(*sent), 20)
        return [[place.partition, place.offset] for place in places]

    def consumer(self):
        return AIOKafkaConsumer(**self.common, enable_auto_commit=False, auto_offset_reset="none")

    def partitions(self, step):
        return [TopicPartition(step["topic"], number) for number in range(step["partitions"])]

    async def read(self, step):
        read = []
        async with self.consumer() as consumer:
            consumer.assign(self.partitions(step))
            await consumer.seek_to_beginning()
            deadline = time.monotonic() + 20
            while len(read) < step["count"] and time.monotonic() < deadline:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        at = (record.partition, record.offset, record.timestamp)
                        read.append(plan.line(*at, record.key, record.value, record.headers))
        return read

    async def metadata(self, step):
        async with Admin(self.common) as admin:
            return len((await admin.describe_topics([step["topic"]]))[0]["partitions"])

    async def ends(self, step):
        partitions = self.partitions(step)
        async with self.consumer() as consumer:
            first = await consumer.beginning_offsets(partitions)
            end = await consumer.end_offsets(partitions)
        return [[first[partition], end[partition]] for partition in partitions]

    async def time(self, step):
        partition = TopicPartition(step["topic"], step["partition"])
        async with self.consumer() as consumer:
            return (await consumer.offsets_for_times({partition: step["timestamp"]}))[partition].offset

    async def config(self, step):
        async with Admin(self.common) as admin:
            resource = ConfigResource(ConfigResourceType.TOPIC, step["topic"])
            for answer in await admin.describe_configs([resource]):
                for code, message, _kind, _name, entries in (tuple(entry) for entry in answer.resources):
                    if code:
                        raise RuntimeError(f"error {code}: {message}")
                    return next(entry[1] for entry in entries if entry[0] == step["key"])

    async def cluster(self, _step):
        async with Admin(self.common) as admin:
            cluster = await admin.describe_cluster()
        return {"id": cluster["cluster_id"], "brokers": len(cluster["brokers"])}

    async def delete(self, step):
        async with Admin(self.common) as admin:
            answer = await admin.delete_topics([step["topic"]])
        return succeeded(answer.topic_error_codes)


class Admin:
    """An admin client for the length of a block."""

    def __init__(self, common):
        self.client = AIOKafkaAdminClient(**common)

    async def __aenter__(self):
        await self.client.start()
        return self.client

    async def __aexit__(self, *_):
        await self.client.close()


def succeeded(errors):
    for name, code, *_ in errors:
        if code:
            raise RuntimeError(f"{name}: error {code}")
    return True


async def main():
    await plan.carry_out(Client(json.load(sys.stdin)), "aiokafka", aiokafka.__version__)


asyncio.run(main())

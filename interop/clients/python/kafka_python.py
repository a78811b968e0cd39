"""kafka-python: all in Python."""

import asyncio
import json
import sys
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

import plan


class Client:
    def __init__(self, given):
        self.plan = given
        self.records = plan.records_of(given)
        self.common = {"bootstrap_servers": given["bootstrap"]}
        self.admin = KafkaAdminClient(**self.common)

    def create(self, step):
        self.admin.create_topics([NewTopic(step["topic"], step["partitions"], 1)])
        return True

    def produce(self, step):
        codec = None if step["codec"] == "none" else step["codec"]
        settings = {"compression_type": codec, "enable_idempotence": step["idempotent"], "acks": "all", "linger_ms": 5}
        producer = KafkaProducer(**self.common, **settings)
        sent = [self.send(producer, step["topic"], record) for record in self.records]
        producer.flush(20)
        places = []
        for future in sent:
            if isinstance(future, dict):
                places.append(future)
            else:
                place = future.get(20)
                places.append([place.partition, place.offset])
        producer.close()
        return places

    def send(self, producer, topic, record):
        if any(value is None for _, value in record["headers"]):
            return {"left_out": "a header needs a value"}
        return producer.send(
            topic,
            key=record["key"],
            value=record["value"],
            headers=record["headers"],
            timestamp_ms=record["timestamp"],
            partition=record["partition"],
        )

    def consumer(self):
        return KafkaConsumer(**self.common, group_id=None, enable_auto_commit=False, auto_offset_reset="none")

    def partitions(self, step):
        return [TopicPartition(step["topic"], number) for number in range(step["partitions"])]

    def read(self, step):
        consumer = self.consumer()
        consumer.assign(self.partitions(step))
        consumer.seek_to_beginning()
        read = []
        deadline = time.monotonic() + 20
        while len(read) < step["count"] and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=200).values():
                for record in records:
                    at = (record.partition, record.offset, record.timestamp)
                    read.append(plan.line(*at, record.key, record.value, record.headers))
        consumer.close()
        return read

    def metadata(self, step):
        return len(self.admin.describe_topics([step["topic"]])[0]["partitions"])

    def ends(self, step):
        consumer = self.consumer()
        partitions = self.partitions(step)
        first, end = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        consumer.close()
        return [[first[partition], end[partition]] for partition in partitions]

    def time(self, step):
        consumer = self.consumer()
        partition = TopicPartition(step["topic"], step["partition"])
        found = consumer.offsets_for_times({partition: step["timestamp"]})[partition]
        consumer.close()
        return found.offset

    def config(self, step):
        resource = ConfigResource(ConfigResourceType.TOPIC, step["topic"])
        described = self.admin.describe_configs([resource], config_filter="all")
        return described["topic"][step["topic"]][step["key"]]["value"]

    def cluster(self, _step):
        cluster = self.admin.describe_cluster()
        return {"id": cluster["cluster_id"], "brokers": len(cluster["brokers"])}

    def delete(self, step):
        self.admin.delete_topics([step["topic"]])
        return True


asyncio.run(plan.carry_out(Client(json.load(sys.stdin)), "kafka-python", kafka.__version__))

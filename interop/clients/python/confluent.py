"""confluent-kafka: librdkafka for Python."""

import asyncio
import json
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

import plan


class Client:
    def __init__(self, given):
        self.plan = given
        self.records = plan.records_of(given)
        self.common = {"bootstrap.servers": given["bootstrap"]}
        self.admin = AdminClient(self.common)

    def create(self, step):
        self.admin.create_topics([NewTopic(step["topic"], step["partitions"], 1)])[step["topic"]].result(20)
        return True

    def produce(self, step):
        settings = {"compression.type": step["codec"], "enable.idempotence": step["idempotent"], "acks": "all"}
        producer = Producer({**self.common, **settings, "linger.ms": 5})
        places = [None] * len(self.records)
        failures = []

        def told(at):
            def callback(error, message):
                if error is None:
                    places[at] = [message.partition(), message.offset()]
                else:
                    failures.append(str(error))

            return callback

        for at, record in enumerate(self.records):
            partition = {} if record["partition"] is None else {"partition": record["partition"]}
            producer.produce(
                step["topic"],
                key=record["key"],
                value=record["value"],
                headers=record["headers"],
                timestamp=record["timestamp"],
                on_delivery=told(at),
                **partition,
            )
        unsent = producer.flush(20)
        if unsent or failures:
            raise RuntimeError(f"{unsent} not delivered in time; failed: {failures[:3]}")
        return places

    def consumer(self):
        # the group is never joined and nothing is committed to it: the client only insists on a name
        return Consumer({**self.common, "group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error"})

    def read(self, step):
        consumer = self.consumer()
        beginning = confluent_kafka.OFFSET_BEGINNING
        consumer.assign([TopicPartition(step["topic"], number, beginning) for number in range(step["partitions"])])
        read = []
        deadline = time.monotonic() + 20
        while len(read) < step["count"] and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                raise RuntimeError(message.error())
            timestamp = message.timestamp()[1]
            headers = message.headers() or []
            at = (message.partition(), message.offset(), timestamp)
            read.append(plan.line(*at, message.key(), message.value(), headers))
        consumer.close()
        return read

    def metadata(self, step):
        return len(self.admin.list_topics(step["topic"], timeout=10).topics[step["topic"]].partitions)

    def ends(self, step):
        consumer = self.consumer()
        partitions = [TopicPartition(step["topic"], number) for number in range(step["partitions"])]
        ends = [list(consumer.get_watermark_offsets(partition, timeout=10)) for partition in partitions]
        consumer.close()
        return ends

    def time(self, step):
        consumer = self.consumer()
        at = TopicPartition(step["topic"], step["partition"], step["timestamp"])
        found = consumer.offsets_for_times([at], timeout=10)[0]
        consumer.close()
        if found.error:
            raise RuntimeError(found.error)
        return found.offset

    def config(self, step):
        resource = ConfigResource(ConfigResource.Type.TOPIC, step["topic"])
        return self.admin.describe_configs([resource])[resource].result(10)[step["key"]].value

    def cluster(self, _step):
        cluster = self.admin.describe_cluster().result(10)
        return {"id": cluster.cluster_id, "brokers": len(cluster.nodes)}

    def delete(self, step):
        self.admin.delete_topics([step["topic"]])[step["topic"]].result(20)
        return True


asyncio.run(plan.carry_out(Client(json.load(sys.stdin)), "confluent-kafka", confluent_kafka.version()))

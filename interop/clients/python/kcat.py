"""kcat, one call of it per step, or per record to write: its headers are those of all records of a call."""

import asyncio
import json
import re
import subprocess
import sys
import tempfile

import plan

NO_ADMIN = "kcat has no admin calls"


class Client:
    def __init__(self, given):
        self.plan = given
        self.records = plan.records_of(given)
        self.command = ["kcat", "-b", given["bootstrap"]]

    def kcat(self, *arguments, stdin=b""):
        done = subprocess.run([*self.command, *arguments], input=stdin, capture_output=True, timeout=30)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def produce(self, step):
        return [self.produce_one(step, record) for record in self.records]

    def produce_one(self, step, record):
        if record["key"] == b"":
            return {"left_out": "an empty key counts as none"}
        if record["value"] == b"":
            return {"left_out": "an empty value counts as none"}
        arguments = ["-P", "-t", step["topic"], "-z", step["codec"]]
        arguments += ["-X", f"enable.idempotence={str(step['idempotent']).lower()}"]
        if record["partition"] is not None:
            arguments += ["-p", str(record["partition"])]
        if record["key"] is not None:
            if b"\0" in record["key"]:
                return {"left_out": "a key with a zero byte does not fit into an argument"}
            arguments += ["-k", record["key"]]
        for name, value in record["headers"]:
            arguments += ["-H", name if value is None else name.encode() + b"=" + value]
        if record["value"] is None:
            # a line that ends after its key: kcat passes over empty lines and files
            self.kcat(*arguments, "-Z", "-K", "\x1f", stdin=record["key"] + b"\x1f\n")
            return None
        with tempfile.NamedTemporaryFile() as file:
            file.write(record["value"])
            file.flush()
            self.kcat(*arguments, file.name)
        return None

    def read(self, step):
        read = []
        for number in range(step["partitions"]):
            # lengths before the bytes; -1 is null
            form = r"%p %o %T %h\n%K %S\n%k%s"
            at = ["-t", step["topic"], "-p", str(number), "-o", "beginning"]
            read += lines(self.kcat("-C", "-q", "-e", *at, "-f", form))
        return read

    def create(self, _step):
        raise plan.NoSuchCall(NO_ADMIN)

    config = cluster = delete = create

    def metadata(self, step):
        listed = json.loads(self.kcat("-L", "-J", "-t", step["topic"]))
        return len(listed["topics"][0]["partitions"])

    def ends(self, step):
        ends = []
        for number in range(step["partitions"]):
            ends.append([self.query(step["topic"], number, time) for time in (-2, -1)])
        return ends

    def time(self, step):
        return self.query(step["topic"], step["partition"], step["timestamp"])

    def query(self, topic, partition, time):
        said = self.kcat("-Q", "-t", f"{topic}:{partition}:{time}").decode()
        return int(re.search(r"offset (-?\d+)", said).group(1))


def lines(output):
    """Takes apart what the format above printed."""
    read = []
    while output:
        place, lengths, output = output.split(b"\n", 2)
        partition, offset, timestamp, *headers = place.decode().split(" ", 3)
        key_length, value_length = (int(length) for length in lengths.split())
        key, output = take(output, key_length)
        value, output = take(output, value_length)
        headers = [header.split("=", 1) for header in ",".join(headers).split(",") if header]
        headers = [(name, None if data == "NULL" else data.encode()) for name, data in headers]
        read.append(plan.line(int(partition), int(offset), int(timestamp), key, value, headers))
    return read


def take(data, length):
    return (None, data) if length < 0 else (data[:length], data[length:])


def version():
    said = subprocess.run(["kcat", "-V"], capture_output=True).stdout.decode()
    return re.search(r"Version (\d+\.\d+\.\d+)", said).group(1)


asyncio.run(plan.carry_out(Client(json.load(sys.stdin)), "kcat", version()))

"""What the Python programs share: reading a plan, carrying out its steps, printing the answer. See ../README.md."""

import base64
import inspect
import json
import sys


class NoSuchCall(Exception):
    """The client has nothing for this step; says why."""


def encode(data):
    return None if data is None else base64.b64encode(bytes(data)).decode()


def decode(text):
    return None if text is None else base64.b64decode(text)


def records_of(plan):
    return [
        {
            "key": decode(record["key"]),
            "value": decode(record["value"]),
            "headers": [(name, decode(value)) for name, value in record["headers"]],
            "timestamp": record["timestamp"],
            "partition": record["partition"],
        }
        for record in plan["records"]
    ]


def line(partition, offset, timestamp, key, value, headers):
    return {
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp,
        "key": encode(key),
        "value": encode(value),
        "headers": [[name, encode(data)] for name, data in headers],
    }


async def carry_out(client, name, version):
    """Calls `client.<do>(step)` for each step; plain functions and coroutines alike."""
    results = []
    for step in client.plan["steps"]:
        try:
            value = getattr(client, step["do"])(step)
            if inspect.isawaitable(value):
                value = await value
            results.append({"ok": value})
        except NoSuchCall as why:
            results.append({"none": str(why)})
        except Exception as error:  # whatever the client throws is the result
            results.append({"error": f"{type(error).__name__}: {error}"})
    json.dump({"client": name, "version": version, "results": results}, sys.stdout)
    print()

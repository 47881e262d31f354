"""Prints every change of status, each at least once (pip install redis)."""
import json
import os

import redis

STREAM, GROUP, READER = "{kmsnotif}:events", "ehospital", "reader-1"
client = redis.Redis.from_url(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), socket_connect_timeout=5, socket_timeout=15
)
try:
    client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
except redis.ResponseError as error:
    if "BUSYGROUP" not in str(error):
        raise

newest = {}  # Keep this in your database: notification -> largest seq.
cursor = "0"  # First what was handed out before a crash, then ">", what is new.
while True:
    answer = client.xreadgroup(GROUP, READER, {STREAM: cursor}, count=100, block=5000)
    # Newer versions of the library may answer a mapping, older ones a list of pairs.
    streams = answer.items() if isinstance(answer, dict) else answer or []
    entries = [entry for _, found in streams for entry in found]
    if cursor == "0" and not entries:
        cursor = ">"
    for entry_id, fields in entries:
        # An entry that was trimmed while it was in hand has no fields any more.
        if fields:
            event = json.loads(fields[b"event"])
            # A rejected job became no notification; an event of the sender itself has no id either.
            key = event["notification"] or (event["tenant"], event["id"], event["at"], event["status"])
            if event["seq"] > newest.get(key, -1):
                newest[key] = event["seq"]
                print(event["tenant"], event["id"], event["status"], event["reason"] or "", flush=True)
        client.xack(STREAM, GROUP, entry_id)

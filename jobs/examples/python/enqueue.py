"""Enqueues one job and prints its stream id (pip install redis)."""
import json
import os

import redis

client = redis.Redis.from_url(
    os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), socket_connect_timeout=5, socket_timeout=10
)
job = {
    "v": 1,
    "id": "REG-2026-000123",
    "tenant": "rs-harapan",
    "kind": "registration_confirmed",
    "to": "+6281234567890",
    "language": "id",
    "data": {
        "patient_name": "Siti Rahma",
        "scheduled_at": "2026-11-24T09:30:00+07:00",
        "doctor_name": "dr. Andi Wijaya, Sp.JP",
        "clinic_name": "Poli Jantung",
        "hospital_contact": "+62 21 555 0100",
    },
}
stream_id = client.xadd("{kmsnotif}:jobs", {"job": json.dumps(job, ensure_ascii=False)})
print(stream_id.decode())

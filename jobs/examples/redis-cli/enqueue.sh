#!/bin/sh
# Enqueues one job with redis-cli and prints its stream id.
set -eu

redis-cli -u "${REDIS_URL:-redis://127.0.0.1:6379}" -e XADD '{kmsnotif}:jobs' '*' job '{
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
    "hospital_contact": "+62 21 555 0100"
  }
}'

// Enqueues one job and prints its stream id (dotnet add package StackExchange.Redis).
using System;
using System.Text.Json;
using StackExchange.Redis;

// StackExchange.Redis takes "host:port,password=…,ssl=true", not a redis:// address.
var redis = await ConnectionMultiplexer.ConnectAsync(Environment.GetEnvironmentVariable("REDIS_HOST") ?? "127.0.0.1:6379");
var job = new
{
    v = 1,
    id = "REG-2026-000123",
    tenant = "rs-harapan",
    kind = "registration_confirmed",
    to = "+6281234567890",
    language = "id",
    data = new
    {
        patient_name = "Siti Rahma",
        scheduled_at = "2026-11-24T09:30:00+07:00",
        doctor_name = "dr. Andi Wijaya, Sp.JP",
        clinic_name = "Poli Jantung",
        hospital_contact = "+62 21 555 0100",
    },
};
RedisValue streamId = await redis.GetDatabase().StreamAddAsync("{kmsnotif}:jobs", "job", JsonSerializer.Serialize(job));
Console.WriteLine(streamId);

<?php
// Enqueues one job and prints its stream id (the extension phpredis).
$url = parse_url(getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379');
$redis = new Redis();
$redis->connect($url['host'], $url['port'] ?? 6379, 5.0);
$redis->setOption(Redis::OPT_READ_TIMEOUT, 10);
if (isset($url['pass'])) {
    $redis->auth(empty($url['user']) ? $url['pass'] : [$url['user'], $url['pass']]);
}
$job = [
    'v' => 1,
    'id' => 'REG-2026-000123',
    'tenant' => 'rs-harapan',
    'kind' => 'registration_confirmed',
    'to' => '+6281234567890',
    'language' => 'id',
    'data' => [
        'patient_name' => 'Siti Rahma',
        'scheduled_at' => '2026-11-24T09:30:00+07:00',
        'doctor_name' => 'dr. Andi Wijaya, Sp.JP',
        'clinic_name' => 'Poli Jantung',
        'hospital_contact' => '+62 21 555 0100',
    ],
];
$json = json_encode($job, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);
echo $redis->xAdd('{kmsnotif}:jobs', '*', ['job' => $json]), PHP_EOL;

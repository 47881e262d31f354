// Enqueues one job and prints its stream id (npm install redis).
import { createClient } from "redis";

const client = createClient({
  url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379",
  socket: { connectTimeout: 5000, socketTimeout: 10000 },
});
client.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
await client.connect();
const job = {
  v: 1,
  id: "REG-2026-000123",
  tenant: "rs-harapan",
  kind: "registration_confirmed",
  to: "+6281234567890",
  language: "id",
  data: {
    patient_name: "Siti Rahma",
    scheduled_at: "2026-11-24T09:30:00+07:00",
    doctor_name: "dr. Andi Wijaya, Sp.JP",
    clinic_name: "Poli Jantung",
    hospital_contact: "+62 21 555 0100",
  },
};
console.log(await client.xAdd("{kmsnotif}:jobs", "*", { job: JSON.stringify(job) }));
client.destroy();

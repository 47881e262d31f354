// Enqueues one job and prints its stream id (redis.clients:jedis 5 or newer).
import java.net.URI;
import java.util.Map;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.params.XAddParams;

public class Enqueue {
    public static void main(String[] args) {
        String url = System.getenv().getOrDefault("REDIS_URL", "redis://127.0.0.1:6379");
        String job = """
            {
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
            }""";
        try (Jedis jedis = new Jedis(URI.create(url), 10_000)) {
            System.out.println(jedis.xadd("{kmsnotif}:jobs", Map.of("job", job), XAddParams.xAddParams()));
        }
    }
}

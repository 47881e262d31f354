//! Something on every screen of the console: messages of several fates, purchases, prices, wishes, keys, people.

use chrono::{TimeDelta, Utc};
use kmsnotif::people::Role;
use uuid::Uuid;

use super::app::TestApp;
use super::job::{appointment, phone, prescription, registration};

/// What was put there, for the addresses of pages.
#[derive(Debug)]
pub struct Furniture {
    pub notification: Uuid,
    pub failed: Uuid,
    pub purchase: Uuid,
}

impl Furniture {
    /// The address of a route, if a page can be opened there.
    pub fn address(&self, route: &str) -> Option<String> {
        // A stream and a file are no pages.
        if route.ends_with("/live") || route.ends_with("/export") || route.starts_with("/asset/") {
            return None;
        }
        let filled = route.replace("{tenant}", "rs-harapan").replace("{notification}", &self.notification.to_string());
        let filled = filled.replace("{purchase}", &self.purchase.to_string());
        assert!(!filled.contains('{'), "{route}: say here what its address is");
        Some(filled)
    }
}

impl TestApp {
    /// Puts something on every screen of `rs-harapan`.
    pub async fn furnish(&mut self, url: &str) -> Furniture {
        let mut admin = self.browser(url, Role::Administrator, "rs-harapan").await;
        admin.open("/t/rs-harapan/opt-outs").await;
        admin.submit("/t/rs-harapan/opt-outs", &[("to", &phone(3)), ("scope", "all"), ("wish", "stop")]).await;
        let lost = phone(7).replace("0007", "9010");
        let visit = appointment("APP-1-1", 1).data("scheduled_at", (Utc::now() + TimeDelta::days(3)).to_rfc3339());
        self.enqueue_all(&[
            registration("REG-1").language("en"),
            prescription("RX-3").to(phone(3)),
            registration("REG-9").to(lost),
            visit,
        ])
        .await;
        self.enqueue_raw(b"no job").await;
        self.wait_for_rejected(1).await;
        let notification = self.wait_for("REG-1", "read").await.notification;
        self.wait_for("RX-3", "not_sent").await;
        let failed = self.wait_for("REG-9", "failed").await.notification;
        admin.open("/t/rs-harapan/credits").await;
        let order = [("amount", "250000"), ("email", "keuangan@rs-harapan.example")];
        admin.submit("/t/rs-harapan/credits/purchase", &order).await;
        let purchase = sqlx::query_scalar("select purchase_id from purchase").fetch_one(&self.pool).await.unwrap();
        let price = [("country", "ID"), ("currency", "IDR"), ("category", "marketing"), ("price", "586.33")];
        let day = (Utc::now() + TimeDelta::days(30)).format("%Y-%m-%d").to_string();
        admin.submit("/prices", &[&price[..], &[("effective", day.as_str()), ("do", "set")]].concat()).await;
        admin.open("/t/rs-harapan/keys").await;
        admin.post("/t/rs-harapan/keys", &[("name", "ehospital"), ("scope", "credit:read")]).await;
        admin.submit("/queue/pause", &[("tenant", "rs-harapan"), ("kind", "consultation_reminder")]).await;
        Furniture { notification, failed, purchase }
    }
}

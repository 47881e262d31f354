//! How a TestApp is put together: a database, a namespace, a simulator, a receiver, tenants with credit, workers.

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Duration;

use kmsnotif::config::WorkerConfig;
use kmsnotif::credit::ledger;
use kmsnotif::credit::price::{self, PriceKey};
use kmsnotif::render::{Category, Templates, creation_payload};
use kmsnotif::secret::{Keyring, Secret, SecretKeys};
use kmsnotif::simulator::{self, KnownTemplate, Simulator, TemplateState, Untidiness};
use kmsnotif::tenant::{self, ConfigurationChange, NewTenant, TenantChange, phone};
use rust_decimal::Decimal;
use sqlx::PgPool;
use tokio::net::TcpListener;

use super::app::{Expected, TestApp};
use super::database::Database;
use super::namespace::Namespace;
use super::receiver::{APP_SECRET, Receiver};

/// The keys of all tests: 32 bytes of zero.
pub const SECRET_KEYS: &str = "test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A tenant to be seeded.
#[derive(Debug, Clone)]
struct Seed {
    code: &'static str,
    rate: u32,
    configured: bool,
}

/// What a TestApp is to be like.
pub struct Builder {
    tenants: Vec<Seed>,
    credit: Decimal,
    price: Option<Decimal>,
    workers: usize,
    pub(super) worker: WorkerConfig,
    pub(super) read_timeout: Duration,
    simulator: simulator::Options,
    redis_url: Option<String>,
    postgres_url: Option<String>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            tenants: vec![Seed { code: "rs-harapan", rate: 1_000_000, configured: true }],
            credit: Decimal::from(1_000_000),
            price: Some(Decimal::new(35_665, 2)),
            workers: 1,
            worker: WorkerConfig {
                concurrency: 64,
                lease: Duration::from_secs(5),
                unknown_window: Duration::from_mins(10),
                attempts_max: 8,
            },
            read_timeout: Duration::from_secs(15),
            simulator: simulator::Options {
                app_secret: APP_SECRET.to_owned(),
                templates: known_templates(),
                mps: 0,
                pair_limit: false,
                status_delay: Duration::from_millis(20),
                silence: Duration::from_secs(30),
                untidiness: Untidiness { twice_percent: 0, disorder_percent: 0 },
                // All that arrived is counted in the end.
                phones_max: 100_000,
                messages_per_phone_max: 10_000,
                ..simulator::Options::default()
            },
            redis_url: None,
            postgres_url: None,
        }
    }

    /// One more tenant, which sends at this rate.
    pub fn tenant(mut self, code: &'static str, rate: u32) -> Self {
        self.tenants.push(Seed { code, rate, configured: true });
        self
    }

    /// No tenant has a WhatsApp configuration.
    pub fn unconfigured(mut self) -> Self {
        self.tenants.iter_mut().for_each(|tenant| tenant.configured = false);
        self
    }

    /// What each tenant may spend.
    pub fn credit(mut self, credit: u32) -> Self {
        self.credit = credit.into();
        self
    }

    /// What one notification costs; none for an empty price list.
    pub fn price(mut self, price: Option<u32>) -> Self {
        self.price = price.map(Decimal::from);
        self
    }

    /// Workers inside this process, from the start.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How long a silent worker keeps its jobs.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.worker.lease = lease;
        self
    }

    /// How long an unknown outcome waits for evidence.
    pub fn unknown_window(mut self, window: Duration) -> Self {
        self.worker.unknown_window = window;
        self
    }

    /// Attempts that count, at most.
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.worker.attempts_max = attempts;
        self
    }

    /// How long an answer may take.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// How long the simulator takes for each answer.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.simulator.latency = latency;
        self
    }

    /// The simulator keeps Meta's limit of messages to one patient.
    pub fn pair_limit(mut self) -> Self {
        self.simulator.pair_limit = true;
        self
    }

    /// Messages a second that the simulator takes of a sender.
    pub fn mps(mut self, mps: u32) -> Self {
        self.simulator.mps = mps;
        self
    }

    /// The simulator's accounts begin without templates, and decide about new ones at once.
    pub fn no_templates(mut self) -> Self {
        self.simulator.templates.clear();
        self.simulator.review_delay = Duration::ZERO;
        self
    }

    /// A Redis of the test's own.
    pub fn redis(mut self, url: &str) -> Self {
        self.redis_url = Some(url.to_owned());
        self
    }

    /// A Postgres of the test's own.
    pub fn postgres(mut self, url: &str) -> Self {
        self.postgres_url = Some(url.to_owned());
        self
    }

    /// Starts everything.
    pub async fn start(mut self) -> TestApp {
        // Fails when another test was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if std::env::var_os("KMSNOTIF_TEST_LOG").is_some() {
            let log = kmsnotif::config::LogConfig::from_env(&kmsnotif::config::environment).unwrap();
            kmsnotif::telemetry::init(&log, &kmsnotif::telemetry::Traces::default());
        }
        let database = match self.postgres_url.take() {
            Some(url) => Database::migrate(&url).await,
            None => Database::create().await,
        };
        let namespace = Namespace::create(self.redis_url.take()).await;
        let receiver = Receiver::start(database.pool.clone()).await;
        self.simulator.webhook_url = Some(receiver.url.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let simulator = Simulator::start(listener, self.simulator.clone()).unwrap();
        self.seed(&database.pool).await;
        let workers = self.workers;
        let mut app = TestApp {
            pool: database.pool.clone(),
            database,
            namespace,
            simulator,
            receiver,
            builder: self,
            workers: Vec::new(),
            expected: Expected::default(),
            finished: false,
        };
        for _ in 0..workers {
            app.start_worker();
        }
        app
    }

    async fn seed(&self, pool: &PgPool) {
        let currency = tenant::currency::parse("IDR").unwrap();
        let country = "ID".parse().unwrap();
        for (index, seed) in self.tenants.iter().enumerate() {
            let new = NewTenant {
                code: seed.code.to_owned(),
                name: format!("RS {}", seed.code),
                country,
                currency,
                time_zone: chrono_tz::Asia::Jakarta,
                language: kmsnotif_jobs::Language::Id,
                settings: TenantChange::default(),
            };
            let tenant = tenant::store::insert(pool, &new, "test").await.unwrap();
            if !self.credit.is_zero() {
                ledger::store::adjust(pool, tenant.id, self.credit, "seed", "test").await.unwrap();
            }
            if seed.configured {
                configure(pool, seed.code, 1_001 + index, seed.rate, &format!("token-{}", seed.code)).await;
            }
        }
        if let Some(price) = self.price {
            let key = PriceKey { country, currency, category: Category::Utility };
            let first = chrono::NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
            price::store::set(pool, key, price, first, "test").await.unwrap();
        }
    }
}

/// Opens and seals tokens as the workers of the test do.
pub fn keyring() -> Keyring {
    Keyring::new(&SecretKeys::parse(SECRET_KEYS).unwrap())
}

/// Sets a tenant's WhatsApp configuration.
pub async fn configure(pool: &PgPool, code: &str, phone_number_id: usize, rate: u32, token: &str) {
    let country = "ID".parse().unwrap();
    let change = ConfigurationChange {
        sender: phone::parse_sender(&format!("+6221555{:04}", phone_number_id % 10_000), country).unwrap(),
        phone_number_id: phone_number_id.to_string(),
        waba_id: (phone_number_id + 1_000).to_string(),
        country,
        currency: tenant::currency::parse("IDR").unwrap(),
        rate: Some(rate),
        active: Some(true),
        token: Some(Secret::new(token)),
    };
    tenant::store::set_configuration(pool, &keyring(), code, &change, "test").await.unwrap();
}

/// The templates of the product, approved at Meta; loaded once, for it takes a while without optimisation.
fn known_templates() -> Vec<KnownTemplate> {
    static KNOWN: LazyLock<Vec<KnownTemplate>> = LazyLock::new(load_templates);
    KNOWN.clone()
}

fn load_templates() -> Vec<KnownTemplate> {
    let templates = Templates::load().unwrap();
    templates
        .iter()
        .map(|template| KnownTemplate {
            name: template.name.clone(),
            language: template.language.as_str().to_owned(),
            category: template.category.as_str().to_owned(),
            parameters: template.parameters().map(str::to_owned).collect(),
            body: template.text.clone(),
            state: TemplateState::Approved,
            components: creation_payload(template)["components"].as_array().cloned().unwrap(),
            ttl_s: creation_payload(template)["message_send_ttl_seconds"].as_i64(),
        })
        .collect()
}

//! How fast the audit is sealed and verified: the promise is 200,000 rows a second on two cores.
//!
//! Needs `DATABASE_URL`, with the right to create databases: it makes one of its own, writes a million ledger entries,
//! 100,000 acts and 20,000 batches of deliveries, and drops it in the end.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use kmsnotif::audit::{self, Source};
use kmsnotif::cli::database::MIGRATOR;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};

/// Entries by 20 tenants, 500 in a transaction, as a busy pipeline writes them; batches of 50 events.
const ROWS: &str = "do $$
    declare tenants uuid[] := array(select gen_random_uuid() from generate_series(1, 20));
    begin
        for batch in 1..2000 loop
            insert into ledger_entry (tenant_id, ledger_entry_id, kind, debit_account, credit_account, amount, currency,
                                      notification_id, attempt, price_id)
            select tenants[1 + (batch + g) % 20],
                   (substr(uuid_floor(now())::text, 1, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid, 'post', 'available', 'spent', 356.65, 'IDR',
                   gen_random_uuid(), 1, 7
            from generate_series(1, 500) g;
            insert into audit_entry (audit_entry_id, tenant_id, actor, action, subject, before, after)
            select (substr(uuid_floor(now())::text, 1, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid,
                   nullif(tenants[1 + g % 20], tenants[1]), 'user:' || gen_random_uuid(), 'tenant.set',
                   'rs-harapan', '{\"whatsapp_on\":true,\"kinds_off\":[]}', '{\"whatsapp_on\":false,\"kinds_off\":[]}'
            from generate_series(1, 50) g;
            insert into event_log (event_log_id, events)
            select (substr(uuid_floor(now())::text, 1, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid,
                   string_agg('{\"tenant\":\"rs-harapan\",\"id\":\"REG-2026-' || e || '\",\"notification\":\"'
                       || gen_random_uuid() || '\",\"seq\":2,\"status\":\"accepted\",\"reason\":null,\"at\":\"'
                       || now() || '\"}', e'\\n')
            from generate_series(1, 10) g, generate_series(1, 50) e group by g;
            commit;
        end loop;
    end $$";

struct Database {
    admin: PgConnectOptions,
    name: String,
    pool: PgPool,
}

impl Database {
    async fn create(url: &str) -> Self {
        let admin: PgConnectOptions = url.parse().expect("DATABASE_URL is an address of Postgres");
        let name = format!("kmsnotif_bench_audit_{}", std::process::id());
        let mut connection = PgConnection::connect_with(&admin).await.expect("Postgres answers");
        connection
            .execute(sqlx::AssertSqlSafe(format!("create database {name}")))
            .await
            .expect("the role may create databases");
        let options = admin.clone().database(&name);
        let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await.expect("the new one answers");
        MIGRATOR.run(&pool).await.expect("migrations run");
        Self { admin, name, pool }
    }

    async fn drop(self) {
        self.pool.close().await;
        let mut connection = PgConnection::connect_with(&self.admin).await.expect("Postgres answers");
        let drop = format!("drop database {} with (force)", self.name);
        connection.execute(sqlx::AssertSqlSafe(drop)).await.expect("it can be dropped");
    }
}

async fn verify(pool: &PgPool, source: Source) -> u64 {
    let summary = audit::verify(pool, source, None, |fault| panic!("{fault}"), |_| ()).await.expect("Postgres answers");
    assert_eq!(summary.unsealed, 0, "another transaction was open for long");
    summary.rows
}

#[expect(clippy::print_stderr, reason = "sealing is done once, and criterion measures what it can repeat")]
fn main() {
    // `cargo test --benches` and a machine without Postgres have nothing to measure.
    let Some(url) = std::env::var_os("DATABASE_URL") else { return };
    let runtime = tokio::runtime::Runtime::new().expect("threads start");
    let database = runtime.block_on(async {
        let database = Database::create(&url.to_string_lossy()).await;
        sqlx::raw_sql(ROWS).execute(&database.pool).await.expect("rows are written");
        sqlx::raw_sql("vacuum analyze").execute(&database.pool).await.expect("vacuum runs");
        let began = Instant::now();
        let sealed = audit::catch_up(&database.pool).await.expect("sealing runs");
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("sealed {sealed} rows in {seconds:.2} s, {:.0} rows/s", sealed as f64 / seconds);
        database
    });
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("verify");
    group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(30));
    for source in Source::ALL {
        let rows = runtime.block_on(verify(&database.pool, source));
        group.throughput(Throughput::Elements(rows));
        group.bench_function(BenchmarkId::new(source.as_str(), rows), |bencher| {
            bencher.iter(|| runtime.block_on(verify(&database.pool, source)));
        });
    }
    group.finish();
    drop(criterion);
    runtime.block_on(database.drop());
}

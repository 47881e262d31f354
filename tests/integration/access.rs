//! Row-level security: what a tenant's request cannot touch, table by table, and that the service works under an
//! ordinary owner of the tables, to whom it applies too.

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::harness::{Database, OwnPostgres, TestApp, registration};

/// For each table of tenants the columns of a row that can stand in it and their values, beside the tenant.
const ROWS: &[(&str, &str, &str)] = &[
    ("account", "currency", "'IDR'"),
    (
        "api_key",
        "api_key_id, name, hash, scopes, created_by",
        "ID, 'lab', sha256(ID::text::bytea), '{credit:read}', 'x'",
    ),
    ("appointment", "appointment_id, version, status, scheduled_at", "'A', 1, 'booked', now()"),
    (
        "attempt",
        "notification_id, number, started_at, finished_at, outcome",
        "uuid_floor(now()), 1, now(), now(), 'accepted'",
    ),
    ("audit_entry", "audit_entry_id, actor, action, subject", "uuid_floor(now()), 'x', 'key.add', 'x'"),
    (
        "audit_seal",
        "source, number, slice, members, digest, created_at",
        "'act', 1, 1, decode(repeat('00', 24), 'hex'), sha256(''), now()",
    ),
    (
        "bulk_resend",
        "bulk_resend_id, status, until, matching, resendable, cost, available, started_by",
        "ID, 'failed', now(), 1, 1, 1, 1, 'x'",
    ),
    (
        "console_user",
        "user_id, email, role, language, password_hash, created_by",
        "ID, ID::text || '@b.example', 'finance', 'id', 'x', 'x'",
    ),
    ("duplicate_delivery", "notification_id, attempt", "ID, 1"),
    ("erasure_mark", "erased_until", "ID"),
    ("erasure_pending", "notification_id", "ID"),
    ("job_outbox", "job_outbox_id, job", "ID, '{}'"),
    (
        "ledger_day",
        "day, kind, currency, entry_count, amount, first_id, last_id",
        "current_date, 'grant', 'IDR', 1, 1, ID, ID",
    ),
    (
        "ledger_entry",
        "ledger_entry_id, kind, debit_account, credit_account, amount, currency",
        "ID, 'grant', 'purchased', 'available', 1, 'IDR'",
    ),
    ("low_balance_alert", "told, told_at", "true, now()"),
    (
        "mail",
        "mail_id, key, letter, language, tenant_name, time_zone, recipient, data",
        "ID, ID, 'x', 'id', 'RS', 'UTC', 'a@b', '{}'",
    ),
    (
        "notification",
        "notification_id, job_id, category, status, language, token, created_at",
        "uuid_floor(now()), 'J', 'utility', 'read', 'id', 't', now()",
    ),
    ("notification_day", "day, status, event_count", "current_date, 'sent', 1"),
    ("notification_key", "job_id, notification_id, content_hash", "'J', ID, sha256('')"),
    ("notification_unreached", "notification_id", "ID"),
    (
        "opt_out",
        "recipient_hash, scope, stopped, said_at, source",
        "decode(repeat('00', 16), 'hex'), 'all', true, now(), 'x'",
    ),
    ("orphan_event", "orphan_event_id, received_at, due_at, event", "ID, now(), now(), '{}'"),
    (
        "payment_event",
        "payment_event_id, purchase_id, event_id, content_hash, named_purchase, amount, currency, status, paid_at, reference",
        "ID, ID, ID, sha256(''), ID, 1, 'IDR', 'paid', now(), 'x'",
    ),
    ("purchase", "purchase_id, amount, currency, email, created_by", "ID, 1, 'IDR', 'a@b', 'x'"),
    ("refusal_alert", "refused", "0"),
    (
        "reminder",
        "appointment_id, version, minutes_before, scheduled_at, due_at, job_id, next_at",
        "'A', 1, 60, now() + interval '1 hour', now(), 'J', now()",
    ),
    ("reminder_replan", "after_appointment", "''"),
    ("sender_event", "at, kind, severity, reason, key", "now(), 'x', 'info', 'x', 'x'"),
    ("sender_evidence", "phone_number_id, event_at", "'1', now()"),
    ("template_override", "kind, language, body, updated_by", "'k', 'id', 'x', 'x'"),
    ("template_state", "waba_id, name, language", "'1', 'x', 'id'"),
    (
        "tenant",
        "code, name, country, currency, time_zone, language",
        "'t' || ID, 'RS', 'ID', 'IDR', 'Asia/Jakarta', 'id'",
    ),
    (
        "whatsapp_configuration",
        "sender, phone_number_id, waba_id, country, currency, token_key_id, token_sealed",
        "'+62215550101', '1', '2', 'ID', 'IDR', 'k1', ''",
    ),
];

/// What Postgres answers to a row that the policy forbids, and to a right that a role has not.
const DENIED: &str = "42501";
/// What our triggers answer to a change of a table that is append-only.
const APPEND_ONLY: &str = "23001";

/// A row of this tenant; what is its own id is the tenant's too.
fn row(table: &str, tenant: Uuid) -> String {
    let (_, columns, values) = ROWS.iter().find(|(name, ..)| *name == table).unwrap();
    let (id, tenant_id) = (format!("'{tenant}'"), format!("'{tenant}'"));
    let values = values.replace("ID::text", &format!("{id}::text"));
    let values: Vec<String> = values
        .split(", ")
        .map(|value| match value {
            "ID" => id.clone(),
            "'t' || ID" => format!("'t-' || {id}"),
            other => other.to_owned(),
        })
        .collect();
    format!("insert into {table} (tenant_id, {columns}) values ({tenant_id}, {})", values.join(", "))
}

fn code(result: Result<sqlx::postgres::PgQueryResult, sqlx::Error>) -> String {
    match result {
        Ok(done) => format!("{} rows", done.rows_affected()),
        Err(error) => error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap_or_else(|| panic!("{error}"))
            .into_owned(),
    }
}

/// Runs a statement as a request of this tenant, and takes it back.
async fn as_tenant(pool: &PgPool, tenant: Uuid, sql: &str) -> String {
    let mut tx = pool.begin().await.unwrap();
    let role = format!("set local app.tenant_id = '{tenant}'; set local role kmsnotif_tenant");
    tx.execute(AssertSqlSafe(role)).await.unwrap();
    let answer = code(tx.execute(AssertSqlSafe(sql.to_owned())).await);
    tx.rollback().await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_of_tenants_is_protected_and_so_is_every_month() {
    let database = Database::create().await;
    // An index may have a column of this name too; a view would show what its owner sees.
    let tables: Vec<(String, bool, bool, bool, i64)> = sqlx::query_as(
        "select c.relname::text, c.relispartition, c.relrowsecurity, c.relforcerowsecurity, \
                (select count(*) from pg_policy p where p.polrelid = c.oid and p.polcmd = '*' \
                   and p.polname in ('pipeline', 'tenant')) \
         from pg_class c join pg_attribute a on a.attrelid = c.oid \
         where c.relnamespace = 'public'::regnamespace and c.relkind not in ('i', 'I') \
           and a.attname = 'tenant_id' and not a.attisdropped order by 1",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    for (table, _, enabled, forced, policies) in &tables {
        assert!(
            *enabled && *forced && *policies == 2,
            "{table}: its migration must end with `select protect_tables()`"
        );
    }
    let known: Vec<&str> = tables.iter().filter(|table| !table.1).map(|table| table.0.as_str()).collect();
    let sampled: Vec<&str> = ROWS.iter().map(|(table, ..)| *table).collect();
    assert_eq!(known, sampled, "each has its row in ROWS, by which it is tried");
    assert!(tables.iter().filter(|table| table.1).count() >= 16, "months are tables of tenants too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_reads_or_writes_a_row_of_another_tenant() {
    let database = Database::create().await;
    let pool = &database.pool;
    let (ours, theirs) = (Uuid::now_v7(), Uuid::now_v7());
    let mut admin = pool.acquire().await.unwrap();
    // Without triggers and foreign keys each table stands alone.
    admin.execute("set session_replication_role = replica").await.unwrap();
    for (table, ..) in ROWS {
        for tenant in [ours, theirs] {
            let sql = row(table, tenant);
            assert_eq!(code(admin.execute(AssertSqlSafe(sql.clone())).await), "1 rows", "{sql}");
        }
    }
    for (table, ..) in ROWS {
        let ask = async |sql: String| (as_tenant(pool, ours, &sql).await, sql);
        for (expected, sql) in [
            ("1 rows", format!("select from {table}")),
            ("0 rows", format!("select from {table} where tenant_id = '{theirs}'")),
            ("0 rows", format!("select from {table} where tenant_id = '{theirs}' for update")),
            ("0 rows", format!("update {table} set tenant_id = tenant_id where tenant_id = '{theirs}'")),
            ("0 rows", format!("delete from {table} where tenant_id = '{theirs}'")),
            (DENIED, row(table, theirs)),
        ] {
            let (answer, sql) = ask(sql).await;
            assert_eq!(answer, expected, "{sql}");
        }
        let (answer, sql) = ask(format!("update {table} set tenant_id = '{theirs}'")).await;
        assert!([DENIED, APPEND_ONLY].contains(&answer.as_str()), "{sql}: {answer}");
        let (answer, sql) = ask(format!("truncate {table}")).await;
        assert_eq!(answer, DENIED, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_secrets_and_what_is_of_all_tenants_are_out_of_a_requests_reach() {
    let database = Database::create().await;
    let pool = &database.pool;
    let month: String = sqlx::query_scalar("select 'notification_' || to_char(now() at time zone 'utc', 'YYYY_MM')")
        .fetch_one(pool)
        .await
        .unwrap();
    let tables = [month.as_str(), "service_key", "webhook_event", "event_log", "event_outbox", "audit_head"];
    for table in tables {
        assert_eq!(as_tenant(pool, Uuid::nil(), &format!("select from {table}")).await, DENIED, "{table}");
    }
    for sql in ["update price set price = 0", "insert into price_use values ('ID', 'IDR', 'utility', now())"] {
        assert_eq!(as_tenant(pool, Uuid::nil(), sql).await, DENIED, "{sql}");
    }
    // Whoever forgets to say whose request it is gets no empty answer that looks like one.
    let mut tx = pool.begin().await.unwrap();
    tx.execute("set local role kmsnotif_tenant").await.unwrap();
    let answer = code(tx.execute("select from notification").await);
    // Not set, or empty where a request of this connection had set it before.
    assert!(["42704", "22P02"].contains(&answer.as_str()), "{answer}");
}

/// A server whose tables belong to a user without special rights, as in production.
struct Ordinary {
    server: OwnPostgres,
    admin: PgConnection,
}

impl Ordinary {
    async fn start(rights: &str) -> Self {
        let server = OwnPostgres::start();
        let mut admin = PgConnection::connect(&server.url).await.unwrap();
        admin.execute(AssertSqlSafe(format!("create role \"rs-owner\" login {rights}"))).await.unwrap();
        Self { server, admin }
    }

    async fn database(&mut self, name: &str) -> String {
        self.admin.execute(AssertSqlSafe(format!("create database {name} owner \"rs-owner\""))).await.unwrap();
        let url = self.server.url.replace("kmsnotif@", "rs-owner@");
        format!("{}/{name}", url.trim_end_matches("/postgres"))
    }
}

fn command(program: &str, arguments: &[&str], url: &str) -> (bool, String) {
    let output = std::process::Command::new(program).args(arguments).env("DATABASE_URL", url).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn migrate(url: &str) -> (bool, String) {
    command(env!("CARGO_BIN_EXE_kmsnotif"), &["migrate"], url)
}

async fn count(url: &str, what: &str) -> i64 {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    let count = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {what}"))).fetch_one(&pool).await;
    pool.close().await;
    count.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_an_ordinary_owner_a_job_is_delivered_and_a_dump_is_restored_whole() {
    let mut postgres = Ordinary::start("createrole").await;
    let url = postgres.database("hospital").await;
    let app = TestApp::builder().postgres(&url).start().await;
    let owner: (bool, bool) = sqlx::query_as(
        "select rolsuper or rolbypassrls, row_security_active('notification') from pg_roles where rolname = current_user",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(owner, (false, true), "row-level security applies to the owner of the tables");
    app.enqueue(&registration("RLS-1")).await;
    app.wait_for("RLS-1", "read").await;
    app.run(&["notification", "cancel", "--tenant", "rs-harapan", "--id", "RLS-2", "--yes"]).await.ok();
    let found = app.run(&["doctor", "--json"]).await.stdout;
    let found = found.lines().find(|line| line.contains("row-level security")).unwrap();
    assert!(found.contains(r#""state":"ok""#), "{found}");
    app.finish().await;

    // As OPERATIONS.md says: the dump of an ordinary owner, restored where the roles are not members yet.
    let bin = std::env::var("KMSNOTIF_TEST_POSTGRES_BIN").unwrap();
    let copy = postgres.database("restored").await;
    let file = std::env::temp_dir().join(format!("kmsnotif-access-{}.dump", std::process::id()));
    let path = file.to_str().unwrap();
    let dump = ["--enable-row-security", "-Fc", "-f", path, "-d", &url];
    assert_eq!(command(&format!("{bin}/pg_dump"), &dump, ""), (true, String::new()));
    let restored = command(&format!("{bin}/pg_restore"), &["--exit-on-error", "-d", &copy, path], "");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(restored, (true, String::new()));
    assert_eq!(migrate(&copy), (true, String::new()));
    for table in ["notification", "attempt", "ledger_entry", "tenant", "pg_policy"] {
        assert_eq!(count(&copy, table).await, count(&url, table).await, "{table}");
    }
    assert_eq!(count(&copy, "notification").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_of_one_cluster_may_make_the_roles_at_once() {
    let mut postgres = Ordinary::start("createrole").await;
    let mut urls = Vec::new();
    for number in 0..4 {
        urls.push(postgres.database(&format!("cell_{number}")).await);
    }
    let at_once = urls.into_iter().map(|url| tokio::task::spawn_blocking(move || migrate(&url)));
    for migrated in futures::future::join_all(at_once).await {
        assert_eq!(migrated.unwrap(), (true, String::new()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_who_may_make_no_roles_is_told_what_to_ask_for_and_no_process_starts_blind() {
    let mut postgres = Ordinary::start("").await;
    let url = postgres.database("hospital").await;
    let (migrated, said) = migrate(&url);
    assert!(!migrated && said.contains("as a superuser run `create role kmsnotif_pipeline nologin;"), "{said}");
    let grant = "grant kmsnotif_pipeline, kmsnotif_tenant to \"rs-owner\"";
    assert!(said.contains(grant), "{said}");
    postgres
        .admin
        .execute(AssertSqlSafe(format!("create role kmsnotif_pipeline; create role kmsnotif_tenant; {grant}")))
        .await
        .unwrap();
    assert_eq!(migrate(&url), (true, String::new()));
    postgres.admin.execute("revoke kmsnotif_pipeline from \"rs-owner\"").await.unwrap();
    let (listed, said) = command(env!("CARGO_BIN_EXE_kmsnotif"), &["tenant", "list"], &url);
    assert!(!listed && said.contains("sees no tenant"), "{said}");
}

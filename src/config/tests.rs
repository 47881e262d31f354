//! What each variable accepts, its default, and the sentences for what it refuses.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use super::*;

const KEY: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A whole environment that every process accepts, with some variables set otherwise.
fn env(changes: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let mut map: HashMap<String, String> = [
        ("DATABASE_URL", "postgres://kms:hunter2@db.example/kmsnotif?sslmode=require"),
        ("REDIS_URL", "rediss://:hunter2@redis.example:6379/0"),
        ("KMSNOTIF_SECRET_KEYS", KEY),
        ("PUBLIC_URL", "https://notif.example.com"),
        ("WHATSAPP_APP_SECRET", "hunter2,hunter3"),
        ("WHATSAPP_VERIFY_TOKEN", "hunter2"),
        ("PAYMENT_WEBHOOK_SECRET", "hunter2"),
        ("SMTP_URL", "smtps://user:hunter2@mail.example"),
        ("MAIL_FROM", "KMSNotif <notif@example.com>"),
    ]
    .into_iter()
    .chain(changes.iter().copied())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    map.retain(|_, value| value != "(absent)");
    move |name| map.get(name).cloned()
}

/// Reads all that any process reads; the text is the Debug form of it all.
fn read(lookup: &Lookup) -> Result<String, ConfigError> {
    fn text(part: impl Debug) -> String {
        format!("{part:?}\n")
    }
    Ok([
        text(DatabaseConfig::from_env(lookup)?),
        text(RedisConfig::from_env(lookup)?),
        text(SecretKeys::from_env(lookup)?),
        text(WhatsAppConfig::from_env(lookup)?),
        text(WorkerConfig::from_env(lookup)?),
        text(RetentionConfig::from_env(lookup)?),
        text(WebConfig::from_env(lookup)?),
        text(MailConfig::from_env(lookup)?),
        text(LogConfig::from_env(lookup)?),
        text(otlp_endpoint(lookup)?),
    ]
    .concat())
}

fn error(name: &str, value: &str) -> String {
    read(&env(&[(name, value)])).expect_err(&format!("{name}={value:?} should be refused")).to_string()
}

#[test]
fn defaults_hold_where_nothing_is_set() {
    let env = env(&[]);
    let worker = WorkerConfig::from_env(&env).unwrap();
    assert_eq!((worker.concurrency, worker.attempts_max), (256, 8));
    assert_eq!((worker.lease, worker.unknown_window), (Duration::from_secs(15), Duration::from_mins(10)));
    assert_eq!(RetentionConfig::from_env(&env).unwrap().webhook, Duration::from_hours(30 * 24));
    let whatsapp = WhatsAppConfig::from_env(&env).unwrap();
    assert_eq!(whatsapp.api_url.as_str(), "https://graph.facebook.com/");
    assert_eq!((&*whatsapp.api_version, whatsapp.read_timeout), ("v25.0", Duration::from_secs(15)));
    assert_eq!(RedisConfig::from_env(&env).unwrap().namespace, "kmsnotif");
    let database = DatabaseConfig::from_env(&env).unwrap();
    assert_eq!((database.pool, database.migrate_url().expose()), (10, database.url.expose()));
    let log = LogConfig::from_env(&env).unwrap();
    assert_eq!((&*log.filter, log.format), ("info", LogFormat::Pretty));
    assert_eq!(otlp_endpoint(&env), Ok(None));
    let web = WebConfig::from_env(&env).unwrap();
    assert_eq!((web.port, web.app_secrets.len(), web.payment_webhook_secrets.len()), (8_000, 2, 1));
}

#[test]
fn what_is_set_is_used() {
    let env = env(&[
        ("LEASE", " 500ms"),
        ("WORKER_CONCURRENCY", "100000"),
        ("ATTEMPTS_MAX", "1"),
        ("LOG_FORMAT", "json"),
        ("WHATSAPP_API_URL", "http://127.0.0.1:8001/base"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
        ("DATABASE_MIGRATE_URL", "postgresql://db.example:5432/kmsnotif"),
    ]);
    assert!(WorkerConfig::from_env(&env).is_err(), "a lease below a second is refused");
    let api_url = WhatsAppConfig::from_env(&env).unwrap().api_url;
    assert_eq!(api_url.join("v25.0/1001/messages").unwrap().as_str(), "http://127.0.0.1:8001/base/v25.0/1001/messages");
    assert_eq!(LogConfig::from_env(&env).unwrap().format, LogFormat::Json);
    assert_eq!(otlp_endpoint(&env).unwrap().unwrap().port(), Some(4318));
    let database = DatabaseConfig::from_env(&env).unwrap();
    assert_eq!(database.migrate_url().expose(), "postgresql://db.example:5432/kmsnotif");
}

#[test]
fn a_required_variable_that_is_missing_or_empty_is_named_with_its_remedy() {
    for variable in VARIABLES {
        let is_required = !matches!(variable.need, Need::Default(_) | Need::Off);
        for value in ["(absent)", "", "  "] {
            let result = read(&env(&[(variable.name, value)]));
            assert_eq!(result.is_err(), is_required, "{} set to {value:?}", variable.name);
            if let Err(error) = result {
                assert_eq!(error.to_string(), format!("{} is not set: {}", variable.name, variable.remedy));
            }
        }
    }
    assert_eq!(
        error("DATABASE_URL", ""),
        "DATABASE_URL is not set: give the Postgres address, for example postgres://user:password@host/kmsnotif"
    );
}

#[test]
fn the_defaults_that_are_listed_are_those_that_hold() {
    for variable in VARIABLES {
        if let Need::Default(default) = variable.need {
            assert_eq!(read(&env(&[(variable.name, default)])), read(&env(&[])), "{}", variable.name);
        }
    }
}

#[test]
fn a_wrong_value_is_refused_with_the_name_of_its_variable() {
    let wrong = [
        ("DATABASE_URL", &["db.example/kmsnotif", "mysql://db.example/kmsnotif"][..]),
        ("DATABASE_MIGRATE_URL", &["https://db.example"]),
        ("DATABASE_POOL", &["0", "1001", "-1", "ten", "1.5"]),
        ("REDIS_URL", &["localhost:6379", "http://localhost"]),
        ("KMSNOTIF_SECRET_KEYS", &["AAAA", "k1:AAAA", "k1:*", ":x", "k 1:x"]),
        ("KMSNOTIF_NAMESPACE", &["{x}", "a b", "é"]),
        ("WHATSAPP_API_URL", &["graph.facebook.com", "ftp://x", "https://x/?a=b", "https://a:hunter2@x"]),
        ("WHATSAPP_API_VERSION", &["25.0", "v25", "v25.0/../x", "v.0"]),
        ("WHATSAPP_READ_TIMEOUT", &["15", "0s", "1d"]),
        ("WORKER_CONCURRENCY", &["0", "100001"]),
        ("LEASE", &["999ms", "11m", "15", "soon"]),
        ("UNKNOWN_WINDOW", &["0s", "2d"]),
        ("ATTEMPTS_MAX", &["0", "101"]),
        ("WEBHOOK_RETENTION", &["30", "59m", "3651d", "forever"]),
        ("PORT", &["0", "65536", "http"]),
        ("PUBLIC_URL", &["notif.example.com", "https://x/#y"]),
        ("WHATSAPP_APP_SECRET", &["a,,b", ","]),
        ("PAYMENT_WEBHOOK_SECRET", &["a,"]),
        (
            "SMTP_URL",
            &[
                "mail.example",
                "imap://mail.example",
                "smtp://",
                "smtp://mail.example?tls=yes",
                "smtp://mail.example?ssl=required",
                "smtp://mail.example?tls=required&tls=opportunistic",
                "smtps://mail.example?tls=opportunistic",
                "smtps://user@mail.example",
                "smtps://:hunter2@mail.example",
                "smtps://mail.example/a b",
                "smtps://a:%ff@mail.example",
            ],
        ),
        ("MAIL_FROM", &["nobody", "x@", "a b@example.com", "x <y>"]),
        ("RUST_LOG", &["kmsnotif=loud"]),
        ("LOG_FORMAT", &["xml"]),
        ("OIDC_ISSUER", &["login.example", "http://login.example", "https://a:hunter2@x", "https://x/?a=b"]),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &["localhost"]),
    ];
    for (name, values) in wrong {
        for value in values {
            let error = error(name, value);
            assert!(error.starts_with(&format!("{name} is wrong: ")), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
    assert_eq!(
        error("PORT", "http"),
        "PORT is wrong: \"http\" is not a whole number from 1 to 65535; give a TCP port from 1 to 65535"
    );
}

#[test]
fn an_address_of_a_mail_server_says_how_to_reach_it() {
    let server = |url: &str| MailConfig::from_env(&env(&[("SMTP_URL", url)])).unwrap().server;
    for (url, host, port, tls) in [
        ("smtp://mail.example", "mail.example", 25, SmtpTls::Off),
        ("smtp://127.0.0.1:8025", "127.0.0.1", 8025, SmtpTls::Off),
        ("smtp://[::1]:8025", "::1", 8025, SmtpTls::Off),
        ("smtp://mail.example?tls=required", "mail.example", 587, SmtpTls::Required),
        ("smtp://mail.example:2525?tls=opportunistic", "mail.example", 2525, SmtpTls::Opportunistic),
        ("smtps://mail.example", "mail.example", 465, SmtpTls::Wrapped),
    ] {
        let server = server(url);
        assert_eq!((server.host.as_str(), server.port, server.tls), (host, port, tls), "{url}");
        assert!(server.credentials.is_none() && server.hello.is_none());
    }
    let full = server("smtp://notif%40example.com:p%2Fw+d@mail.example/notif.example.com?tls=required");
    let (user, password) = full.credentials.clone().unwrap();
    assert_eq!((user.as_str(), password.expose()), ("notif@example.com", "p/w+d"));
    assert_eq!(full.hello.as_deref(), Some("notif.example.com"));
    assert!(!full.gives_password_away());
    assert!(server("smtp://a:b@mail.example").gives_password_away());
    assert!(server("smtp://a:b@mail.example?tls=opportunistic").gives_password_away());
    assert!(!server("smtp://a:b@127.0.0.1").gives_password_away());
}

#[test]
fn a_provider_is_set_as_a_whole_or_not_at_all() {
    let all =
        [("OIDC_ISSUER", "https://login.example/r"), ("OIDC_CLIENT_ID", "kms"), ("OIDC_CLIENT_SECRET", "hunter2")];
    assert!(WebConfig::from_env(&env(&[])).unwrap().oidc.is_none());
    let config = WebConfig::from_env(&env(&all)).unwrap().oidc.unwrap();
    assert_eq!((config.issuer.as_str(), config.client_id.as_str()), ("https://login.example/r", "kms"));
    assert!(WebConfig::from_env(&env(&[all[1], all[2], ("OIDC_ISSUER", "http://127.0.0.1:8080")])).is_ok());
    for (missing, _) in all {
        let rest: Vec<_> = all.into_iter().filter(|(name, _)| *name != missing).collect();
        let error = read(&env(&rest)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{missing} is not set: ")), "{error}");
        assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn no_secret_is_shown_by_debug_or_an_error() {
    let shown = read(&env(&[])).unwrap();
    assert!(!shown.contains("hunter") && !shown.contains("AAEC"), "{shown}");
    for variable in VARIABLES.iter().filter(|variable| variable.secret) {
        for value in ["hunter2", "ftp://x:hunter2@y", "hunter2,,", "k1:hunter2", "hunter2:k1"] {
            if let Err(error) = read(&env(&[(variable.name, value)])) {
                assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            }
        }
    }
}

#[test]
fn an_address_is_shown_without_its_password() {
    let address = |url: &str| address_without_password(&Secret::new(url));
    assert_eq!(address("postgres://kms:hunter2@db/kmsnotif?password=hunter2"), "postgres://kms@db/kmsnotif");
    assert_eq!(address("redis+unix:///run/redis.sock?pass=hunter2"), "redis+unix:///run/redis.sock");
    assert_eq!(address("hunter2"), "(not an address)");
}

#[test]
fn the_example_lists_every_variable_and_no_other() {
    let example = include_str!("../../.env.example");
    let name = |line: &'static str| line.trim_start_matches("# ").split_once('=').map(|(name, _)| name);
    let is_variable = |name: &&str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let listed: Vec<&str> = example.lines().filter_map(name).filter(is_variable).collect();
    let known: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(listed.iter().collect::<HashSet<_>>(), known.iter().collect());
    assert_eq!(listed.len(), known.len(), "a variable is listed twice");
}

//! `kmsnotif web`: the process of the Procfile that answers over HTTP.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::database;
use super::process::terminated;
use crate::config::{RedisConfig, WebConfig, WhatsAppConfig, environment};
use crate::queue::{Events, Queue};
use crate::secret::{Keyring, SecretKeys};
use crate::telemetry::metric;
use crate::web;
use crate::worker::open_redis_to_serve;

/// Answers over HTTP on $PORT: health, metrics, webhooks, the console. Run as many as you like, behind a proxy with TLS.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif web\n  PORT=8080 kmsnotif web --bind 127.0.0.1\n\n\
    /healthz says whether the process lives, /readyz whether Postgres and Redis answer it;\n\
    /metrics is for Prometheus, /webhooks/whatsapp for Meta,\n\
    /webhooks/payments for the payment gateway (docs/PAYMENTS.md).")]
pub struct Args {
    /// Listen on this address only.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind: IpAddr,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let config = WebConfig::from_env(&environment)?;
    let keyring = Keyring::new(&SecretKeys::from_env(&environment)?);
    let whatsapp = WhatsAppConfig::from_env(&environment)?;
    let redis = RedisConfig::from_env(&environment)?;
    let metrics = metric::install_metrics().context("cannot collect metrics")?;
    // Before anything else takes time: a taken port is told at once.
    let listener = TcpListener::bind((args.bind, config.port)).await.with_context(|| {
        format!("cannot listen on {}:{}: end what listens there, or set PORT to another one", args.bind, config.port)
    })?;
    let client = open_redis_to_serve(&redis).await?;
    let queue = Arc::new(Queue::new(client.clone(), &redis.namespace));
    let events = Arc::new(Events::new(client, &redis.namespace));
    let pool = database::connect_to_write("web").await?;
    let parts = web::Parts {
        pool,
        queue,
        events,
        keyring,
        whatsapp,
        config,
        metrics,
        schema_version: database::schema_version(),
    };
    Ok(web::run(parts, listener, terminated()).await?)
}

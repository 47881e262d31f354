//! Enqueues one job per kind through the `Producer`: `cargo run -p kmsnotif-jobs --features producer --example rust_producer`.
#![expect(clippy::print_stdout, reason = "the stream ids are the answer")]

use kmsnotif_jobs::key::Namespace;
use kmsnotif_jobs::{Kind, Producer, parse, schema};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let jobs = Kind::ALL.map(|kind| parse(schema::example_json(kind).as_bytes()).expect("the examples are jobs"));
    let producer = Producer::new(&url, &Namespace::default()).await?;
    for id in producer.enqueue_many(&jobs).await? {
        println!("{id}");
    }
    Ok(())
}

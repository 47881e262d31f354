//! What each hot part takes: `cargo bench --bench hot`. Their instructions are counted by `script/guard`.

#[path = "hot/src/parts.rs"]
mod parts;

use criterion::Criterion;
use kmsnotif::{render, whatsapp};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for part in parts::parts() {
        criterion.bench_function(part.name, |bencher| bencher.iter(|| part.run()));
    }
    criterion.final_summary();
}

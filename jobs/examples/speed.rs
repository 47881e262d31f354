//! Prints what one `parse` and one `content_hash` cost: `cargo run --release -p kmsnotif-jobs --example speed`.
#![expect(clippy::print_stdout, reason = "the figure is the answer")]

use std::hint::black_box;
use std::time::Instant;

use kmsnotif_jobs::{Kind, Language, content_hash, parse, schema};

const ROUNDS: u32 = 200_000;

fn main() {
    for kind in Kind::ALL {
        let payload = schema::example_json(kind).as_bytes();
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(parse(black_box(payload))).expect("the example is a job");
        }
        let parsing = start.elapsed() / ROUNDS;
        let job = parse(payload).expect("the example is a job");
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(content_hash(black_box(&job), "+6281234567890", Language::Id));
        }
        println!("{kind}: parse {parsing:?}, content_hash {:?}", start.elapsed() / ROUNDS);
    }
}

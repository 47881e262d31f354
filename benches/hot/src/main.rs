//! Runs one part so often that its instructions can be counted: `kmsnotif-hot PART`; without a part it lists them.
//!
//! `script/guard` runs it under callgrind, which counts only what happens inside of [`counted`].
//!
//! The parts are the files of the service itself, taken in by their paths and not through its library: that one takes
//! several times as long to build with optimisation, and CI would have to wait for it.

mod parts;
#[expect(dead_code, unused_imports, reason = "the service uses more of it")]
#[path = "../../../src/render/mod.rs"]
mod render;
mod whatsapp;

use std::io::Write as _;

use parts::{Part, parts};

/// The allocator of the service: its instructions are counted too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Enough to make what differs from run to run (the seeds of hash maps) small.
const ROUNDS: u32 = 200;

fn main() -> std::io::Result<()> {
    let parts = parts();
    let Some(name) = std::env::args().nth(1) else {
        let mut out = std::io::stdout().lock();
        return parts.iter().try_for_each(|part| writeln!(out, "{} {ROUNDS}", part.name));
    };
    let part = parts.iter().find(|part| part.name == name).expect("the part is one of those that are listed");
    // What is made at the first use is no cost of the second.
    part.run();
    counted(part);
    Ok(())
}

#[inline(never)]
fn counted(part: &Part) {
    for _ in 0..ROUNDS {
        part.run();
    }
}

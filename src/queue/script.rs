//! The Lua scripts: each is one atomic step of the queue. Their contracts stand in the files.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("lua/lib.lua"), $(include_str!(concat!("lua/", $file))),+)));
    };
}

script!(GRANT, "pace.lua", "paused.lua", "pair.lua", "grant.lua");
script!(MOVE, "move.lua");
script!(SERVE, "pace.lua", "paused.lua", "serve.lua");
script!(PAIRS, "pair.lua", "pairs.lua");
script!(DONE, "done.lua");
script!(SETTLE, "settle.lua");
script!(RENEW, "renew.lua");
script!(CLAIM, "claim.lua");
script!(LEASE, "lease.lua");
script!(LAPSED, "lapsed.lua");
script!(TAKE_OVER, "take_over.lua");
script!(ADOPT, "adopt.lua");
script!(PROMOTE, "paused.lua", "promote.lua");
script!(RESTORE, "restore.lua");
script!(HOLDS, "holds.lua");
script!(FORGET, "forget.lua");
script!(RATE, "pace.lua", "rate.lua");
script!(LOWER, "pace.lua", "lower.lua");
script!(REST_PAIR, "pair.lua", "rest_pair.lua");
script!(PAUSE, "pause.lua");
script!(RESUME, "paused.lua", "resume.lua");
script!(PROBE, "pace.lua", "probe.lua");

//! The Lua scripts: each is one atomic step of the queue. Their contracts stand in the files.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("lua/lib.lua"), include_str!(concat!("lua/", $file)))));
    };
}

script!(GRANT, "grant.lua");
script!(MOVE, "move.lua");
script!(SERVE, "serve.lua");
script!(DONE, "done.lua");
script!(SETTLE, "settle.lua");
script!(RENEW, "renew.lua");
script!(PROMOTE, "promote.lua");
script!(RESTORE, "restore.lua");
script!(HOLDS, "holds.lua");
script!(FORGET, "forget.lua");
script!(PROBE, "probe.lua");

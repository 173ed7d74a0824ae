//! Calls of the scripts of presence, many in one pipeline.

use std::sync::LazyLock;

use redis::{FromRedisValue, Pipeline, RedisError, Script, aio::MultiplexedConnection};

/// Each begins with `weigh.lua`, which is what they have in common.
macro_rules! scripts {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("weigh.lua"), include_str!($file))));)*

        fn all() -> Vec<&'static Script> {
            vec![$(&*$name),*]
        }
    };
}

scripts! {
    PUT = "put.lua",
    HOLD = "hold.lua",
    TELL = "tell.lua",
    STATES = "states.lua",
    LEASE = "lease.lua",
    CLAIM = "claim.lua",
    ROOMS = "rooms.lua",
    DRAINED = "drained.lua",
}

/// Adds a call of a script; arguments follow with `arg`.
pub(super) fn call<'p>(pipe: &'p mut Pipeline, script: &Script, keys: &[String]) -> &'p mut Pipeline {
    pipe.cmd("EVALSHA").arg(script.get_hash()).arg(keys.len()).arg(keys)
}

/// Carries the calls out. Each may be repeated, so a process that does not know the scripts is taught them.
pub(super) async fn run<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    pipe: &Pipeline,
) -> Result<T, RedisError> {
    match pipe.query_async(connection).await {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            for script in all() {
                script.load_async(connection).await?;
            }
            pipe.query_async(connection).await
        }
        answer => answer,
    }
}

//! The presence scripts, and calls of many scripts in one pipeline.

use std::sync::LazyLock;

use redis::{FromRedisValue, Pipeline, RedisResult, Script};

use crate::log::RedisConnection as Connection;

/// Declares the scripts. The text of each begins with `combine.lua`, which contains functions that all scripts share.
macro_rules! scripts {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("combine.lua"), include_str!($file))));)*

        fn all_scripts() -> Vec<&'static Script> {
            vec![$(&*$name),*]
        }
    };
}

scripts! {
    PUT = "put.lua",
    HOLD = "hold.lua",
    PUBLISH = "publish.lua",
    STATES = "states.lua",
    LEASE = "lease.lua",
    CLAIM = "claim.lua",
    ROOMS = "rooms.lua",
    DRAINED = "drained.lua",
}

/// The text of the script that reads states.
pub(super) const STATES_TEXT: &str = concat!(include_str!("combine.lua"), include_str!("states.lua"));

/// Adds a call of a script to a pipeline. The caller then adds the script's arguments with `arg`.
pub(super) fn add_call<'p>(pipe: &'p mut Pipeline, script: &Script, keys: &[String]) -> &'p mut Pipeline {
    pipe.cmd("EVALSHA").arg(script.get_hash()).arg(keys.len()).arg(keys)
}

/// Runs a pipeline of calls. If the Redis process does not have the scripts, loads them and repeats all calls, which is
/// safe because each call is idempotent.
pub(super) async fn run_calls<T: FromRedisValue>(
    connection: &mut Connection,
    pipe: &Pipeline,
) -> RedisResult<T> {
    match pipe.query_async(connection).await {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            for script in all_scripts() {
                script.load_async(connection).await?;
            }
            pipe.query_async(connection).await
        }
        answer => answer,
    }
}

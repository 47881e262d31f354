//! What a refusal for too much means for the jobs behind it: the sender slows down, or one pair rests.

use std::time::Duration;

use super::process::Ctx;
use super::{retry, route};
use crate::tenant::Tenant;
use crate::whatsapp::{Scope, SendError};

/// How long a throttled sender rests when Meta names no time: what was sent leaves Meta's window meanwhile.
const REST: Duration = Duration::from_secs(1);
/// How long a sender rests that Meta calls a source of spam: going on would lower its quality further.
const SPAM_REST: Duration = Duration::from_mins(5);
/// Meta's code for that.
const SPAM: i64 = 131_048;

/// Slows down what the refusal is about, for all workers, so that other jobs do not run into the same wall.
pub(super) async fn slow_down(ctx: &Ctx, tenant: &Tenant, to: &str, attempt: i32, scope: Scope, error: &SendError) {
    let done = match scope {
        Scope::Pair => {
            let rest = retry::pair_wait(attempt.unsigned_abs(), error.retry_after());
            ctx.queue.rest_pair(route::pair(&tenant.code, to), rest).await
        }
        Scope::Number | Scope::App => lower(ctx, tenant, error).await,
    };
    if let Err(error) = done {
        tracing::warn!(tenant = tenant.code, %error, "the sender could not be slowed down");
    }
}

async fn lower(ctx: &Ctx, tenant: &Tenant, error: &SendError) -> Result<(), crate::queue::QueueError> {
    let is_spam = error.code() == Some(SPAM);
    let rest = if is_spam { SPAM_REST } else { REST };
    let rest = error.retry_after().map_or(rest, |asked| if is_spam { asked.max(rest) } else { asked });
    if let Some(rate) = ctx.queue.lower(&tenant.code, rest).await? {
        metrics::counter!(crate::telemetry::metric::RATES_LOWERED).increment(1);
        tracing::warn!(
            tenant = tenant.code,
            code = error.code(),
            rest = ?rest,
            per_second = rate,
            "WhatsApp refuses for too much; the sender is slowed down and grows back by itself"
        );
    }
    Ok(())
}

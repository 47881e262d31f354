//! A user's own page: language and password. And `/`, which leads to where a user works.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use kmsnotif_jobs::Language;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use super::{login, session};
use crate::people::{PasswordError, Refused, check_again, check_password, store as people_store};
use crate::secret::Secret;

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    show(&ask, None, StatusCode::OK).await
}

async fn show(ask: &Ask, wrong: Option<&Wrong>, status: StatusCode) -> Answer {
    let provider = ask.state.console.provider.as_ref().map(|provider| provider.name().to_owned());
    ask.page("account.html")
        .await?
        .with("wrong", wrong.unwrap_or(&Wrong::default()))
        .with("has_password", &ask.user.password_changed_at.is_some())
        .with("provider", &provider.unwrap_or_else(|| ask.texts().get("account", "provider")))
        .status(status)
        .show()
}

/// Sets the language and goes back to where it was chosen.
pub(super) async fn set_language(ask: Ask) -> Answer {
    let Ok(language) = ask.fields.text("language").parse::<Language>() else { return Err(Failure::unreadable()) };
    people_store::set_language(&ask.state.pool, ask.user.id, language).await?;
    Ok(Redirect::to("/account").into_response())
}

/// What is wrong with a new password, in the reader's words.
pub(super) fn password_wrong(ask: &Ask, error: PasswordError) -> String {
    let key = match error {
        PasswordError::Short => "password_short",
        PasswordError::Long => "password_long",
        PasswordError::Name => "password_name",
        PasswordError::Repeats => "password_repeats",
    };
    ask.texts().get("wrong", key)
}

/// Changes the password; all other sessions end.
pub(super) async fn change_password(ask: Ask) -> Answer {
    let (texts, fields) = (ask.texts(), &ask.fields);
    let (old, new) = (fields.raw("password"), fields.raw("new_password"));
    let mut wrong = Wrong::default();
    if old.is_empty() {
        wrong.say("password", texts.get("wrong", "required"));
    }
    if let Err(error) = check_password(new, &ask.user.email) {
        wrong.say("new_password", password_wrong(&ask, error));
    }
    if fields.raw("repeated").is_empty() {
        wrong.say("repeated", texts.get("wrong", "required"));
    } else if new != fields.raw("repeated") {
        wrong.say("repeated", texts.get("wrong", "password_repeated"));
    }
    let hasher = &ask.state.console.hasher;
    if wrong.is_empty() {
        let typed = (Secret::new(old), ask.address.as_str());
        match check_again(&ask.state.pool, hasher, &ask.user, typed).await.map_err(Failure::broken)? {
            Ok(()) => {}
            Err(Refused::Wrong) => wrong.say("password", texts.get("wrong", "password_wrong")),
            Err(Refused::Busy) => return Err(Failure::busy()),
            Err(Refused::Throttled) => {
                wrong.say("password", texts.get("log_in", "throttled"));
                return login::add_wait(show(&ask, Some(&wrong), StatusCode::TOO_MANY_REQUESTS).await?);
            }
        }
    }
    if !wrong.is_empty() {
        return show(&ask, Some(&wrong), StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    let hash = hasher.hash(Secret::new(new)).await.map_err(|_| Failure::busy())?;
    let changed = people_store::set_password(ask.access_of(&ask.user), &ask.user, &hash, &ask.actor()).await;
    let epoch = changed.map_err(Failure::broken)?;
    session::go_on(&ask.session, &ask.who, epoch).await?;
    ask.done("/account", texts.get("account", "password_changed")).await
}

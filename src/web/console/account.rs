//! A user's own page: language and password. And `/`, which leads to where a user works.

use axum::response::{IntoResponse, Redirect};
use kmsnotif_jobs::Language;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use super::session;
use crate::people::{PasswordError, check_password, store as people_store};
use crate::secret::Secret;

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    ask.page("account.html").await?.with("wrong", &Wrong::default()).show()
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
    if new != fields.raw("repeated") {
        wrong.say("repeated", texts.get("wrong", "password_repeated"));
    }
    let hasher = &ask.state.console.hasher;
    if wrong.is_empty() {
        let stored = people_store::get_hash(&ask.state.pool, ask.user.id).await?;
        let right = hasher.verify(Secret::new(old), stored).await.map_err(|_| Failure::busy())?;
        if !right {
            wrong.say("password", texts.get("wrong", "password_wrong"));
        }
    }
    if !wrong.is_empty() {
        return ask.refused("account.html", &wrong).await?.show();
    }
    let hash = hasher.hash(Secret::new(new)).await.map_err(|_| Failure::busy())?;
    let changed = people_store::set_password(&ask.state.pool, &ask.user, &hash, &ask.actor()).await;
    let epoch = changed.map_err(Failure::broken)?;
    session::go_on(&ask.session, &ask.who, epoch).await?;
    ask.done("/account", texts.get("account", "password_changed")).await
}

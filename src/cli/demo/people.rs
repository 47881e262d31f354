//! The log-ins of the demo: an administrator, and one user per role.
//!
//! Each run sets a fresh password, which is printed and written nowhere: a password that everybody knows would stay
//! behind in whatever database the demo was tried on.

use kmsnotif_jobs::Language;
use sqlx::PgPool;

use super::seed::Hospital;
use crate::cli::actor;
use crate::people::{Hasher, NewUser, Role, store};
use crate::secret::Secret;

/// Who can log in, with one password for all.
pub(super) struct LogIns {
    pub(super) password: String,
    /// Address and role.
    pub(super) people: Vec<(String, Role)>,
}

/// Adds the users, or gives them this run's password.
pub(super) async fn seed(pool: &PgPool, hospitals: &[Hospital]) -> anyhow::Result<LogIns> {
    let password = format!("demo-{:016x}", rand::random::<u64>());
    let hash = Hasher::default().hash(Secret::new(&password)).await?;
    let first = hospitals.first().map(|hospital| (hospital.id, hospital.code));
    let mut people = Vec::new();
    for role in Role::ALL {
        let of = first.filter(|_| role.is_of_tenant());
        let domain = of.map_or("ksatria.example".to_owned(), |(_, code)| format!("{code}.example"));
        let email = format!("{}@{domain}", role.as_str().replace('_', "-"));
        if let Some(user) = store::find_by_email(pool, &email).await? {
            store::set_password(pool, &user, &hash, &actor()).await?;
        } else {
            let (tenant_id, password_hash) = (of.map(|(id, _)| id), Some(hash.clone()));
            let new = NewUser { email: email.clone(), role, tenant_id, language: Language::Id, password_hash };
            store::insert(pool, &new, &actor()).await?;
        }
        people.push((email, role));
    }
    Ok(LogIns { password, people })
}

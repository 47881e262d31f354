//! The categories that Meta bills messages by; prices and templates both name them.

use serde::{Deserialize, Serialize};

/// What Meta bills a message as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Offers and news.
    Marketing,
    /// What the patient asked for or needs to know.
    Utility,
    /// One-time passwords.
    Authentication,
    /// One-time passwords, sent from another country.
    AuthenticationInternational,
    /// Free-form answers inside the customer service window.
    Service,
}

impl Category {
    /// Every category, in the order of the documents.
    pub const ALL: [Category; 5] = [
        Category::Marketing,
        Category::Utility,
        Category::Authentication,
        Category::AuthenticationInternational,
        Category::Service,
    ];

    /// The spelling used in SQL, commands and webhooks.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Marketing => "marketing",
            Category::Utility => "utility",
            Category::Authentication => "authentication",
            Category::AuthenticationInternational => "authentication_international",
            Category::Service => "service",
        }
    }
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Category {
    type Err = UnknownCategory;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Category::ALL
            .into_iter()
            .find(|category| category.as_str() == text)
            .ok_or_else(|| UnknownCategory(text.to_owned()))
    }
}

/// The text names no category.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown category {0:?}: use marketing, utility, authentication, authentication_international or service")]
pub struct UnknownCategory(pub String);

//! What Meta reports: statuses of messages, templates, the account, and what patients write.
//!
//! [`parse`] is lenient on purpose. A delivery carries up to 3 MB of changes and Meta repeats it for seven days if
//! it is refused, so one value that cannot be read costs only itself: it becomes [`Change::Unreadable`].
//! Order is not guaranteed and repeats are normal; whoever applies these events must not care.

mod change; // what is reported
mod keyword; // STOP and START
mod raw; // Meta's field names
mod read; // from JSON to changes

#[cfg(test)]
mod webhook_test;

pub use change::{
    AccountAlert, AccountErrors, AccountUpdate, Change, EventError, Inbound, PhoneQuality, Preference, Pricing, Status,
    StatusEvent, TemplateCategory, TemplateQuality, TemplateStatus, WaId,
};
pub use keyword::{Keyword, keyword};
pub use read::{NotReadable, parse};

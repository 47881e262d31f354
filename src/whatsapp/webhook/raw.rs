//! The JSON of a webhook delivery, field by field as Meta names them.
//!
//! Separate from the reading, so that Meta's names stand in one place and in one form.
#![expect(clippy::struct_field_names, reason = "the names are Meta's")]

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::scalar::Scalar;

#[derive(Deserialize)]
pub(super) struct Delivery<'a> {
    #[serde(borrow)]
    pub(super) entry: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(default, borrow)]
    pub(super) id: Scalar<'a>,
    #[serde(default, borrow)]
    pub(super) time: Scalar<'a>,
    #[serde(default, borrow)]
    pub(super) changes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct EntryChange<'a> {
    #[serde(borrow)]
    pub(super) field: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) value: &'a RawValue,
}

/// Declares structs whose scalar fields may be missing or of any type.
macro_rules! lenient {
    ($($name:ident { $($scalar:ident),* $(; $($field:ident: $type:ty),*)? })*) => { $(
        #[derive(Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name<'a> {
            $(#[serde(borrow)] pub(super) $scalar: Scalar<'a>,)*
            $($(#[serde(borrow)] pub(super) $field: $type,)*)?
        }
    )* };
}

lenient! {
    Messages { ; metadata: Option<Metadata<'a>>, statuses: Option<Vec<&'a RawValue>>, messages: Option<Vec<&'a RawValue>>, errors: Option<Vec<&'a RawValue>> }
    Metadata { phone_number_id }
    RawStatus { id, status, timestamp, recipient_id, biz_opaque_callback_data; pricing: Option<&'a RawValue>, errors: Option<&'a RawValue> }
    RawPricing { r#type, category, pricing_model, billable }
    RawError { code, title, message; error_data: Option<RawErrorData<'a>> }
    RawErrorData { details }
    RawMessage { from, id, timestamp, r#type; text: Option<RawText<'a>>, button: Option<RawText<'a>>, interactive: Option<RawInteractive<'a>> }
    RawText { body, text }
    RawInteractive { ; button_reply: Option<RawReply<'a>>, list_reply: Option<RawReply<'a>> }
    RawReply { title }
    RawTemplate { event, message_template_id, message_template_name, message_template_language, message_template_category, reason, previous_category, new_category, correct_category, category_update_timestamp, previous_quality_score, new_quality_score; other_info: Option<RawInfo<'a>>, rejection_info: Option<RawInfo<'a>> }
    RawInfo { title, description, reason, recommendation }
    RawPhone { display_phone_number, event, old_limit, current_limit, max_daily_conversations_per_business }
    RawAlert { entity_type, entity_id, alert_severity, alert_status, alert_type, alert_description; alert_info: Option<RawAlertInfo<'a>> }
    RawAlertInfo { alert_severity, alert_status, alert_type, alert_description }
    RawAccount { event; ban_info: Option<RawBan<'a>>, violation_info: Option<RawViolation<'a>>, restriction_info: Option<Vec<RawRestriction<'a>>> }
    RawBan { waba_ban_state, waba_ban_date }
    RawViolation { violation_type }
    RawRestriction { restriction_type, expiration }
    RawPreferences { ; metadata: Option<Metadata<'a>>, user_preferences: Option<Vec<&'a RawValue>> }
    RawPreference { wa_id, category, value, timestamp }
}

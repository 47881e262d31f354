//! The course a message takes after it was accepted, and the status objects that tell of it.
//!
//! Pure: which statuses come, in which order and how often, follows from the message alone.

use serde_json::{Value, json};

use super::graph::GraphError;
use super::phone::Message;

/// Versions from here on leave `conversation` out of status webhooks (Meta's changelog, v24.0).
const VERSION_WITHOUT_CONVERSATION: u32 = 24;

/// What Meta reports of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Taken over by the API, no status reported yet.
    Accepted,
    /// On its way.
    Sent,
    /// On the phone.
    Delivered,
    /// Seen by the patient.
    Read,
    /// Not delivered, for good.
    Failed,
}

impl Status {
    /// The spelling in webhooks.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Accepted => "accepted",
            Status::Sent => "sent",
            Status::Delivered => "delivered",
            Status::Read => "read",
            Status::Failed => "failed",
        }
    }

    /// The status of this rank.
    pub fn from_rank(rank: u8) -> Self {
        [Status::Accepted, Status::Sent, Status::Delivered, Status::Read, Status::Failed]
            .into_iter()
            .find(|status| *status as u8 == rank)
            .unwrap_or(Status::Accepted)
    }
}

/// How a message fares and how it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Which statuses come.
    pub story: Story,
    /// What `pricing` says.
    pub billing: Billing,
    /// Whether `biz_opaque_callback_data` is echoed.
    pub opaque: bool,
    /// Whether the first status is delivered before the HTTP answer.
    pub early: bool,
    /// How the recipient is named.
    pub recipient: Recipient,
}

impl Course {
    /// A message without a fault.
    pub const ORDINARY: Course = Course {
        story: Story::Ordinary,
        billing: Billing::Regular,
        opaque: true,
        early: false,
        recipient: Recipient::Usual,
    };
}

/// The statuses of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// sent, delivered, read; at times twice or out of order.
    Ordinary,
    /// Only failed, with this code.
    Fails(u32),
    /// sent, failed.
    SentThenFails(u32),
    /// sent, delivered, failed.
    DeliveredThenFails(u32),
    /// Nothing.
    Silent,
    /// read, delivered, sent, each twice.
    Backwards,
    /// Only read.
    ReadOnly,
    /// Only delivered.
    DeliveredOnly,
    /// Only sent.
    SentOnly,
}

/// What `pricing` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing {
    /// The template's category, charged.
    Regular,
    /// Free of charge.
    Free,
    /// Charged in this category.
    As(&'static str),
    /// No pricing object.
    Missing,
}

/// How statuses name the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// The digits of the number.
    Usual,
    /// Only `recipient_user_id`, as for people who took a username.
    Hidden,
    /// Other digits than were sent, as Meta does for some countries.
    Rewritten,
}

/// One status webhook to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is reported.
    pub status: Status,
    /// When it arrives, in steps of the status delay.
    pub after: u32,
    /// The code of a failure.
    pub code: Option<u32>,
}

/// How often, in percent, ordinary messages are reported untidily.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untidiness {
    /// Statuses that come twice.
    pub twice_percent: u8,
    /// Statuses that come out of order.
    pub disorder_percent: u8,
}

/// The statuses of a message; `hash` decides which ordinary messages are reported twice or out of order.
pub fn plan(story: Story, untidiness: Untidiness, hash: u64) -> Vec<Step> {
    let step = |status, after| Step { status, after, code: None };
    let failed = |code, after| Step { status: Status::Failed, after, code: Some(code) };
    let (sent, delivered, read) = (step(Status::Sent, 1), step(Status::Delivered, 2), step(Status::Read, 3));
    match story {
        Story::Ordinary => ordinary(untidiness, hash),
        Story::Fails(code) => vec![failed(code, 1)],
        Story::SentThenFails(code) => vec![sent, failed(code, 2)],
        Story::DeliveredThenFails(code) => vec![sent, delivered, failed(code, 3)],
        Story::Silent => Vec::new(),
        Story::Backwards => [Status::Read, Status::Delivered, Status::Sent]
            .into_iter()
            .zip(1..)
            .flat_map(|(status, after)| [step(status, after), step(status, after)])
            .collect(),
        Story::ReadOnly => vec![read],
        Story::DeliveredOnly => vec![delivered],
        Story::SentOnly => vec![sent],
    }
}

fn ordinary(untidiness: Untidiness, hash: u64) -> Vec<Step> {
    let twice = hash % 100 < u64::from(untidiness.twice_percent);
    let disorder = (hash / 100) % 100 < u64::from(untidiness.disorder_percent);
    let mut order = [Status::Sent, Status::Delivered, Status::Read];
    if disorder {
        let at = (hash / 10_000 % 2) as usize;
        order.swap(at, at + 1);
    }
    let mut steps: Vec<Step> =
        order.into_iter().zip(1..).map(|(status, after)| Step { status, after, code: None }).collect();
    if twice {
        let again = steps[(hash / 20_000 % 3) as usize];
        steps.push(Step { after: 4, ..again });
    }
    steps
}

/// FNV-1a; stable between runs, so that the same calls give the same order.
pub fn stable_hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let raw = bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The low bits of FNV are weak; fold the high ones in.
    raw ^ (raw >> 32)
}

/// One element of `statuses[]`.
pub fn status_object(message: &Message, step: Step) -> Value {
    let course = message.course;
    let mut object = json!({
        "id": message.wamid,
        "status": step.status.as_str(),
        "timestamp": (message.accepted_at.timestamp() + i64::from(step.status as u8)).to_string(),
    });
    match course.recipient {
        Recipient::Hidden => object["recipient_user_id"] = json!(format!("ID.{}", stable_hash(message.to.bytes()))),
        Recipient::Usual | Recipient::Rewritten => object["recipient_id"] = json!(message.wa_id()),
    }
    if course.opaque
        && let Some(opaque) = &message.opaque
    {
        object["biz_opaque_callback_data"] = json!(opaque);
    }
    if let Some(code) = step.code {
        object["errors"] = json!([GraphError::new(code).webhook_entry()]);
    }
    add_pricing(&mut object, message, step);
    object
}

/// Pricing comes with sent and one of delivered and read.
fn add_pricing(object: &mut Value, message: &Message, step: Step) {
    let told = match step.status {
        Status::Sent | Status::Delivered => true,
        Status::Read => message.course.story == Story::ReadOnly,
        Status::Accepted | Status::Failed => false,
    };
    let (kind, category) = match message.course.billing {
        Billing::Missing => return,
        _ if !told => return,
        Billing::Regular => ("regular", message.category.as_str()),
        Billing::Free => ("free_customer_service", message.category.as_str()),
        Billing::As(category) => ("regular", category),
    };
    object["pricing"] =
        json!({ "billable": kind == "regular", "pricing_model": "PMP", "type": kind, "category": category });
    if message.version < VERSION_WITHOUT_CONVERSATION {
        let id = format!("{:016x}", stable_hash(message.to.bytes()));
        object["conversation"] = json!({ "id": id, "origin": { "type": category } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIDY: Untidiness = Untidiness { twice_percent: 0, disorder_percent: 0 };

    fn names(steps: &[Step]) -> Vec<&'static str> {
        let mut steps = steps.to_vec();
        steps.sort_by_key(|step| step.after);
        steps.iter().map(|step| step.status.as_str()).collect()
    }

    #[test]
    fn a_tidy_message_is_sent_delivered_read() {
        assert!((0..1_000).all(|hash| names(&plan(Story::Ordinary, TIDY, hash)) == ["sent", "delivered", "read"]));
    }

    #[test]
    fn untidiness_loses_no_status_and_hits_its_share() {
        let untidy = Untidiness { twice_percent: 10, disorder_percent: 20 };
        let plans: Vec<Vec<Step>> =
            (0..10_000u64).map(|n| plan(Story::Ordinary, untidy, stable_hash(n.to_le_bytes()))).collect();
        let twice = plans.iter().filter(|steps| steps.len() == 4).count();
        let disorder = plans.iter().filter(|steps| names(steps)[..3] != ["sent", "delivered", "read"]).count();
        assert!((700..1_300).contains(&twice), "{twice} twice");
        assert!((1_500..2_500).contains(&disorder), "{disorder} out of order");
        for status in [Status::Sent, Status::Delivered, Status::Read] {
            assert!(plans.iter().all(|steps| steps.iter().any(|step| step.status == status)));
        }
    }

    #[test]
    fn backwards_comes_twice_each() {
        assert_eq!(names(&plan(Story::Backwards, TIDY, 0)), ["read", "read", "delivered", "delivered", "sent", "sent"]);
    }

    #[test]
    fn ranks_find_their_status() {
        for status in [Status::Accepted, Status::Sent, Status::Delivered, Status::Read, Status::Failed] {
            assert_eq!(Status::from_rank(status as u8), status);
        }
    }
}

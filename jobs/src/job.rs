//! A job as a value, and the way from its bytes to it and back.
//!
//! 1. The limits of [`crate::bounds`] hold before anything is parsed.
//! 2. One pass of serde reads the envelope; the data is borrowed as it stands until the kind is known.
//! 3. A second, short pass reads the data as that kind's.
//! 4. Only a job that fails is looked at again, for an error that names the field (`diagnosis.rs`).

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Data, InvalidJob, Kind, Language, Moment, Rejection, bounds, check, diagnosis, rule};

/// What a producer put into Redis: tell one patient of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The producer's idempotency key, unique per tenant, for good.
    pub id: String,
    /// The tenant's code.
    pub tenant: String,
    /// The recipient's phone number as the producer wrote it.
    pub to: String,
    /// The message's language; absent means the tenant's default.
    pub language: Option<Language>,
    /// What the message tells; its type is the job's kind.
    pub data: Data,
    /// Not to be sent before this moment.
    pub send_after: Option<Moment>,
    /// Not to be sent after this moment.
    pub expires_at: Option<Moment>,
    /// The producer's trace (W3C `traceparent`); a malformed one is ignored, since tracing must not stop a message.
    pub traceparent: Option<String>,
}

impl Job {
    /// The job's kind.
    pub fn kind(&self) -> Kind {
        self.data.kind()
    }

    /// The job as one line of JSON, as `XADD` takes it; what is absent is left out.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a job holds only strings, integers and moments")
    }
}

impl Serialize for Job {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let optional =
            [self.language.is_some(), self.send_after.is_some(), self.expires_at.is_some(), self.traceparent.is_some()];
        let length = 6 + optional.into_iter().filter(|present| *present).count();
        let mut envelope = serializer.serialize_struct("Job", length)?;
        envelope.serialize_field("v", &1)?;
        envelope.serialize_field("id", &self.id)?;
        envelope.serialize_field("tenant", &self.tenant)?;
        envelope.serialize_field("kind", &self.kind())?;
        envelope.serialize_field("to", &self.to)?;
        if let Some(language) = self.language {
            envelope.serialize_field("language", &language)?;
        }
        envelope.serialize_field("data", &self.data)?;
        if let Some(moment) = self.send_after {
            envelope.serialize_field("send_after", &moment)?;
        }
        if let Some(moment) = self.expires_at {
            envelope.serialize_field("expires_at", &moment)?;
        }
        if let Some(traceparent) = &self.traceparent {
            envelope.serialize_field("traceparent", traceparent)?;
        }
        envelope.end()
    }
}

/// Reads a job from the bytes of the field `job`.
///
/// Every limit of the contract is checked here except the phone number, which needs the tenant's country.
/// The rejection carries tenant and id whenever the payload has them, so that the producer can be told.
pub fn parse(payload: &[u8]) -> Result<Job, Rejection> {
    read(payload).map_err(|error| {
        let (tenant, id) = diagnosis::names(payload);
        Rejection { tenant, id, error }
    })
}

impl Data {
    /// Reads the data of a kind from its JSON object, with every limit checked.
    ///
    /// It applies to data that stands alone, such as a stored notification's; limits of the whole job do not.
    pub fn parse(kind: Kind, json: &str) -> Result<Data, InvalidJob> {
        if !json.trim_ascii_start().starts_with('{') {
            // A derived struct would take an array too.
            return Err(diagnosis::data(kind, json));
        }
        let parsed = match kind {
            Kind::RegistrationConfirmed => serde_json::from_str(json).map(Data::RegistrationConfirmed),
            Kind::PrescriptionReady => serde_json::from_str(json).map(Data::PrescriptionReady),
            Kind::ConsultationReminder => serde_json::from_str(json).map(Data::ConsultationReminder),
            Kind::CreditPurchaseStatus => serde_json::from_str(json).map(Data::CreditPurchaseStatus),
            Kind::AppointmentChanged => serde_json::from_str(json).map(Data::AppointmentChanged),
        };
        let mut data = parsed.map_err(|_| diagnosis::data(kind, json))?;
        check::data(&mut data)?;
        Ok(data)
    }
}

/// The envelope as it stands in JSON; unknown fields are ignored, known ones may not come twice.
#[derive(Deserialize)]
struct Envelope<'a> {
    v: u64,
    id: String,
    tenant: String,
    kind: Kind,
    to: String,
    #[serde(default)]
    language: Option<Language>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default, deserialize_with = "crate::moment::deserialize_option")]
    send_after: Option<Moment>,
    #[serde(default, deserialize_with = "crate::moment::deserialize_option")]
    expires_at: Option<Moment>,
    #[serde(default, borrow)]
    traceparent: Option<&'a RawValue>,
}

fn read(payload: &[u8]) -> Result<Job, InvalidJob> {
    let text = bounds::check(payload)?;
    if !text.trim_ascii_start().starts_with('{') {
        // A derived struct would take an array too.
        return Err(diagnosis::envelope(text));
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| diagnosis::envelope(text))?;
    if envelope.v != 1 {
        return Err(InvalidJob::UnknownVersion);
    }
    check::text(&rule::ID, &envelope.id)?;
    check::text(&rule::TENANT, &envelope.tenant)?;
    check::text(&rule::TO, &envelope.to)?;
    check::window(envelope.send_after, envelope.expires_at)?;
    Ok(Job {
        data: Data::parse(envelope.kind, envelope.data.get())?,
        id: envelope.id,
        tenant: envelope.tenant,
        to: envelope.to,
        language: envelope.language,
        send_after: envelope.send_after,
        expires_at: envelope.expires_at,
        traceparent: envelope.traceparent.and_then(traceparent),
    })
}

/// Takes a traceparent as <https://www.w3.org/TR/trace-context/> (level 1) defines it, else none.
fn traceparent(raw: &RawValue) -> Option<String> {
    let text: String = serde_json::from_str(raw.get()).ok()?;
    let hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let identified = hex(trace, 32) && hex(parent, 16) && trace.contains(|c| c != '0') && parent.contains(|c| c != '0');
    (known && identified && hex(flags, 2) && text.len() <= 256).then_some(text)
}

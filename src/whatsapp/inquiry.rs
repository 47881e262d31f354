//! Questions about a sender, for those that must not send: the web checks a connection and reaches no patient.

use super::{Client, ClientError, Options, PhoneNumber, SendError, Sender};
use crate::config::WhatsAppConfig;

/// A client that can only ask.
#[derive(Debug)]
pub struct Inquirer(Client);

impl Inquirer {
    /// Asks where this configuration says.
    pub fn new(config: WhatsAppConfig) -> Result<Self, ClientError> {
        let mut options = Options::new(config.api_url, config.api_version);
        options.read_timeout = config.read_timeout;
        Ok(Self(Client::new(options)?))
    }

    /// Asks what Meta knows of a sender: a GET of its id with its token.
    pub async fn phone_number(&self, phone_number_id: &str, token: &str) -> Result<PhoneNumber, SendError> {
        self.0.phone_number(&Sender { phone_number_id, token }).await
    }
}

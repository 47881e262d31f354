//! What can be recorded: one spelling per act, `family.verb`, in SQL, JSON and on the command line.

/// Variants and their spellings, in both directions.
macro_rules! actions {
    ($($(#[$doc:meta])+ $variant:ident = $text:literal,)+) => {
        /// What somebody did.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[$doc])+ $variant),+
        }
        impl Action {
            /// Every action, by family.
            pub const ALL: &[Action] = &[$(Action::$variant),+];
            /// The spelling in SQL and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $text),+ }
            }
        }
    };
}

actions! {
    /// A tenant was added.
    TenantAdd = "tenant.add",
    /// A tenant's settings or switches were changed.
    TenantSet = "tenant.set",
    /// A tenant's patient data was erased.
    TenantErase = "tenant.erase",
    /// When a tenant's reminders go was changed.
    RemindersSet = "reminders.set",
    /// A tenant's sender was set; of the token only that it changed.
    WhatsappSet = "whatsapp.set",
    /// A price was set from a date on.
    PriceSet = "price.set",
    /// A price of the future was withdrawn.
    PriceWithdraw = "price.withdraw",
    /// Credit was given or taken by hand.
    CreditAdjust = "credit.adjust",
    /// Credit was ordered.
    PurchaseCreate = "purchase.create",
    /// An order was paid.
    PurchasePay = "purchase.pay",
    /// An order was cancelled.
    PurchaseCancel = "purchase.cancel",
    /// An order was not paid in time.
    PurchaseExpire = "purchase.expire",
    /// The credit of an order was granted.
    PurchaseComplete = "purchase.complete",
    /// A report of a payment was refused.
    PaymentRefused = "payment.refused",
    /// A notification was sent again by an operator.
    NotificationResend = "notification.resend",
    /// A notification was cancelled.
    NotificationCancel = "notification.cancel",
    /// An operator said what became of an unknown notification.
    NotificationResolve = "notification.resolve",
    /// Rejected jobs were put back.
    QueueRequeue = "queue.requeue",
    /// Rejected jobs were removed.
    QueuePurge = "queue.purge",
    /// A lane was stopped.
    QueuePause = "queue.pause",
    /// A lane was opened again.
    QueueResume = "queue.resume",
    /// Secrets were encrypted under another key.
    SecretRotate = "secret.rotate",
    /// A patient wants no messages.
    OptOutAdd = "opt_out.add",
    /// A patient wants messages again.
    OptOutRemove = "opt_out.remove",
    /// A template was sent to Meta.
    TemplatePush = "template.push",
    /// A tenant's own text was entered in the place of ours; of the text only its digest.
    TemplateOverride = "template.override",
    /// A tenant's own text was taken back.
    TemplateRestore = "template.restore",
    /// A user was added.
    UserAdd = "user.add",
    /// A user was disabled.
    UserDisable = "user.disable",
    /// A user's password was changed.
    UserPasswd = "user.passwd",
    /// A user's link to a person at the provider was forgotten.
    UserUnlink = "user.unlink",
    /// An API key was made.
    KeyAdd = "key.add",
    /// An API key was revoked.
    KeyRevoke = "key.revoke",
    /// Somebody logged in.
    LoginSucceed = "login.succeed",
    /// A log-in was refused.
    LoginFail = "login.fail",
    /// Somebody logged in by the provider for the first time, and is known by it from then on.
    LoginLink = "login.link",
    /// Somebody logged out.
    LoginEnd = "login.end",
    /// The clock of the chains was shifted, in a cluster that a dump was restored into.
    AuditRebase = "audit.rebase",
    /// A month of the event log was dropped; the subject is its table.
    MonthDrop = "month.drop",
    /// Somebody looked at a patient's data.
    PatientView = "patient.view",
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

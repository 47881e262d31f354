//! Credit: what a tenant has paid for and not yet used, what a notification costs, and orders of more.
//!
//! 1 credit is 1 unit of the tenant's currency. Amounts are decimals with six places, never floats.
//! [`price`] says what a notification costs, [`ledger`] moves credit between the accounts of one tenant,
//! [`purchase`] takes an order of credit to its grant, [`payment`] is how a gateway reports that it was paid,
//! [`alert`] tells tenants whose credit runs out.
//!
//! Invariant: whoever changes an account holds its row's lock first, and takes the locks of several
//! tenants in the order of their ids ([`ledger::store::lock`]).

pub mod alert;
pub mod amount;
pub mod ledger;
pub mod payment;
pub mod price;
pub mod purchase;
pub mod view;

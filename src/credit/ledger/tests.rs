//! The ledger against a real database: nothing is lost, doubled or overdrawn.

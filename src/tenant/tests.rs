//! Tenants against a real database.

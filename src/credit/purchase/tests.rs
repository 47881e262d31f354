//! Purchases against a real database: one grant, whoever asks how often.

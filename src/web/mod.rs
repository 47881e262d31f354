//! Filled by the capability of this name.

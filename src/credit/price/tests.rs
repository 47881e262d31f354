//! Prices: dates, zones, and what may no longer be changed.

//! Messages read as events.

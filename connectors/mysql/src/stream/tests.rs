//! The state machine, fed with hand-made events.

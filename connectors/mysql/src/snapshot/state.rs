//! How far a snapshot has come, as the registry keeps it.

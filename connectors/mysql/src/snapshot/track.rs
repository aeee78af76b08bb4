//! The keys that the stream changed while chunks were on their way.

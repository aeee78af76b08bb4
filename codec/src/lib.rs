//! CloudEvents and EventMesh TCP: bytes in, bytes out.

//! Ports for what a measurement starts.

use std::net::{Ipv4Addr, TcpListener};

use crate::Failure;

/// A port of 127.0.0.1 that is free now.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

//! A listener between flowd and a server that passes every byte on and remembers it: what a listener on the network
//! would see.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::Server;

/// Both directions, each in order as long as there is one connection at a time.
pub struct Wire {
    pub port: u16,
    to_server: Arc<Mutex<Vec<u8>>>,
    to_client: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    /// Its thread waits for connections until the test's process ends.
    pub fn before(server: &Server) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wire = Self {
            port: listener.local_addr().unwrap().port(),
            to_server: Arc::default(),
            to_client: Arc::default(),
        };
        let (to_server, to_client, port) =
            (Arc::clone(&wire.to_server), Arc::clone(&wire.to_client), server.port);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                let (client_again, server_again) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (to_server, to_client) = (Arc::clone(&to_server), Arc::clone(&to_client));
                thread::spawn(move || pass_on(client, server, &to_server));
                thread::spawn(move || pass_on(server_again, client_again, &to_client));
            }
        });
        wire
    }

    pub fn client_said(&self, text: &str) -> bool {
        contains(&self.to_server.lock().unwrap(), text)
    }

    pub fn server_said(&self, text: &str) -> bool {
        contains(&self.to_client.lock().unwrap(), text)
    }

    pub fn forget(&self) {
        self.to_server.lock().unwrap().clear();
        self.to_client.lock().unwrap().clear();
    }
}

/// Whether the bytes hold the text.
pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, heard: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 * 1024];
    // A reset ends a connection as well as an end does.
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        heard.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

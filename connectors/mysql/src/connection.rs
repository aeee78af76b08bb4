//! One connection to the server: connect, TLS, login, queries, and the raw stream for the binlog.
//!
//! Blocking. Invariant: no command follows an answer that is half read; after an error other than the server's own a
//! connection is of no use and is dropped. Every wait is bounded: [`CONNECT_WAIT`] for TCP, [`ANSWER_WAIT`] for each
//! read and write.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use flowd_engine::failure::Failure;
use socket2::{SockRef, TcpKeepalive};

use crate::config::MySqlConfig;
use crate::error::WireError;
use crate::handshake::{Greeting, Transport, log_in, request_tls};
use crate::packet::Channel;
use crate::query::{ResultSet, Row, read_result};
use crate::server::Server;
use crate::tls::{self, ShutdownHandle, Stream};

/// How long one address may take to accept the connection.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long the server may be silent during login and queries.
pub const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// A peer that vanished is noticed by keep-alive after about this long, also where no read has a time-out.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Whole answers, no transaction that we did not open, and an end of every wait for somebody's lock before we give the
/// connection up ([`ANSWER_WAIT`]): a server does not notice that, and would keep it until the lock is free.
const SESSION: [&str; 2] = [
    "SET SESSION sql_select_limit = 18446744073709551615, sql_big_selects = 1, autocommit = 1, completion_type = 0",
    "SET SESSION lock_wait_timeout = 20, innodb_lock_wait_timeout = 20",
];

const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;

/// A logged-in connection, between two commands.
#[derive(Debug)]
pub struct Connection {
    channel: Channel<Stream>,
    server: Server,
    answer: Answer,
    /// Commands that were sent and whose answers are not begun: only where they are sent ahead.
    ahead: usize,
}

/// How far the answer to the last command was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing is under way.
    Whole,
    /// More of it comes, or an error left it unread.
    HalfRead,
}

impl Connection {
    /// Connects, logs in, and makes the session one whose answers do not depend on the server's defaults. `Retry` where
    /// nobody answers or the server is not ready; `Unusable` where it refuses us or cannot be trusted as configured.
    pub fn connect(config: &MySqlConfig) -> Result<Self, Failure> {
        Self::open(config).and_then(Self::settled).map_err(|error| {
            let hint = hint(&error);
            error.into_failure(&format!("{} as user {}{hint}", config.address(), config.user))
        })
    }

    /// Undoes what the server's defaults may cut short, refuse or leave open.
    fn settled(mut self) -> Result<Self, WireError> {
        for statement in SESSION {
            self.execute(statement)?;
        }
        let (is_mysql, version) = (self.server.is_mysql(), self.server.version);
        if is_mysql && version >= (8, 0, 30) {
            // A generated invisible primary key is in the binlog; the catalog must list it too.
            self.execute("SET SESSION show_gipk_in_create_table_and_information_schema = ON")?;
        }
        if is_mysql && version >= (5, 7, 8) {
            self.execute("SET SESSION max_execution_time = 0")?;
        }
        if !is_mysql {
            self.execute("SET SESSION max_statement_time = 0")?;
        }
        Ok(self)
    }

    /// Connects and logs in, with the error as it is and the session as the server's defaults make it.
    pub fn open(config: &MySqlConfig) -> Result<Self, WireError> {
        let mut channel = Channel::new(connect_tcp(config)?);
        let greeting = Greeting::read(&mut channel)?;
        let mut transport = Transport::Plain;
        let mut channel = if greeting.wants_tls(&config.tls.mode)? {
            request_tls(&mut channel, &greeting)?;
            transport = Transport::Tls;
            channel.replace_stream(|socket| tls::handshake(socket, config))?
        } else {
            channel.replace_stream(|socket| Ok::<_, WireError>(Stream::Plain(socket)))?
        };
        log_in(&mut channel, &greeting, config, transport)?;
        tracing::debug!(
            server = greeting.server.description(),
            connection = greeting.server.connection_id,
            tls = channel.stream().tls_description(),
            "logged in"
        );
        Ok(Self { channel, server: greeting.server, answer: Answer::Whole, ahead: 0 })
    }

    /// Who answers.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The agreed TLS version and cipher suite; `None` over plain TCP.
    pub fn tls_description(&self) -> Option<String> {
        self.channel.stream().tls_description()
    }

    /// Runs a statement and reads its answer whole; a statement without rows gives an empty set.
    pub fn query(&mut self, sql: &str) -> Result<ResultSet, WireError> {
        let mut command = Vec::with_capacity(sql.len() + 1);
        command.push(COM_QUERY);
        command.extend_from_slice(sql.as_bytes());
        let result = read_result(self.begin_answer(&command)?);
        self.end_answer(result)
    }

    /// Runs a statement whose answer does not matter.
    pub fn execute(&mut self, sql: &str) -> Result<(), WireError> {
        self.query(sql).map(drop)
    }

    /// The first row of the answer, if there is one.
    pub fn query_first(&mut self, sql: &str) -> Result<Option<Row>, WireError> {
        Ok(self.query(sql)?.rows.into_iter().next())
    }

    /// The first value of the first row as text; `None` where there is no row or the value is NULL.
    pub fn query_text(&mut self, sql: &str) -> Result<Option<String>, WireError> {
        let first = self.query_first(sql)?.and_then(|row| row.into_iter().next().flatten());
        Ok(first.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Sends one command, its number first. The answer is the caller's business: [`Connection::read_packet`], or the
    /// raw stream. An error where an earlier answer was not read to its end: its rest would be taken for the new one.
    pub fn send_command(&mut self, command: &[u8]) -> Result<(), WireError> {
        if self.answer == Answer::HalfRead {
            let message =
                "an earlier answer was not read to its end, so this connection takes no command any more";
            return Err(io::Error::other(message).into());
        }
        self.channel.restart_sequence();
        self.channel.write(command)
    }

    /// Sends a command and gives what its answer is read from; until [`Self::end_answer`] no other command is taken.
    pub(crate) fn begin_answer(&mut self, command: &[u8]) -> Result<&mut Channel<Stream>, WireError> {
        self.send_command(command)?;
        self.answer = Answer::HalfRead;
        Ok(&mut self.channel)
    }

    /// Sends a command behind others whose answers are not read yet; they come in order: [`Self::next_answer`].
    pub(crate) fn send_ahead(&mut self, command: &[u8]) -> Result<(), WireError> {
        if self.ahead == 0 {
            self.begin_answer(command)?;
        } else {
            self.channel.restart_sequence();
            self.channel.write(command)?;
        }
        self.ahead += 1;
        Ok(())
    }

    /// The first packet of the next answer, where each answer is one packet. After the last, [`Self::end_answer`].
    pub(crate) fn next_answer(&mut self) -> Result<Vec<u8>, WireError> {
        assert!(self.ahead > 0, "an answer for each command");
        self.ahead -= 1;
        *self.channel.sequence() = 1;
        self.channel.read()
    }

    /// The answer that is under way.
    pub(crate) fn answer(&mut self) -> &mut Channel<Stream> {
        &mut self.channel
    }

    /// Passes on how reading an answer ended. The server's own error ends it as properly as its last packet.
    pub(crate) fn end_answer<T>(&mut self, result: Result<T, WireError>) -> Result<T, WireError> {
        if matches!(result, Ok(_) | Err(WireError::Server { .. })) {
            self.answer = Answer::Whole;
        }
        result
    }

    /// The next packet's payload, at most [`crate::packet::PAYLOAD_BYTES_MAX`] bytes.
    pub fn read_packet(&mut self) -> Result<Vec<u8>, WireError> {
        self.channel.read()
    }

    /// What another thread uses to end the connection; also a read that is under way ends.
    pub fn shutdown_handle(&self) -> io::Result<ShutdownHandle> {
        self.channel.stream().shutdown_handle()
    }

    /// Gives the byte stream up to the binlog reader, together with what was already read from it. The stream keeps
    /// [`ANSWER_WAIT`] as its read time-out until the reader sets another.
    pub fn into_stream(self) -> (Stream, Vec<u8>) {
        self.channel.into_parts()
    }

    /// Says goodbye, so that the server does not count an aborted client.
    pub fn close(mut self) {
        if let Err(error) = self.send_command(&[COM_QUIT]) {
            tracing::debug!(%error, "the connection was down already");
        }
    }
}

/// Tries every address of the host in turn.
fn connect_tcp(config: &MySqlConfig) -> Result<TcpStream, WireError> {
    let addresses = (config.hostname.as_str(), config.port).to_socket_addrs()?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_WAIT) {
            Ok(socket) => {
                prepare(&socket)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// The receive buffer is left alone: the kernel grows it better than a fixed size would.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_WAIT))?;
    socket.set_write_timeout(Some(ANSWER_WAIT))?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_IDLE / 3);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// What to do about the errors that a first start meets most.
fn hint(error: &WireError) -> &'static str {
    match error.code() {
        Some(1045 | 1698) => {
            " (check connectorConfig.user and password, the host part of the account, and whether it requires TLS)"
        }
        Some(1130) => " (no account of this server may log in from this host)",
        Some(3159 | 4151) => " (the account or the server demands TLS: sslMode required)",
        _ => "",
    }
}

#[cfg(test)]
mod tests;

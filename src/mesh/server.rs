//! Start, run and stop of a server: one thread for all connections, one for the disk.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::broker::{Broker, Shared};
use super::commit;
use super::connection::{self, Context};
use super::faults::{FaultPlan, Faults};
use super::limits::{JavaLimits, Limits};
use super::session::Rules;

/// Connections at a time; one more is closed at once, as by the Java server.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a stopping server waits for its connections to end.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Pause after the listener refused to give a connection (usually: no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a server runs. Start from [`ServerConfig::new`].
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address to listen on, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Where events and cursors are kept; without it they die with the server.
    pub data: Option<PathBuf>,
    /// Bytes of events kept at most; at the bound publishers are refused. With a directory its files take at most
    /// about twice as much.
    pub retain_bytes: u64,
    /// Events pushed to a session and not acknowledged, at most. A sink holds back what came before its turn, so this has
    /// to be more than a publisher's look-ahead, or the one that is waited for would never be pushed.
    pub window: usize,
    /// An event that was not acknowledged for so long goes out again.
    pub ack_timeout: Duration,
    /// A connection without HELLO is closed after this.
    pub hello_timeout: Duration,
    /// A session from which nothing came for so long is closed.
    pub silence_max: Duration,
    /// A session that said goodbye is closed after this.
    pub leave_timeout: Duration,
    /// The limits of a Java server; without them only memory and the wire bound what is taken.
    pub limits: Option<JavaLimits>,
    /// For tests of the clients only.
    pub faults: FaultPlan,
}

impl ServerConfig {
    /// The bound of a server in memory.
    pub const RETAIN_MEMORY: u64 = 256 << 20;
    /// The bound of a server with a directory.
    pub const RETAIN_DISK: u64 = 1 << 30;

    /// The defaults: the bound goes with whether there is a directory.
    pub fn new(listen: impl Into<String>, data: Option<PathBuf>) -> Self {
        Self {
            listen: listen.into(),
            retain_bytes: if data.is_some() { Self::RETAIN_DISK } else { Self::RETAIN_MEMORY },
            data,
            window: 4096,
            ack_timeout: Duration::from_secs(5),
            hello_timeout: Duration::from_secs(10),
            silence_max: Duration::from_secs(60),
            leave_timeout: Duration::from_secs(30),
            limits: None,
            faults: FaultPlan::default(),
        }
    }
}

/// Why a server does not start. The program's exit code for both is 3.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}; choose another address or stop what uses it")]
    Listen {
        /// As configured.
        listen: String,
        /// What the system said.
        source: io::Error,
    },
    /// The directory cannot be used.
    #[error("cannot use the data directory {}: {source}", .directory.display())]
    Data {
        /// As configured.
        directory: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The threads cannot be started.
    #[error("cannot start the server's threads: {0}")]
    Threads(io::Error),
}

/// Why a running server ended by itself. The program's exit code is 4.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The journal cannot be written; nobody was told that an event is stored which is not.
    #[error("the journal cannot be written: {0}; free or repair the disk and start again")]
    Journal(io::Error),
    /// A thread panicked.
    #[error("a thread of the mesh panicked")]
    Panic,
}

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Starts a server; when this returns, it listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        let rules = rules(&config);
        let listener =
            listen(&config.listen).map_err(|source| StartError::Listen { listen: config.listen, source })?;
        let address = listener.local_addr().map_err(StartError::Threads)?;
        let broker = open(config.data.as_deref(), config.retain_bytes)?;
        tracing::warn!(
            "the embedded mesh is for first runs, tests and benchmarks; for production use EventMesh"
        );
        match &config.data {
            Some(directory) => {
                tracing::info!(data = %directory.display(), bound = config.retain_bytes, "events are kept on disk");
            }
            None => {
                tracing::warn!(bound = config.retain_bytes, "no data directory: events die with the mesh");
            }
        }
        tracing::info!("listening on {address}");
        let (stop, stopped) = watch::channel(false);
        let context = Context {
            shared: Arc::new(Shared::new(broker)),
            rules,
            host: address.ip().to_string().into(),
            faults: Faults::new(config.faults),
            limits: Limits::new(config.limits),
            stop: stopped,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let stopper = stop.clone();
        let durable = config.data.is_some();
        let thread = thread::Builder::new()
            .name("mesh".into())
            .spawn(move || run(&runtime, listener, context, &stopper, durable))
            .map_err(StartError::Threads)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the server to stop: clients hear goodbye, the disk gets the rest. Does not wait.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether its threads have ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the server has ended, by [`Server::stop`] or by itself.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub fn wait(mut self) -> Result<(), ServeError> {
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Err(ServeError::Panic)))
    }

    /// [`Server::stop`] and [`Server::wait`].
    ///
    /// # Errors
    /// As [`Server::wait`].
    pub fn shutdown(self) -> Result<(), ServeError> {
        self.stop();
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(address: &str) -> io::Result<TcpListener> {
    let candidates: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&*candidates)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn open(data: Option<&Path>, retain_bytes: u64) -> Result<Broker, StartError> {
    let Some(directory) = data else { return Ok(Broker::in_memory(retain_bytes)) };
    Broker::open(directory, retain_bytes)
        .map_err(|source| StartError::Data { directory: directory.to_path_buf(), source })
}

fn rules(config: &ServerConfig) -> Rules {
    Rules {
        window: config.window.max(1),
        ack_timeout: config.ack_timeout,
        hello_timeout: config.hello_timeout,
        silence_max: config.silence_max,
        leave_timeout: config.leave_timeout,
    }
}

/// The server's thread: serves until told to stop, then sees the disk's thread to its end.
fn run(
    runtime: &tokio::runtime::Runtime,
    listener: TcpListener,
    context: Context,
    stop: &watch::Sender<bool>,
    durable: bool,
) -> Result<(), ServeError> {
    let shared = Arc::clone(&context.shared);
    let ended = Arc::new(AtomicBool::new(false));
    let disk = durable.then(|| {
        let (shared, ended, stop) = (Arc::clone(&shared), Arc::clone(&ended), stop.clone());
        thread::Builder::new().name("mesh-disk".into()).spawn(move || {
            let result = commit::run(&shared, &ended);
            // Without a disk there is nothing to serve.
            stop.send_replace(true);
            result
        })
    });
    let served = runtime.block_on(accept(listener, context));
    // Release: the disk's thread then sees everything that was published before.
    ended.store(true, Ordering::Release);
    shared.work.notify_all();
    match disk {
        None => {}
        Some(Err(error)) => return Err(ServeError::Journal(error)),
        Some(Ok(thread)) => thread.join().map_err(|_| ServeError::Panic)?.map_err(ServeError::Journal)?,
    }
    let (dropped, refused) = shared.lock().losses();
    tracing::info!(dropped, refused, "the mesh has stopped");
    served.map_err(ServeError::Journal)
}

async fn accept(listener: TcpListener, context: Context) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    let mut stop = context.stop.clone();
    loop {
        tokio::select! {
            () = connection::stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(connection::serve(stream, peer, context.clone()));
                }
                Ok((_, peer)) => tracing::warn!(%peer, max = CONNECTIONS_MAX, "too many connections"),
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended =
        tokio::time::timeout(STOP_MAX, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(left = connections.len(), "connections cut off");
    }
    Ok(())
}

//! A session with the target: as it must be for values to arrive exactly, and the lock of the one sink of a name.
//!
//! The client is asynchronous, the sink is not: a runtime of this thread's own runs it while a call waits. Invariant: while
//! a session lives it holds the lock; where it is lost, the lock is, and both are taken anew.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ahash::AHashMap;
use flowd_engine::failure::Failure;
use flowd_tls::client::TlsMode;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_rustls::TlsConnector;

use crate::config::PostgresConfig;
use crate::fault::{Fault, connecting};
use crate::sql::{identifier, literal};
use crate::texts::Texts;
use crate::tls::Connector;

/// How long connecting may take, login included.
const CONNECT_WAIT: Duration = Duration::from_secs(15);
/// How long the server may take for a statement: triggers and many rows can be slow.
const STATEMENT_WAIT: Duration = Duration::from_secs(300);
/// How long the rows of a whole table may take to go.
const LONG_WAIT: Duration = Duration::from_secs(3600);
/// The server's own time-out comes first; this one is for a server that says nothing any more.
const GRACE: Duration = Duration::from_secs(30);
/// How long a statement waits for somebody's lock.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// A process that was just killed may still run its last statement: so long its successor waits for the sink's lock.
const SINK_LOCK_WAIT: Duration = Duration::from_secs(3);
/// How long a connection of ours that was given up may take to end once it was terminated.
const OWN_LOCK_WAIT: Duration = Duration::from_secs(10);
/// Statements that are under way at once: the way to the server is gone once for many.
const AHEAD_MAX: usize = 64;
/// More prepared statements than these are given back.
const PREPARED_MAX: usize = 512;

/// A statement with its parameters.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) statement: Statement,
    pub(crate) params: Arc<[Texts]>,
}

impl Call {
    fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|texts| texts as &(dyn ToSql + Sync)).collect()
    }
}

/// A logged-in session.
pub(crate) struct Session {
    runtime: Runtime,
    client: Arc<Client>,
    prepared: AHashMap<String, Statement>,
    /// The server's process for it.
    pid: i32,
    /// Statements that were sent and whose answers nobody has taken.
    ahead: Vec<Running>,
    /// Of those before them, how many rows each touched.
    counts: Vec<u64>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, and takes the sink's lock. `lost` is the process of a session that was ours before: if it still has the
    /// lock, it is ended.
    pub(crate) fn open(config: &PostgresConfig, lost: Option<i32>) -> Result<Self, Failure> {
        let mut session = Self::connect(config)?;
        session.settle(config).map_err(|fault| fault.into_failure().context(&config.address()))?;
        session.take_lock(config, lost).map_err(|failure| failure.context(&config.address()))?;
        Ok(session)
    }

    /// Connects, and no more.
    pub(crate) fn connect(config: &PostgresConfig) -> Result<Self, Failure> {
        let failed = |failure: Failure| failure.context(&format!("login to {}", config.address()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Retry(format!("no runtime: {error}")))?;
        let connector = Connector(TlsConnector::from(config.tls.config()?));
        let client = runtime.block_on(async {
            let connected = timeout(CONNECT_WAIT, of(config).connect(connector)).await;
            let connected = connected
                .map_err(|_| Failure::Retry(format!("no answer within {} seconds", CONNECT_WAIT.as_secs())));
            let (client, connection) = connected
                .and_then(|result| result.map_err(|error| connecting(&error, config)))
                .map_err(failed)?;
            // It ends with the client, and its error is what the client's next call tells.
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "the connection to PostgreSQL ended");
                }
            });
            Ok::<_, Failure>(client)
        })?;
        let mut session = Self {
            runtime,
            client: Arc::new(client),
            prepared: AHashMap::new(),
            pid: 0,
            ahead: Vec::new(),
            counts: Vec::new(),
        };
        let pid = session.query("SELECT pg_backend_pid()::text", &[]).map_err(Fault::into_failure)?;
        session.pid = pid.first().and_then(|row| text(row, 0).parse().ok()).unwrap_or_default();
        Ok(session)
    }

    fn settle(&mut self, config: &PostgresConfig) -> Result<(), Fault> {
        let role = if config.is_replica { "SET session_replication_role = replica;" } else { "" };
        let role_failed = |fault: Fault| match fault {
            Fault::Failed(Failure::Unusable(reason)) => Fault::Failed(Failure::Unusable(format!(
                "connectorConfig.sessionReplicationRole: {reason}; from PostgreSQL 15 on a superuser can GRANT SET ON PARAMETER \
                 session_replication_role TO {}",
                identifier(&config.user)
            ))),
            other => other,
        };
        self.run(role).map_err(role_failed)?;
        // Names of ours are qualified; the path is for triggers, and for the operators of extensions.
        let path = format!("{}, public", identifier(config.schema()));
        self.run(&format!(
            "SET search_path = {path}; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
             SET standard_conforming_strings = on; SET xmloption = content; \
             SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; \
             SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = 0; \
             SET plan_cache_mode = force_custom_plan; SET jit = off; \
             SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings \
             WHERE name IN ('idle_session_timeout', 'transaction_timeout'); \
             SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            STATEMENT_WAIT.as_millis(),
            LOCK_WAIT.as_millis()
        ))
    }

    fn take_lock(&mut self, config: &PostgresConfig, lost: Option<i32>) -> Result<(), Failure> {
        let lock = lock_name(&config.connector_name);
        if self.locks(&lock, Duration::from_millis(1))? {
            return Ok(());
        }
        let holder = self.lock_holder(&lock).map_err(Fault::into_failure)?;
        if holder.is_some() && holder == lost {
            let sql = format!("SELECT pg_terminate_backend({})", holder.unwrap_or_default());
            self.run(&sql).map_err(Fault::into_failure)?;
            return match self.locks(&lock, OWN_LOCK_WAIT)? {
                true => Ok(()),
                false => {
                    Err(Failure::Retry(format!("a lost connection of ours still holds the lock {lock}")))
                }
            };
        }
        if self.locks(&lock, SINK_LOCK_WAIT)? {
            return Ok(());
        }
        let holder = holder.map_or_else(|| "another session".into(), |pid| format!("process {pid}"));
        Err(Failure::Unusable(format!(
            "{holder} holds the advisory lock {lock}: another sink with the connectorName {} is running; stop it, or give this \
             one another name (and another group)",
            config.connector_name
        )))
    }

    /// Whether the lock is ours within `wait`.
    fn locks(&mut self, lock: &str, wait: Duration) -> Result<bool, Failure> {
        let sql = format!(
            "SET lock_timeout = {}; SELECT pg_advisory_lock({}); SET lock_timeout = {}",
            wait.as_millis(),
            lock_key(lock),
            LOCK_WAIT.as_millis()
        );
        let result = self.runtime.block_on(within(wait + STATEMENT_WAIT, self.client.batch_execute(&sql)));
        match result.map_err(Fault::Failed).map_err(Fault::into_failure)? {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(Fault::from(error).into_failure()),
        }
    }

    /// The process that holds the lock of a sink.
    pub(crate) fn lock_holder(&mut self, lock: &str) -> Result<Option<i32>, Fault> {
        let sql = format!(
            "SELECT pid::text FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
             AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
             AND (classid::bigint << 32 | objid::bigint) = {}",
            lock_key(lock)
        );
        Ok(self.query(&sql, &[])?.first().and_then(|row| text(row, 0).parse().ok()))
    }

    /// The server's process for this session.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Runs statements without parameters and results.
    pub(crate) fn run(&mut self, sql: &str) -> Result<(), Fault> {
        self.wait(STATEMENT_WAIT, self.client.batch_execute(sql))
    }

    /// Runs a statement that may take long, within an open transaction.
    pub(crate) fn run_long(&mut self, sql: &str) -> Result<(), Fault> {
        let sql = format!("SET LOCAL statement_timeout = {}; {sql}", LONG_WAIT.as_millis());
        self.wait(LONG_WAIT, self.client.batch_execute(&sql))
    }

    /// Asks for a few rows.
    pub(crate) fn query(&mut self, sql: &str, params: &[&str]) -> Result<Vec<Row>, Fault> {
        let params: Vec<&(dyn ToSql + Sync)> =
            params.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
        self.wait(STATEMENT_WAIT, self.client.query(sql, &params))
    }

    /// A statement whose parameters are all `text[]`, prepared once.
    pub(crate) fn prepare(&mut self, sql: &str) -> Result<Statement, Fault> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        if self.prepared.len() >= PREPARED_MAX {
            self.prepared.clear();
        }
        let statement = self.wait(STATEMENT_WAIT, self.client.prepare(sql))?;
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs one statement; gives how many rows it touched.
    pub(crate) fn call(&mut self, call: &Call) -> Result<u64, Fault> {
        self.wait(STATEMENT_WAIT, self.client.execute(&call.statement, &call.params()))
    }

    /// Sends statements, in order, without waiting for what they answer. Within a transaction, since nothing behind one that
    /// fails is done then. The fault is of one sent before.
    pub(crate) fn send(&mut self, calls: Vec<Call>) -> Result<(), Fault> {
        let Self { runtime, client, ahead, counts, .. } = self;
        runtime.block_on(async {
            for call in calls {
                if ahead.len() >= AHEAD_MAX {
                    settle(ahead, counts).await?;
                }
                ahead.push(Running::sent(client, call).await);
            }
            // The connection has its turn, in which it writes.
            tokio::task::yield_now().await;
            Ok(())
        })
    }

    /// Sends statements, likewise, and waits for the answers to all that was sent: how many rows each touched. The fault is
    /// the first one's.
    pub(crate) fn call_all(&mut self, calls: Vec<Call>) -> Result<Vec<u64>, Fault> {
        self.send(calls)?;
        self.runtime.block_on(settle(&mut self.ahead, &mut self.counts))?;
        Ok(std::mem::take(&mut self.counts))
    }

    /// Ends a transaction without a trace; who waits for answers of it gets none.
    pub(crate) fn roll_back(&mut self) -> Result<(), Fault> {
        self.ahead.clear();
        self.counts.clear();
        self.run("ROLLBACK")
    }

    fn wait<T>(
        &self,
        wait: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        let answer = self.runtime.block_on(within(wait, answer)).map_err(Fault::Failed)?;
        Ok(answer?)
    }

    /// Ends it, and with it the lock.
    pub(crate) fn close(self) {
        drop(self.client);
        // The connection's task says goodbye once the client is gone.
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }
}

type Answer = Result<u64, tokio_postgres::Error>;

/// A call that was sent, or its answer that came meanwhile.
enum Running {
    Waits(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Done(Answer),
}

impl Running {
    /// It is sent when it is first polled.
    async fn sent(client: &Arc<Client>, call: Call) -> Self {
        let client = Arc::clone(client);
        let mut answer = Box::pin(async move { client.execute(&call.statement, &call.params()).await });
        match poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
            Poll::Pending => Self::Waits(answer),
            Poll::Ready(answer) => Self::Done(answer),
        }
    }

    async fn end(self) -> Answer {
        match self {
            Self::Waits(answer) => answer.await,
            Self::Done(answer) => answer,
        }
    }
}

/// Takes the answers of all that is `ahead`, until one is a fault.
async fn settle(ahead: &mut Vec<Running>, counts: &mut Vec<u64>) -> Result<(), Fault> {
    for one in ahead.drain(..) {
        let answer = within(STATEMENT_WAIT, one.end()).await.map_err(Fault::Failed)?;
        counts.push(answer?);
    }
    Ok(())
}

async fn within<T>(wait: Duration, answer: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(wait + GRACE, answer)
        .await
        .map_err(|_| Failure::Retry(format!("no answer within {} seconds", (wait + GRACE).as_secs())))
}

/// A field of a row whose columns are all cast to text; empty for NULL.
pub(crate) fn text(row: &Row, index: usize) -> &str {
    row.try_get::<_, Option<&str>>(index).ok().flatten().unwrap_or_default()
}

pub(crate) fn lock_name(connector_name: &str) -> String {
    format!("flowd.{connector_name}")
}

/// The number that stands for the lock at the server.
fn lock_key(lock: &str) -> String {
    format!("hashtextextended({}, 0)", literal(lock))
}

fn of(config: &PostgresConfig) -> Config {
    const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
    const USER_WAIT: Duration = Duration::from_secs(60);
    let mut of = Config::new();
    of.host(&config.hostname)
        .port(config.port)
        .user(&config.user)
        .dbname(&config.database)
        .application_name(format!("flowd {}", config.connector_name))
        .connect_timeout(CONNECT_WAIT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .tcp_user_timeout(USER_WAIT)
        .ssl_mode(match config.tls.mode {
            TlsMode::Disabled => SslMode::Disable,
            TlsMode::Preferred => SslMode::Prefer,
            TlsMode::Required | TlsMode::VerifyCa(_) | TlsMode::VerifyIdentity(_) => SslMode::Require,
        });
    if !config.password.expose().is_empty() {
        of.password(config.password.expose());
    }
    of
}

//! PostgreSQL: the bare loop inserts as many rows in a transaction as a put of the connector has, by the same means.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use super::{Connector, System, Way, Work, message};
use crate::Failure;
use crate::port::free_port;

/// Rows of a put of the connector.
const PUT_ROWS: u64 = 1_000;
/// How long the server may take to come up.
const START: Duration = Duration::from_secs(60);

pub(crate) const SINK: Connector = Connector {
    name: "postgres-sink",
    way: Way::Sink,
    times: 1,
    begin: Server::begin,
    bare: |work, arguments| block_on(insert(work, arguments)),
};

struct Server {
    port: u16,
    child: Child,
}

impl Server {
    fn begin(directory: &Path) -> Result<Box<dyn System>, Failure> {
        let (port, log) = (free_port()?, directory.join("server.log"));
        let output = File::create(&log)?;
        // As a server that keeps what it is given: the tests' own options do not count here.
        let child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres.sh"))
            .args(["run", "postgres-17"])
            .arg(directory.join("server"))
            .arg(port.to_string())
            .args(["-c", "fsync=on", "-c", "full_page_writes=on"])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let server = Self { port, child };
        let begin = Instant::now();
        while block_on(connect(&server.arguments())).is_err() {
            if begin.elapsed() > START {
                return Err(format!("PostgreSQL did not come up: {}", fs::read_to_string(&log)?).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Box::new(server))
    }
}

impl System for Server {
    fn reset(&mut self, _work: Work) -> Result<(), Failure> {
        let arguments = self.arguments();
        block_on(async {
            let client = connect(&arguments).await?;
            let sql = "DROP TABLE IF EXISTS messages; \
                       CREATE TABLE messages (number bigint PRIMARY KEY, customer text, note text)";
            Ok(client.batch_execute(sql).await?)
        })
    }

    fn settings(&self) -> String {
        format!(
            "hostname: 127.0.0.1, port: {}, user: app, password: app, database: shop, plainTable: messages",
            self.port
        )
    }

    fn arguments(&self) -> Vec<String> {
        vec![format!("host=127.0.0.1 port={} user=app password=app dbname=shop", self.port)]
    }

    fn count(&mut self) -> Result<u64, Failure> {
        let arguments = self.arguments();
        block_on(async {
            let row = connect(&arguments).await?.query_one("SELECT count(*) FROM messages", &[]).await?;
            Ok(u64::try_from(row.get::<_, i64>(0))?)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed, not asked: its directory goes with it. An error means that it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(work)
}

async fn connect(arguments: &[String]) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(arguments.first().ok_or("no address")?, NoTls).await?;
    // What ends it is what the client's next call tells.
    tokio::spawn(connection);
    Ok(client)
}

/// Inserts the fields of all messages.
async fn insert(work: Work, arguments: &[String]) -> Result<u64, Failure> {
    let mut client = connect(arguments).await?;
    let sql = "INSERT INTO messages SELECT n.a::bigint, n.b, n.c FROM unnest($1::text[], $2::text[], $3::text[]) AS n(a, b, c) \
               ON CONFLICT (number) DO UPDATE SET customer = EXCLUDED.customer, note = EXCLUDED.note";
    let statement = client.prepare(sql).await?;
    let (mut begin, mut text) = (0, Vec::new());
    while begin < work.messages {
        let end = work.messages.min(begin + PUT_ROWS);
        let (mut numbers, mut customers, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for number in begin..end {
            text.clear();
            message(number, work.bytes, &mut text);
            let read: serde_json::Value = serde_json::from_slice(&text)?;
            numbers.push(number.to_string());
            customers.push(read["customer"].as_str().unwrap_or_default().to_owned());
            notes.push(read["note"].as_str().unwrap_or_default().to_owned());
        }
        let transaction = client.transaction().await?;
        transaction.execute(&statement, &[&numbers, &customers, &notes]).await?;
        transaction.commit().await?;
        begin = end;
    }
    Ok(begin)
}

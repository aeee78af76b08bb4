//! A Kafka broker of one test, and Kafka's own programs as the far side of flowd's.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{free_port, until};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh");

/// A broker with its own directory, on a port that it keeps across restarts. Dropping it kills the process;
/// `setpriv --pdeathsig` in the script does when the test itself is killed.
pub struct Kafka {
    pub port: u16,
    lines: Vec<String>,
    directory: tempfile::TempDir,
    child: Option<Child>,
}

/// A record as Kafka's own consumer shows it: `null` where there is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    pub partition: u32,
    pub offset: u64,
    pub headers: Vec<(String, String)>,
    pub key: String,
    pub value: String,
}

impl Consumed {
    /// The value of a header; panics where there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other == name);
        &found.unwrap_or_else(|| panic!("no header {name} in {self:?}")).1
    }
}

impl Kafka {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further lines of `server.properties`, which hold for every restart; `PORT+0` to `PORT+3` in them are its ports.
    pub fn start_with(lines: &[&str]) -> Self {
        for attempt in 1.. {
            let directory = tempfile::Builder::new().prefix("flowd-kafka-").tempdir().unwrap();
            let port = free_ports();
            let place = |line: &&str| {
                let number = |offset: u16| (format!("PORT+{offset}"), (port + offset).to_string());
                (0..PORTS)
                    .map(number)
                    .fold((*line).to_owned(), |line, (name, port)| line.replace(&name, &port))
            };
            let lines = lines.iter().map(place).collect();
            let mut kafka = Self { port, lines, directory, child: None };
            if kafka.try_restart() {
                return kafka;
            }
            assert!(attempt < 3, "Kafka does not start: {}", kafka.log());
        }
        unreachable!("the loop returns or panics");
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("Kafka runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it on what it stored.
    pub fn restart(&mut self) {
        assert!(self.try_restart(), "Kafka does not start again: {}", self.log());
    }

    /// Stops it from reading and answering (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("Kafka runs").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Runs one of Kafka's own programs to its end, with `input`; what it printed.
    pub fn tool(&self, name: &str, arguments: &[&str], input: &str) -> String {
        let mut child = self.spawn(name, arguments, Stdio::piped(), Stdio::piped());
        child.stdin.take().expect("it has one").write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let log = fs::read_to_string(self.directory.path().join("tools.log")).unwrap_or_default();
        assert!(output.status.success(), "kafka.sh tool {name} {arguments:?}: {out}{log}");
        out.into_owned()
    }

    /// Creates a topic.
    pub fn create(&self, topic: &str, partitions: u32) {
        self.create_with(topic, partitions, &[]);
    }

    /// With settings of its own, `name=value`.
    pub fn create_with(&self, topic: &str, partitions: u32, settings: &[&str]) {
        let partitions = partitions.to_string();
        let mut arguments =
            vec!["--create", "--topic", topic, "--partitions", &partitions, "--replication-factor", "1"];
        arguments.extend(settings.iter().flat_map(|setting| ["--config", setting]));
        self.tool("topics", &arguments, "");
    }

    /// Removes a topic.
    pub fn delete(&self, topic: &str) {
        self.tool("topics", &["--delete", "--topic", topic], "");
    }

    /// Kafka's own producer of a topic, which goes on trying while the broker is down.
    pub fn producer(&self, topic: &str) -> Producer {
        let reader = [
            "parse.key=true",
            "parse.headers=true",
            "headers.separator=~",
            "headers.key.separator==",
            "null.marker=NULL",
        ];
        let mut arguments = vec!["--topic", topic];
        arguments.extend(reader.iter().flat_map(|property| ["--reader-property", property]));
        let child = self.spawn("console-producer", &arguments, Stdio::piped(), Stdio::null());
        Producer(child)
    }

    /// Produces these lines, see [`Producer::send`]; they are in the topic when this returns.
    pub fn produce(&self, topic: &str, lines: &[String]) {
        let mut producer = self.producer(topic);
        producer.send(lines);
        producer.finish();
    }

    /// Kafka's own consumer of a topic, from its oldest record.
    pub fn reader(&self, topic: &str) -> Reader {
        let out = tempfile::Builder::new().prefix("consumed-").tempfile_in(self.directory.path()).unwrap();
        let printed = [
            "print.partition=true",
            "print.offset=true",
            "print.headers=true",
            "print.key=true",
            "headers.separator=\u{1}",
        ];
        let mut arguments = vec!["--topic", topic, "--from-beginning"];
        arguments.extend(printed.iter().flat_map(|property| ["--formatter-property", property]));
        let child = self.spawn("console-consumer", &arguments, Stdio::null(), out.reopen().unwrap().into());
        Reader { child, out }
    }

    /// Reads a topic from its oldest record until there are `count`.
    pub fn consume(&self, topic: &str, count: usize) -> Vec<Consumed> {
        let reader = self.reader(topic);
        until(&format!("{count} records of {topic}"), || {
            Some(reader.records()).filter(|records| records.len() >= count)
        })
    }

    /// What a group has committed, by partition of a topic.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<(u32, u64)> {
        let text = self.tool("consumer-groups", &["--describe", "--offsets", "--group", group], "");
        let row = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.first() == Some(&group) && fields.get(1) == Some(&topic))
                .then(|| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)))?
        };
        let mut rows: Vec<_> = text.lines().filter_map(row).collect();
        rows.sort_unstable();
        rows
    }

    fn spawn(&self, name: &str, arguments: &[&str], input: Stdio, output: Stdio) -> Child {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", SCRIPT, "tool", name, "--bootstrap-server", &self.address()])
            .args(arguments)
            .stdin(input)
            .stdout(output)
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(self.directory.path().join("tools.log"))
                    .unwrap(),
            )
            .spawn()
            .expect("scripts/kafka.sh starts")
    }

    /// False when it ended instead.
    fn try_restart(&mut self) -> bool {
        let log = File::create(self.log_file()).unwrap();
        let mut child = Command::new(SCRIPT)
            .arg("run")
            .arg(self.directory.path())
            .arg(self.port.to_string())
            .args(&self.lines)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("scripts/kafka.sh starts");
        // The first start of all may have to fetch Kafka, which is why this wait is not `until`.
        for _ in 0..6000 {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.log().contains("Kafka Server started") {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("broker.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if std::thread::panicking() && !matches!(child.try_wait(), Ok(None)) {
                eprintln!("Kafka ended by itself: {}", self.log());
            }
            // Killed, not asked: the directory goes with it. An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How many ports a broker may take: its own, the controller's, and two for other listeners.
const PORTS: u16 = 4;

/// The first of ports in a row that nobody listens on.
fn free_ports() -> u16 {
    loop {
        let port = free_port();
        let is_free = |offset| TcpListener::bind(("127.0.0.1", port + offset)).is_ok();
        if port < u16::MAX - PORTS && (1..PORTS).all(is_free) {
            return port;
        }
    }
}

/// Kafka's own producer. Dropping it kills it.
pub struct Producer(Child);

impl Producer {
    /// Sends a record for each line `headers<TAB>key<TAB>value`, headers as `name=value~name=value`; `NULL` is null.
    pub fn send(&mut self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.0.stdin.as_mut().expect("it reads from here").write_all(text.as_bytes()).unwrap();
    }

    /// Waits until all of it is in the topic.
    pub fn finish(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success(), "Kafka's own producer failed");
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kafka's own consumer. Dropping it kills it.
pub struct Reader {
    child: Child,
    out: tempfile::NamedTempFile,
}

impl Reader {
    /// What it has read so far.
    pub fn records(&self) -> Vec<Consumed> {
        consumed(&String::from_utf8_lossy(&fs::read(self.out.path()).unwrap()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole lines of the console consumer: `Partition:0<TAB>Offset:0<TAB>headers<TAB>key<TAB>value`.
fn consumed(text: &str) -> Vec<Consumed> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let record = |line: &str| {
        let fields: Vec<&str> = line.splitn(5, '\t').collect();
        let [partition, offset, headers, key, value] = fields[..] else { panic!("not a record: {line}") };
        let header = |text: &str| {
            let (name, value) = text.split_once(':').expect("a header is name:value");
            (name.to_owned(), value.to_owned())
        };
        Consumed {
            partition: partition.strip_prefix("Partition:").unwrap().parse().unwrap(),
            offset: offset.strip_prefix("Offset:").unwrap().parse().unwrap(),
            headers: if headers == "NO_HEADERS" {
                Vec::new()
            } else {
                headers.split('\u{1}').map(header).collect()
            },
            key: key.to_owned(),
            value: value.to_owned(),
        }
    };
    whole.lines().map(record).collect()
}

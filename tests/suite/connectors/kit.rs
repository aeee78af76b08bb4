//! What every connector promises, tried on the real system that it is for.
//!
//! The test file of a connector implements [`System`] for that system (a broker, a database, a directory of files), then
//! [`Sending`] where a source reads from it or [`Receiving`] where a sink writes into it, and where they apply
//! [`Process`] (it can be down), [`Stalling`], [`Guarded`] (it asks who one is), [`Spoiling`] or [`Refusing`] (bad input). A
//! line for each of these, `kit::promises!(Queue: source);`, `kit::promises!(Queue: process source);`, makes a test of each
//! promise. `file.rs` is the shortest example.
//!
//! A message is a JSON object with its number. So the kit sees what arrived, how often and in which order, whatever
//! became of it on the way. The mesh is `flowd mesh` in a process of its own.

pub mod sink;
pub mod source;

mod arrivals;

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::harness::{Flowd, Job, Outcome, until};

/// Messages of a test that needs no more.
const SOME: u64 = 200;
/// Messages of a test that has to meet the connector at work.
const MANY: u64 = 4_000;
/// Bytes of such messages beside their number.
const SHORT: usize = 100;

/// What a job with too little room for everything is given.
const MEMORY: &str = "32MiB";
/// What its process may have resident: the buffers, and beside them code, RocksDB, stacks and the allocator's slack.
const RESIDENT_MAX: u64 = (32 + 64) << 20;
/// Three times as much as the memory, in messages of so many bytes.
const FLOOD: u64 = 12_000;
const LONG: usize = 8 << 10;

/// The system that a connector is for, started for one test and ended with it.
pub trait System: Sized {
    /// As `--connector` names it.
    const CONNECTOR: &'static str;
    /// The connector's settings without which there is no start, `connectorConfig.KEY`.
    const REQUIRED: &'static [&'static str];
    /// Settings with values that are refused before anything is opened.
    const WRONG: &'static [(&'static str, &'static str)];
    /// How many messages may come again after a stop in the middle and another start.
    const REPEATS_AFTER_A_STOP: u64 = 0;

    /// A new one, empty.
    fn begin() -> Self;
    /// Adds the connector's own settings to a job that has a name, a mesh and its topics.
    fn configure(&self, job: Job) -> Job;
}

/// A system that a source reads.
pub trait Sending: System {
    /// Puts messages in, in this order; each is JSON, and is to become the data of one event. Where flowd itself is the
    /// server, it goes on trying in the background, as a client does that keeps what was not taken.
    fn put(&mut self, messages: &[String]);
}

/// A system that a sink writes into.
pub trait Receiving: System {
    /// Whether what is seen there has an order.
    const SHOWS_ORDER: bool = true;

    /// The numbers of all messages that came out so far ([`number`]), in the order of their arrival, repeats too.
    fn taken(&mut self) -> Vec<u64>;
}

/// A system whose server can be down, and keeps what it has.
pub trait Process: System {
    /// `kill -9`.
    fn kill(&mut self);
    /// Starts it where it was, on what it has stored; returns when it answers.
    fn restart(&mut self);
}

/// A server that can be told to stand still: it neither reads nor answers, and closes no connection.
pub trait Stalling: System {
    /// `kill -STOP`.
    fn stall(&mut self);
    /// `kill -CONT`.
    fn go_on(&mut self);
}

/// A system that asks who one is.
pub trait Guarded: System {
    /// Changes a job that has all settings to one that is refused, and gives what the log must say.
    fn forge(&self, job: Job) -> (Job, &'static str);
}

/// A system that may hold what cannot become an event.
pub trait Spoiling: Sending {
    /// Puts such a thing in; gives what its reason must say.
    fn spoil(&mut self) -> &'static str;
}

/// A system that refuses some event for good.
pub trait Refusing: Receiving {
    /// Makes an event into one that is refused; gives what the reason must say.
    fn spoil(&mut self, event: &mut serde_json::Value) -> &'static str;
}

/// A message.
fn message(number: u64, bytes: usize) -> String {
    format!(r#"{{"number":{number},"text":"{}"}}"#, "x".repeat(bytes))
}

/// The number of a message, or of an event whose data it is.
pub fn number(json: &str) -> u64 {
    #[derive(Deserialize)]
    struct Message {
        number: Option<u64>,
        data: Option<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        number: u64,
    }
    let read: Result<Message, _> = serde_json::from_str(json);
    let number = read.ok().and_then(|message| message.number.or(message.data.map(|data| data.number)));
    number.unwrap_or_else(|| panic!("no message of the kit: {json}"))
}

/// Waits for a condition while flowd runs; its log tells why where it does not.
fn while_running<T>(flowd: &mut Flowd, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    until(what, || {
        let found = condition();
        assert!(found.is_some() || flowd.is_running(), "waiting for {what}, flowd ended: {}", flowd.log());
        found
    })
}

/// A stop by a signal, which must be clean.
fn stop(flowd: Flowd) {
    // It catches signals by the time it says something; a run may have nothing to do, so that it has only begun here.
    until("flowd to say something", || (!flowd.log().is_empty()).then_some(()));
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
}

/// `flowd SUBCOMMAND` of a job.
fn command<S: System>(job: &Job, subcommand: &[&str]) -> Outcome {
    let mut arguments = subcommand.to_vec();
    arguments.extend(["--connector", S::CONNECTOR]);
    job.command(&arguments)
}

/// Demands that each wrong setting of a job is refused by its name.
fn refuses_wrong_settings<S: System>(job: impl Fn() -> Job) {
    for key in S::REQUIRED {
        eprintln!("without {key}");
        let name = key.rsplit('.').next().expect("a key has a name");
        job().unset(key).start(&[]).wait().expect_code(2).expect_log(name);
    }
    for (key, value) in S::WRONG {
        eprintln!("{key}: {value}");
        let name = key.rsplit('.').next().expect("a key has a name");
        job().set(key, value).start(&[]).wait().expect_code(2).expect_log(name);
    }
    job().set("connectorConfig.nosuchkey", "1").start(&[]).wait().expect_code(2).expect_log("nosuchkey");
}

/// Demands that who is refused learns it at once, and that his password is not told to anybody.
fn refuses_wrong_credentials<S: Guarded>(system: &S, job: Job) {
    let (job, said) = system.forge(job);
    let begin = Instant::now();
    job.start(&[]).wait().expect_code(3).expect_log(said);
    assert!(begin.elapsed() < Duration::from_secs(20), "it was retried for {:?}", begin.elapsed());
    let check = command::<S>(&job, &["check"]);
    check.expect_code(3);
    assert!(check.stdout.contains(said) || check.log.contains(said), "{said} in {check:?}");
}

/// Demands that a server that is away is retried for `startMs`, and then named.
fn gives_up_after_start_ms(job: Job) -> Job {
    let job = job.set("pipeline.startMs", "1500");
    let begin = Instant::now();
    job.start(&[]).wait().expect_code(3).expect_log("startMs");
    assert!(begin.elapsed() >= Duration::from_millis(1400), "it gave up after {:?}", begin.elapsed());
    job.set("pipeline.startMs", "60000")
}

/// Watches a process for a while: it must go on, and stay under the limit.
fn stays_within_memory(flowd: &mut Flowd, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(flowd.is_running(), "flowd gave up: {}", flowd.log());
        let peak = flowd.peak_rss().unwrap_or(0);
        assert!(peak < RESIDENT_MAX, "peak memory is {} MiB", peak >> 20);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The tests of what a system allows: `promises!(Queue: source)`, and one such line for each trait besides.
macro_rules! promises {
    ($system:ty: source) => {
        $crate::suite::connectors::kit::tests!($system, source:
            everything_that_is_put_in_arrives_once,
            a_wrong_setting_is_named_before_anything_is_opened,
            check_and_position_answer,
            a_stop_in_the_middle_repeats_nothing_that_was_acknowledged,
            a_kill_in_the_middle_loses_nothing,
            a_mesh_that_is_killed_in_the_middle_loses_nothing,
            a_mesh_that_stands_still_costs_no_memory,
        );
    };
    ($system:ty: process source) => {
        $crate::suite::connectors::kit::tests!($system, source:
            a_server_that_is_away_at_the_start_is_waited_for_within_the_bound,
            a_server_that_is_killed_in_the_middle_is_found_again_and_nothing_is_lost,
        );
    };
    ($system:ty: guarded source) => {
        $crate::suite::connectors::kit::tests!($system, source: wrong_credentials_end_the_start_at_once);
    };
    ($system:ty: spoiling source) => {
        $crate::suite::connectors::kit::tests!($system, source:
            what_can_be_no_event_stops_it_with_the_reason,
            what_can_be_no_event_is_a_dead_letter_and_the_rest_arrives,
        );
    };
    ($system:ty: sink) => {
        $crate::suite::connectors::kit::tests!($system, sink:
            everything_that_is_published_arrives_once_and_in_order_of_its_key,
            a_wrong_setting_is_named_before_anything_is_opened,
            check_and_position_answer,
            a_stop_in_the_middle_repeats_nothing_that_was_acknowledged,
            a_kill_in_the_middle_loses_nothing,
            a_mesh_that_is_killed_in_the_middle_loses_nothing,
        );
    };
    ($system:ty: process sink) => {
        $crate::suite::connectors::kit::tests!($system, sink:
            a_server_that_is_away_at_the_start_is_waited_for_within_the_bound,
            a_server_that_is_killed_in_the_middle_is_found_again_and_nothing_is_lost,
        );
    };
    ($system:ty: stalling sink) => {
        $crate::suite::connectors::kit::tests!($system, sink: a_server_that_stands_still_costs_no_memory);
    };
    ($system:ty: guarded sink) => {
        $crate::suite::connectors::kit::tests!($system, sink: wrong_credentials_end_the_start_at_once);
    };
    ($system:ty: refusing sink) => {
        $crate::suite::connectors::kit::tests!($system, sink:
            what_is_refused_stops_it_with_the_reason,
            what_is_refused_is_a_dead_letter_and_the_rest_arrives,
        );
    };
}
pub(crate) use promises;

/// A test of each named promise of a module.
macro_rules! tests {
    ($system:ty, $module:ident: $($promise:ident),+ $(,)?) => {
        $(#[test]
        fn $promise() {
            $crate::suite::connectors::kit::$module::$promise::<$system>();
        })+
    };
}
pub(crate) use tests;

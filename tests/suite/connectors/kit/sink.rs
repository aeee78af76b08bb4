//! The promises of a sink: what is published on its topic comes out at the far side.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};

use super::{FLOOD, Guarded, LONG, MANY, MEMORY, Process, Receiving, Refusing, SHORT, SOME, Stalling};
use super::{command, gives_up_after_start_ms, message, stays_within_memory, stop, while_running};
use crate::harness::{Flowd, Job, Mesh, publish, until};

const TOPIC: &str = "kit.messages";
/// So many keys take turns.
const KEYS: u64 = 8;

/// A message as an event of a topic.
pub(super) fn event(topic: &str, number: u64, bytes: usize) -> Value {
    let data: Value = serde_json::from_str(&message(number, bytes)).expect("a message is JSON");
    json!({
        "specversion": "1.0", "id": format!("kit-{number}"), "source": "/kit", "type": "kit.message",
        "datacontenttype": "application/cloudevents+json", "subject": topic,
        "partitionkey": (number % KEYS).to_string(), "data": data,
    })
}

/// A mesh, a system, and the job between them.
struct Flow<S> {
    system: S,
    mesh: Mesh,
    job: Job,
}

impl<S: Receiving> Flow<S> {
    fn begin() -> Self {
        let (system, mesh) = (S::begin(), Mesh::start());
        let job = system.configure(Job::sink(S::CONNECTOR, &mesh.address(), TOPIC));
        Self { system, mesh, job }
    }

    /// Changes the job.
    fn job(&mut self, change: impl FnOnce(Job) -> Job) {
        let job = std::mem::replace(&mut self.job, Job::empty(S::CONNECTOR));
        self.job = change(job);
    }

    fn publish(&self, numbers: Range<u64>) {
        self.publish_long(numbers, SHORT);
    }

    fn publish_long(&self, numbers: Range<u64>, bytes: usize) {
        let events: Vec<String> = numbers.map(|number| event(TOPIC, number, bytes).to_string()).collect();
        publish(&self.mesh, &events);
    }

    /// Waits until at least so many messages came out.
    fn taken_some(&mut self, flowd: &mut Flowd, least: usize) {
        let what = format!("{least} messages at the far side");
        while_running(flowd, &what, || (distinct(&self.system.taken()) >= least).then_some(()));
    }

    /// Waits until all of the messages that were published came out, which are so many.
    fn taken(&mut self, flowd: &mut Flowd, all: u64) {
        self.taken_some(flowd, usize::try_from(all).expect("few"));
        let taken: BTreeSet<u64> = self.system.taken().into_iter().collect();
        assert!(taken.iter().copied().eq(0..all), "messages that nobody published");
    }

    /// Demands that messages of a key came out in their order, a repeat aside.
    fn in_order(&mut self) {
        if !S::SHOWS_ORDER {
            return;
        }
        let mut seen = BTreeSet::new();
        let mut last: HashMap<u64, u64> = HashMap::new();
        for number in self.system.taken() {
            if seen.insert(number) {
                let before = last.insert(number % KEYS, number);
                assert!(before < Some(number), "{number} came behind {before:?}, with the same key");
            }
        }
    }

    fn repeats(&mut self) -> u64 {
        let taken = self.system.taken();
        (taken.len() - distinct(&taken)) as u64
    }
}

fn distinct(numbers: &[u64]) -> usize {
    numbers.iter().collect::<BTreeSet<_>>().len()
}

pub fn everything_that_is_published_arrives_once_and_in_order_of_its_key<S: Receiving>() {
    let mut flow = Flow::<S>::begin();
    flow.publish(0..MANY);
    let mut flowd = flow.job.start(&[]);
    flow.taken(&mut flowd, MANY);
    flow.publish(MANY..MANY + SOME);
    flow.taken(&mut flowd, MANY + SOME);
    stop(flowd);
    flow.in_order();
    assert_eq!(flow.repeats(), 0, "events that came again");
}

pub fn a_wrong_setting_is_named_before_anything_is_opened<S: Receiving>() {
    let (system, mesh) = (S::begin(), Mesh::start());
    let job = || system.configure(Job::sink(S::CONNECTOR, &mesh.address(), TOPIC));
    super::refuses_wrong_settings::<S>(job);
    job().unset("pubSubConfig.subject").start(&[]).wait().expect_code(2).expect_log("subject");
}

pub fn check_and_position_answer<S: Receiving>() {
    let mut flow = Flow::<S>::begin();
    command::<S>(&flow.job, &["check"]).expect_code(0);
    flow.publish(0..SOME);
    let mut flowd = flow.job.start(&[]);
    flow.taken(&mut flowd, SOME);
    stop(flowd);
    command::<S>(&flow.job, &["position"]).expect_code(0);
    let position = command::<S>(&flow.job, &["position", "--json"]);
    position.expect_code(0);
    serde_json::from_str::<Value>(&position.stdout).expect("position --json prints JSON");
}

pub fn wrong_credentials_end_the_start_at_once<S: Receiving + Guarded>() {
    // The mesh goes on meanwhile.
    let flow = Flow::<S>::begin();
    super::refuses_wrong_credentials(&flow.system, flow.job);
}

pub fn a_server_that_is_away_at_the_start_is_waited_for_within_the_bound<S: Receiving + Process>() {
    let mut flow = Flow::<S>::begin();
    flow.publish(0..SOME);
    flow.system.kill();
    flow.job(gives_up_after_start_ms);
    let mut flowd = flow.job.start(&[]);
    until("a try in vain", || flowd.log().contains("trying again").then_some(()));
    flow.system.restart();
    flow.taken(&mut flowd, SOME);
    stop(flowd);
}

pub fn a_server_that_is_killed_in_the_middle_is_found_again_and_nothing_is_lost<S: Receiving + Process>() {
    let mut flow = Flow::<S>::begin();
    flow.publish(0..MANY);
    let mut flowd = flow.job.start(&[]);
    flow.taken_some(&mut flowd, 1);
    flow.system.kill();
    flow.publish(MANY..MANY + SOME);
    flow.system.restart();
    flow.taken(&mut flowd, MANY + SOME);
    stop(flowd);
    flow.in_order();
}

pub fn a_server_that_stands_still_costs_no_memory<S: Receiving + Stalling>() {
    let mut flow = Flow::<S>::begin();
    flow.job(|job| job.set("pipeline.memory", MEMORY));
    flow.publish(0..1);
    let mut flowd = flow.job.start_frugal(&[]);
    flow.taken(&mut flowd, 1);
    flow.system.stall();
    flow.publish_long(1..FLOOD, LONG);
    stays_within_memory(&mut flowd, Duration::from_secs(5));
    flow.system.go_on();
    flow.taken(&mut flowd, FLOOD);
    stays_within_memory(&mut flowd, Duration::ZERO);
    stop(flowd);
}

pub fn a_stop_in_the_middle_repeats_nothing_that_was_acknowledged<S: Receiving>() {
    let mut flow = Flow::<S>::begin();
    flow.publish(0..MANY);
    let mut flowd = flow.job.start(&[]);
    flow.taken_some(&mut flowd, 1);
    stop(flowd);
    let mut flowd = flow.job.start(&[]);
    flow.taken(&mut flowd, MANY);
    stop(flowd);
    let repeats = flow.repeats();
    assert!(repeats <= S::REPEATS_AFTER_A_STOP, "{repeats} events came again");
}

pub fn a_kill_in_the_middle_loses_nothing<S: Receiving>() {
    let mut flow = Flow::<S>::begin();
    flow.publish(0..MANY);
    let all = usize::try_from(MANY).expect("few");
    for _ in 0..3 {
        let before = distinct(&flow.system.taken());
        let mut flowd = flow.job.start(&[]);
        flow.taken_some(&mut flowd, (before + 1).min(all));
        flowd.kill();
    }
    let mut flowd = flow.job.start(&[]);
    flow.publish(MANY..MANY + SOME);
    flow.taken(&mut flowd, MANY + SOME);
    stop(flowd);
}

pub fn a_mesh_that_is_killed_in_the_middle_loses_nothing<S: Receiving>() {
    let mut flow = Flow::<S>::begin();
    flow.publish(0..MANY);
    let mut flowd = flow.job.start(&[]);
    flow.taken_some(&mut flowd, 1);
    flow.mesh.kill();
    flow.mesh.restart();
    flow.publish(MANY..MANY + SOME);
    flow.taken(&mut flowd, MANY + SOME);
    stop(flowd);
}

/// Events on both sides of one that is refused; gives what its reason must say.
fn spoiled<S: Refusing>(flow: &mut Flow<S>) -> &'static str {
    let mut refused = event(TOPIC, 1_000_000, SHORT);
    let said = flow.system.spoil(&mut refused);
    flow.publish(0..10);
    publish(&flow.mesh, &[refused.to_string()]);
    flow.publish(10..20);
    said
}

pub fn what_is_refused_stops_it_with_the_reason<S: Refusing>() {
    let mut flow = Flow::<S>::begin();
    let said = spoiled(&mut flow);
    flow.job.start(&[]).wait().expect_code(4).expect_log(said);
}

pub fn what_is_refused_is_a_dead_letter_and_the_rest_arrives<S: Refusing>() {
    let mut flow = Flow::<S>::begin();
    flow.job(Job::with_dead_letters);
    let said = spoiled(&mut flow);
    let mut flowd = flow.job.start(&[]);
    flow.taken(&mut flowd, 20);
    // The one of its key behind it has come, so it is written.
    stop(flowd);
    let letters = flow.job.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.contains(said)), "{letters:?}");
}

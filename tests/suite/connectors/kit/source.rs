//! The promises of a source of messages: what is put into its system comes out of the mesh.

use std::ops::Range;
use std::time::Duration;

use super::arrivals::Arrivals;
use super::{FLOOD, Guarded, LONG, MANY, MEMORY, Process, SHORT, SOME, Sending, Spoiling};
use super::{command, gives_up_after_start_ms, message, stays_within_memory, stop, while_running};
use crate::harness::{Flowd, Job, Mesh, publish, until};

const TOPIC: &str = "kit.messages";

/// A system, a mesh, the job between them, and a subscriber behind the mesh.
struct Flow<S> {
    system: S,
    mesh: Mesh,
    job: Job,
    arrivals: Arrivals,
}

impl<S: Sending> Flow<S> {
    fn begin() -> Self {
        let (system, mesh) = (S::begin(), Mesh::start());
        let job = system.configure(Job::source(S::CONNECTOR, &mesh, TOPIC));
        let arrivals = Arrivals::of(&mesh, TOPIC);
        Self { system, mesh, job, arrivals }
    }

    /// Changes the job.
    fn job(&mut self, change: impl FnOnce(Job) -> Job) {
        let job = std::mem::replace(&mut self.job, Job::empty(S::CONNECTOR));
        self.job = change(job);
    }

    fn put(&mut self, numbers: Range<u64>) {
        let messages: Vec<String> = numbers.map(|number| message(number, SHORT)).collect();
        self.system.put(&messages);
    }

    /// Waits until at least so many messages have arrived.
    fn arrived_some(&mut self, flowd: &mut Flowd, least: u64) {
        while_running(flowd, &format!("{least} messages at the subscriber"), || {
            (self.arrivals.messages() >= least).then_some(())
        });
    }

    /// Waits until all have arrived that were put in, which are so many.
    fn arrived(&mut self, flowd: &mut Flowd, all: u64) {
        self.arrived_some(flowd, all);
        assert_eq!(self.arrivals.messages(), all, "messages that nobody put in");
    }

    /// How many events came more than once, once all that is in the mesh has come.
    fn repeats(&mut self) -> u64 {
        // The mesh hands a topic on in its order: what is published last comes last.
        let last = u64::MAX;
        publish(&self.mesh, &[super::sink::event(TOPIC, last, SHORT).to_string()]);
        until("the last message", || self.arrivals.has(last).then_some(()));
        self.arrivals.events() - self.arrivals.messages()
    }
}

pub fn everything_that_is_put_in_arrives_once<S: Sending>() {
    let mut flow = Flow::<S>::begin();
    flow.put(0..SOME);
    let mut flowd = flow.job.start(&[]);
    flow.arrived(&mut flowd, SOME);
    flow.put(SOME..2 * SOME);
    flow.arrived(&mut flowd, 2 * SOME);
    stop(flowd);
    assert_eq!(flow.repeats(), 0, "events that came again");
}

pub fn a_wrong_setting_is_named_before_anything_is_opened<S: Sending>() {
    let (system, mesh) = (S::begin(), Mesh::start());
    let job = || system.configure(Job::source(S::CONNECTOR, &mesh, TOPIC));
    super::refuses_wrong_settings::<S>(job);
    let topic = job().set("pubSubConfig.subject", "no topic");
    topic.start(&[]).wait().expect_code(2).expect_log("subject");
    assert!(!topic.path("state").exists(), "the registry was opened");
}

pub fn check_and_position_answer<S: Sending>() {
    let mut flow = Flow::<S>::begin();
    flow.put(0..SOME);
    command::<S>(&flow.job, &["check"]).expect_code(0);
    command::<S>(&flow.job, &["position"]).expect_code(0);
    let mut flowd = flow.job.start(&[]);
    flow.arrived(&mut flowd, SOME);
    stop(flowd);
    command::<S>(&flow.job, &["position"]).expect_code(0);
    let position = command::<S>(&flow.job, &["position", "--json"]);
    position.expect_code(0);
    serde_json::from_str::<serde_json::Value>(&position.stdout).expect("position --json prints JSON");
}

pub fn wrong_credentials_end_the_start_at_once<S: Sending + Guarded>() {
    // The mesh goes on meanwhile.
    let flow = Flow::<S>::begin();
    super::refuses_wrong_credentials(&flow.system, flow.job);
}

pub fn a_server_that_is_away_at_the_start_is_waited_for_within_the_bound<S: Sending + Process>() {
    let mut flow = Flow::<S>::begin();
    flow.put(0..SOME);
    flow.system.kill();
    flow.job(gives_up_after_start_ms);
    let mut flowd = flow.job.start(&[]);
    until("a try in vain", || flowd.log().contains("trying again").then_some(()));
    flow.system.restart();
    flow.arrived(&mut flowd, SOME);
    stop(flowd);
}

pub fn a_server_that_is_killed_in_the_middle_is_found_again_and_nothing_is_lost<S: Sending + Process>() {
    let mut flow = Flow::<S>::begin();
    flow.put(0..MANY);
    let mut flowd = flow.job.start(&[]);
    flow.arrived_some(&mut flowd, 1);
    flow.system.kill();
    flow.system.restart();
    flow.put(MANY..MANY + SOME);
    flow.arrived(&mut flowd, MANY + SOME);
    stop(flowd);
}

pub fn a_stop_in_the_middle_repeats_nothing_that_was_acknowledged<S: Sending>() {
    let mut flow = Flow::<S>::begin();
    flow.put(0..MANY);
    let mut flowd = flow.job.start(&[]);
    flow.arrived_some(&mut flowd, 1);
    stop(flowd);
    let mut flowd = flow.job.start(&[]);
    flow.arrived(&mut flowd, MANY);
    stop(flowd);
    let repeats = flow.repeats();
    assert!(repeats <= S::REPEATS_AFTER_A_STOP, "{repeats} events came again");
}

pub fn a_kill_in_the_middle_loses_nothing<S: Sending>() {
    let mut flow = Flow::<S>::begin();
    flow.put(0..MANY);
    for _ in 0..3 {
        let before = flow.arrivals.messages();
        let mut flowd = flow.job.start(&[]);
        flow.arrived_some(&mut flowd, (before + 1).min(MANY));
        flowd.kill();
    }
    let mut flowd = flow.job.start(&[]);
    flow.put(MANY..MANY + SOME);
    flow.arrived(&mut flowd, MANY + SOME);
    stop(flowd);
}

pub fn a_mesh_that_is_killed_in_the_middle_loses_nothing<S: Sending>() {
    let mut flow = Flow::<S>::begin();
    flow.put(0..MANY);
    let mut flowd = flow.job.start(&[]);
    flow.arrived_some(&mut flowd, 1);
    flow.mesh.kill();
    flow.mesh.restart();
    flow.put(MANY..MANY + SOME);
    flow.arrived(&mut flowd, MANY + SOME);
    stop(flowd);
}

pub fn a_mesh_that_stands_still_costs_no_memory<S: Sending>() {
    let mut flow = Flow::<S>::begin();
    flow.job(|job| job.set("pipeline.memory", MEMORY));
    flow.put(0..1);
    let mut flowd = flow.job.start_frugal(&[]);
    flow.arrived(&mut flowd, 1);
    flow.mesh.signal("STOP");
    let flood: Vec<String> = (1..FLOOD).map(|number| message(number, LONG)).collect();
    flow.system.put(&flood);
    stays_within_memory(&mut flowd, Duration::from_secs(5));
    flow.mesh.signal("CONT");
    flow.arrived(&mut flowd, FLOOD);
    stays_within_memory(&mut flowd, Duration::ZERO);
    stop(flowd);
}

/// Messages on both sides of one that cannot be an event; gives what its reason must say.
fn spoiled<S: Spoiling>(flow: &mut Flow<S>) -> &'static str {
    flow.put(0..10);
    let said = flow.system.spoil();
    flow.put(10..20);
    said
}

pub fn what_can_be_no_event_stops_it_with_the_reason<S: Spoiling>() {
    let mut flow = Flow::<S>::begin();
    let said = spoiled(&mut flow);
    for _ in 0..2 {
        flow.job.start(&[]).wait().expect_code(4).expect_log(said);
    }
    assert!(!flow.arrivals.has(19), "it went on behind what it rejected");
}

pub fn what_can_be_no_event_is_a_dead_letter_and_the_rest_arrives<S: Spoiling>() {
    let mut flow = Flow::<S>::begin();
    flow.job(Job::with_dead_letters);
    let said = spoiled(&mut flow);
    let mut flowd = flow.job.start(&[]);
    flow.arrived(&mut flowd, 20);
    stop(flowd);
    let letters = flow.job.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.contains(said)), "{letters:?}");
    // It is done with: it does not come again.
    stop_when_idle(&mut flow, 20);
    assert_eq!(flow.job.dead_letters().len(), 1);
}

/// Another run, which is stopped once it has shown that it works.
fn stop_when_idle<S: Sending>(flow: &mut Flow<S>, before: u64) {
    let mut flowd = flow.job.start(&[]);
    flow.put(before..before + 1);
    flow.arrived(&mut flowd, before + 1);
    stop(flowd);
}

//! What happens when a part fails, panics or rejects.

use super::*;

fn check_fatal(fixture: Fixture, text: &str) {
    let world = fixture.world;
    let failure = fixture.pipeline.run().unwrap_err();
    assert!(matches!(&failure, Failure::Fatal(said) if said.contains(text)), "{failure}");
    let received = world.received.lock().unwrap();
    assert_eq!(*received, (0..received.len() as u64).collect::<Vec<_>>());
    assert!(last_acked(&world) <= received.len() as u64);
}

#[test]
fn a_panic_of_a_lane_is_fatal_and_what_came_before_is_delivered() {
    for lanes in 1..=3 {
        let mut fixture = fixture(&[10; 300], lanes);
        fixture.pipeline.source.encoder.panics = Some(1_005);
        let world = fixture.world.clone();
        check_fatal(fixture, "panicked: told to panic");
        assert_eq!(last_acked(&world), 1_000);
    }
}

#[test]
fn a_failure_of_a_lane_is_told_and_what_came_before_is_delivered() {
    let mut fixture = fixture(&[10; 300], 2);
    fixture.pipeline.source.encoder.fails = Some(1_005);
    let world = fixture.world.clone();
    check_fatal(fixture, "told to fail");
    assert_eq!(last_acked(&world), 1_000);
}

#[test]
fn a_failure_of_the_source_delivers_what_came_before() {
    let mut fixture = fixture(&[10; 300], 2);
    fixture.pipeline.source.then = |_| Err(Failure::Fatal("an event that nobody knows".into()));
    let world = fixture.world.clone();
    check_fatal(fixture, "an event that nobody knows");
    assert_eq!(last_acked(&world), 3_000);
}

#[test]
fn a_panic_of_the_source_is_fatal() {
    let mut fixture = fixture(&[10; 30], 2);
    fixture.pipeline.source.then = |_| panic!("the source's own");
    check_fatal(fixture, "the source thread panicked: the source's own");
}

type Ending = fn() -> Result<(), Failure>;

struct Broken(Ending);

impl Target<u64> for Broken {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<u64>) -> Result<(), Failure> {
        parcels.next();
        (self.0)()
    }
}

#[test]
fn a_target_that_panics_fails_or_gives_up_brings_all_down() {
    let cases: [(Ending, &str); 3] = [
        (|| panic!("the target's own"), "the target thread panicked: the target's own"),
        (|| Err(Failure::Fatal("the mesh is gone".into())), "the mesh is gone"),
        (|| Ok(()), "the target ended while there was more to send"),
    ];
    for (run, text) in cases {
        let mut fixture = fixture(&[10; 3_000], 2);
        fixture.pipeline.target = Box::new(Broken(run));
        fixture.pipeline.source.then = until_stopped;
        check_fatal(fixture, text);
    }
}

#[test]
fn a_reject_under_the_stop_policy_is_fatal_and_not_passed() {
    let mut fixture = fixture(&[10; 300], 2);
    fixture.pipeline.source.encoder.rejects = Some(1_005);
    let world = fixture.world.clone();
    check_fatal(fixture, "told to reject");
    assert!(last_acked(&world) <= 1_000);
}

#[test]
fn a_dead_letter_is_in_the_file_before_its_batch_is_acked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dead.jsonl");
    let mut fixture = fixture(&[10; 30], 2);
    fixture.pipeline.source.encoder.rejects = Some(105);
    fixture.pipeline.settings.on_reject = OnReject::DeadLetter(path.clone());
    let (world, metrics) = (fixture.world.clone(), fixture.pipeline.metrics.clone());
    assert_eq!(fixture.pipeline.run(), Ok(Outcome::Reached));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "{}\n");
    assert_eq!(metrics.rejects.value(), 1);
    assert_eq!(last_acked(&world), 300);
}

struct FullDisk;

impl Registry for FullDisk {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        Ok(Some(Checkpoint { acked: position(0), ..Checkpoint::default() }))
    }

    fn store(&mut self, _: &Checkpoint) -> Result<(), Failure> {
        Err(Failure::Retry("disk full".into()))
    }
}

#[test]
fn a_registry_that_stays_broken_is_fatal() {
    let mut fixture = fixture(&[10; 30], 1);
    fixture.pipeline.registry = Box::new(FullDisk);
    fixture.pipeline.source.then = until_stopped;
    let failure = fixture.pipeline.run().unwrap_err();
    assert!(matches!(&failure, Failure::Fatal(text) if text.contains("disk full")), "{failure}");
}

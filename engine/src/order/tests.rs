//! The gate against what it promises, said naively.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[test]
fn a_waiting_key_does_not_hold_up_others_and_the_oldest_goes_first() {
    let mut gate = Gate::new(Order::Key, 64);
    for keys in [[7, 0], [7, 0], [8, 0], [7, 0]] {
        gate.admit(keys);
    }
    assert_eq!((gate.take(), gate.take(), gate.take()), (Some(0), Some(2), None));
    gate.admit([9, 0]);
    gate.release(0);
    assert_eq!((gate.take(), gate.take(), gate.take()), (Some(1), Some(4), None));
    gate.release(1);
    assert_eq!(gate.take(), Some(3));
}

#[test]
fn a_key_change_waits_for_both_keys_and_holds_both() {
    let mut gate = Gate::new(Order::Key, 64);
    for keys in [[1, 0], [2, 0], [1, 2], [1, 2], [2, 0]] {
        gate.admit(keys);
    }
    assert_eq!((gate.take(), gate.take(), gate.take()), (Some(0), Some(1), None));
    gate.release(1);
    assert_eq!(gate.take(), None);
    gate.release(0);
    assert_eq!((gate.take(), gate.take()), (Some(2), None));
    gate.release(2);
    assert_eq!((gate.take(), gate.take()), (Some(3), None));
    gate.release(3);
    assert_eq!(gate.take(), Some(4));
    gate.release(4);
    assert!(gate.is_empty() && gate.last_holder.is_empty());
}

#[test]
fn total_order_is_one_at_a_time_and_none_is_all_at_once() {
    let mut total = Gate::new(Order::Total, 64);
    let mut none = Gate::new(Order::None, 64);
    for keys in [[1, 0], [2, 0], [0, 0]] {
        total.admit(keys);
        none.admit([5, 0]);
        assert_eq!(none.ready_count(), none.admitted().count());
    }
    for slot in 0..3 {
        assert_eq!((total.take(), total.take()), (Some(slot), None));
        total.release(slot);
    }
}

#[test]
fn the_look_ahead_is_bounded_by_the_oldest_unreleased_event() {
    let mut gate = Gate::new(Order::None, 64);
    let admitted: Vec<u64> = (0..64).map(|_| gate.admit([0; 2])).collect();
    let taken: Vec<u32> = std::iter::from_fn(|| gate.take()).collect();
    assert_eq!((admitted.len(), taken.len()), (64, 64));
    (1..64).for_each(|slot| gate.release(slot));
    assert_eq!(gate.room(), 0);
    gate.release(0);
    assert_eq!(gate.room(), 64);
}

/// What the gate promises, said naively: an event may go when no earlier unreleased event shares a key with it.
struct Model {
    events: Vec<(Vec<u64>, bool)>,
    taken: HashSet<u64>,
}

impl Model {
    fn next(&self) -> Option<u64> {
        let shares = |a: &[u64], b: &[u64]| a.iter().any(|key| *key != 0 && b.contains(key));
        (0..self.events.len())
            .find(|&index| {
                let (keys, released) = &self.events[index];
                let free = self.events[..index].iter().all(|(other, done)| *done || !shares(keys, other));
                !*released && free && !self.taken.contains(&(index as u64))
            })
            .map(|index| index as u64)
    }
}

fn free_links(gate: &Gate) -> usize {
    let next = |at: &u32| Some(gate.links[*at as usize].sibling).filter(|at| *at != NONE);
    std::iter::successors(Some(gate.free_link).filter(|at| *at != NONE), next).count()
}

#[test]
fn a_batch_waits_for_every_key_and_holds_all_of_them() {
    let mut gate = Gate::new(Order::Key, 64);
    gate.admit([1, 0]);
    gate.admit([2, 0]);
    gate.admit_all([0; 2], &[2, 3, 1, 3, 4]);
    gate.admit([3, 0]);
    gate.admit([5, 0]);
    assert_eq!((gate.take(), gate.take(), gate.take()), (Some(0), Some(1), Some(4)));
    gate.release(0);
    assert_eq!(gate.take(), None);
    gate.release(1);
    assert_eq!((gate.take(), gate.take()), (Some(2), None));
    gate.release(2);
    assert_eq!(gate.take(), Some(3));
}

#[derive(Debug, Clone)]
enum Step {
    Admit([u64; 2], Vec<u64>),
    Take,
    Release(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let second = prop_oneof![4 => Just(0u64), 1 => 1..6u64];
    let more = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(0..8u64, 0..6)];
    let step = prop_oneof![
        3 => (0..6u64, second, more).prop_map(|(a, b, more)| Step::Admit([a, b], more)),
        3 => Just(Step::Take),
        2 => any::<prop::sample::Index>().prop_map(Step::Release),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn the_gate_does_what_the_naive_model_does(steps in steps()) {
        let mut gate = Gate::new(Order::Key, 64);
        let mut model = Model { events: Vec::new(), taken: HashSet::new() };
        let mut in_flight = Vec::new();
        let mut first_sent: HashMap<u64, u64> = HashMap::new();
        for step in steps.into_iter().chain(std::iter::repeat_n(Step::Take, 64)) {
            match step {
                Step::Admit(keys, more) if gate.room() > 0 => {
                    prop_assert_eq!(gate.admit_all(keys, &more), model.events.len() as u64);
                    model.events.push(([&keys[..], &more].concat(), false));
                }
                Step::Admit(..) => {}
                Step::Take => {
                    let taken = gate.take();
                    let expected = model.next();
                    prop_assert_eq!(taken, expected.map(|admission| gate.slot(admission)));
                    if let Some(admission) = expected {
                        for key in model.events[admission as usize].0.iter().filter(|key| **key != 0) {
                            prop_assert!(first_sent.insert(*key, admission).is_none_or(|before| before <= admission));
                        }
                        model.taken.insert(admission);
                        in_flight.push(admission);
                    }
                }
                Step::Release(_) if in_flight.is_empty() => {}
                Step::Release(index) => {
                    let admission = in_flight.swap_remove(index.index(in_flight.len()));
                    gate.release(gate.slot(admission));
                    model.events[admission as usize].1 = true;
                }
            }
        }
        // Everything that was admitted gets its turn.
        while let Some(admission) = in_flight.pop() {
            gate.release(gate.slot(admission));
            while let Some(slot) = gate.take() {
                let next = gate.admitted().find(|admission| gate.slot(*admission) == slot);
                in_flight.push(next.expect("a taken slot is admitted"));
            }
        }
        prop_assert!(gate.is_empty() && gate.last_holder.is_empty());
        prop_assert_eq!(free_links(&gate), gate.links.len());
    }
}

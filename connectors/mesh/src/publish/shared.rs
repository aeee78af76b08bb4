//! What the tasks of the target's one thread share. Borrows never live across an await.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::address::Addresses;
use crate::config::MeshConfig;
use crate::muffler::Muffler;
use crate::publish::bell::Bell;
use crate::publish::pool::Pool;
use crate::publish::stats::Stats;

pub(crate) struct Shared {
    pub(crate) config: MeshConfig,
    pub(crate) pool: RefCell<Pool>,
    pub(crate) addresses: RefCell<Addresses>,
    /// One a connection.
    pub(crate) bells: Vec<Bell>,
    /// Connections that are asked to move to another address.
    pub(crate) moves: Vec<Cell<bool>>,
    /// Which connections are greeted.
    pub(crate) is_connected: Vec<Cell<bool>>,
    /// The address that each connection is on, where it is one of the configured ones.
    pub(crate) places: Vec<Cell<Option<usize>>>,
    /// For the task that holds the parcels.
    pub(crate) main: Bell,
    /// Whether the pipeline's outlet will wake that task by itself.
    pub(crate) outlet_pending: Cell<bool>,
    /// Everything is acknowledged: say goodbye.
    pub(crate) is_finished: Cell<bool>,
    pub(crate) losses: RefCell<Muffler>,
    pub(crate) stats: Arc<Stats>,
    started: Instant,
}

impl Shared {
    pub(crate) fn new(config: MeshConfig, stats: Arc<Stats>, seed: u64) -> Self {
        let chance = SmallRng::seed_from_u64(seed.wrapping_add(1));
        Self {
            pool: RefCell::new(Pool::new(&config, Arc::clone(&stats), seed)),
            addresses: RefCell::new(Addresses::new(&config.addresses, &config.timing, chance)),
            bells: (0..config.connections).map(|_| Bell::default()).collect(),
            moves: (0..config.connections).map(|_| Cell::new(false)).collect(),
            is_connected: (0..config.connections).map(|_| Cell::new(false)).collect(),
            places: (0..config.connections).map(|_| Cell::new(None)).collect(),
            main: Bell::default(),
            outlet_pending: Cell::new(false),
            is_finished: Cell::new(false),
            losses: RefCell::new(Muffler::default()),
            stats,
            started: Instant::now(),
            config,
        }
    }

    /// ms since the target began to run.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Wakes the connections that have something to send, except the caller's, and the task that holds the parcels if
    /// there is something for it.
    pub(crate) fn spread(&self, except: Option<usize>) {
        let now_ms = self.now_ms();
        let pool = self.pool.borrow();
        for (line, bell) in self.bells.iter().enumerate() {
            if Some(line) != except && pool.has_work(line, now_ms) {
                bell.ring();
            }
        }
        if pool.has_news() || (pool.wants_parcel() && !self.outlet_pending.get()) {
            self.main.ring();
        }
    }
}

//! Random changes of few keys in puts of any size: the table and its triggers end as if each had been made by itself.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{FAMILIES, Given, Target, created, deleted, updated, with_table};
use crate::suite::on;

/// What a table is like; all have the columns `id` and `v`.
const TABLES: [&str; 6] = [
    "id INT PRIMARY KEY, v INT",
    "id INT, v INT, UNIQUE (id)", // no key: it can be NULL
    "id INT PRIMARY KEY, v INT, w INT",
    "id INT PRIMARY KEY, v INT, UNIQUE (v)",
    "id VARCHAR(9) PRIMARY KEY, v INT",
    "id VARBINARY(9), part INT NOT NULL DEFAULT 3, v INT, PRIMARY KEY (id, part)",
];

#[test]
fn random_changes_end_as_if_each_had_been_made_by_itself() {
    let given = std::env::var("FLOWD_TEST_SEED").ok();
    let seed: u64 =
        given.map_or_else(rand::random, |seed| seed.parse().expect("FLOWD_TEST_SEED is a number"));
    eprintln!("FLOWD_TEST_SEED={seed}");
    on(&FAMILIES, &[], |server| {
        for columns in TABLES {
            let mut random = StdRng::seed_from_u64(seed);
            let mut sql = with_table(server, columns);
            sql.run("CREATE TABLE fired (n INT); INSERT INTO fired VALUES (0)");
            for event in ["INSERT", "UPDATE", "DELETE"] {
                sql.run(&format!(
                    "CREATE TRIGGER on_{event} AFTER {event} ON t FOR EACH ROW UPDATE fired SET n = n + 1"
                ));
            }
            let mut target = Target::open(server);
            let mut made = Made { is_binary: columns.contains("VARBINARY"), ..Made::default() };
            for _ in 0..60 {
                let count = random.random_range(1..40);
                let events: Vec<Given> = (0..count).map(|_| made.change(&mut random)).collect();
                target.put(&events);
            }
            let rows: BTreeMap<String, String> = sql
                .run("SELECT id, v FROM t")
                .into_iter()
                .map(|row| (row[0].clone(), row[1].clone()))
                .collect();
            let expected: BTreeMap<String, String> =
                made.rows.iter().map(|(id, v)| (id.to_string(), v.to_string())).collect();
            assert_eq!(rows, expected, "{columns}, seed {seed}");
            assert_eq!(sql.run("SELECT n FROM fired"), [[made.count.to_string()]], "{columns}, seed {seed}");
        }
    });
}

/// The rows as they should be, and how many changes made them so.
#[derive(Default)]
struct Made {
    rows: BTreeMap<u8, u32>,
    count: u32,
    is_binary: bool,
}

impl Made {
    /// The next possible change of some key; every value is new, so that an UPDATE changes something.
    fn change(&mut self, random: &mut StdRng) -> Given {
        self.count += 1;
        let (id, v) = (random.random_range(0..9), self.count);
        match self.rows.get(&id).copied() {
            None => {
                self.rows.insert(id, v);
                created(&self.row(id, v))
            }
            Some(old) if random.random_bool(0.5) => {
                self.rows.remove(&id);
                deleted(&self.row(id, old))
            }
            Some(old) => {
                self.rows.insert(id, v);
                updated(&self.row(id, old), &self.row(id, v))
            }
        }
    }

    fn row(&self, id: u8, v: u32) -> serde_json::Value {
        // One digit in base64.
        let bytes = ["MA==", "MQ==", "Mg==", "Mw==", "NA==", "NQ==", "Ng==", "Nw==", "OA=="][usize::from(id)];
        if self.is_binary {
            return serde_json::json!({"id": bytes, "part": 3, "v": v});
        }
        serde_json::json!({"id": id, "v": v})
    }
}

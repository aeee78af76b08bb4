//! Random changes made inside the server, by a procedure a table, while something else happens.
//!
//! Nobody keeps a list of what was committed: the server itself is asked at the end. So statements may collide, fail
//! or be rolled back as they like, and the changes are as fast as the server. `FLOWD_TEST_SEED` seeds the sessions.

use super::{Arrival, Events, Replica, Server, Sql};

/// The schema of the tables.
pub const SCHEMA: &str = "test_churn";

/// A table by its key: how the n-th key is written, found and shown.
pub struct Shape {
    pub table: &'static str,
    /// The columns of the key and what makes them one.
    columns: &'static str,
    /// Column and SQL expression of the numbers `n` and, where the key can be written in two ways, `v`.
    key: &'static [(&'static str, &'static str)],
    /// Finds the n-th key, however it is written.
    find: &'static str,
    /// Column and SQL expression that gives the text of its JSON value.
    shown: &'static [(&'static str, &'static str)],
}

/// All kinds of keys that are read in ranges, one that is none, and none at all.
pub static SHAPES: [Shape; 11] = [
    Shape {
        table: "whole",
        columns: "id INT NOT NULL, PRIMARY KEY (id)",
        key: &[("id", "n - 700")],
        find: "id = n - 700",
        shown: &[("id", "id")],
    },
    Shape {
        table: "pair",
        columns: "id INT, half VARCHAR(4) CHARACTER SET latin1, PRIMARY KEY (half, id)",
        key: &[("id", "n DIV 5"), ("half", "ELT(1 + n MOD 5, 'a', 'B', 'é', '', 'zz')")],
        find: "half = ELT(1 + n MOD 5, 'a', 'B', 'é', '', 'zz') AND id = n DIV 5",
        shown: &[("id", "id"), ("half", "half")],
    },
    Shape {
        table: "folded",
        columns: "name VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, PRIMARY KEY (name)",
        key: &[(
            "name",
            "IF(v, UPPER(CONCAT('key é ', CONV(n + 40000, 10, 36))), LOWER(CONCAT('key é ', CONV(n + 40000, 10, 36))))",
        )],
        find: "name = CONCAT('key é ', CONV(n + 40000, 10, 36))",
        shown: &[("name", "name")],
    },
    Shape {
        table: "bytes",
        columns: "k VARBINARY(12), PRIMARY KEY (k)",
        key: &[("k", "CONCAT(UNHEX(LPAD(HEX(n DIV 4), 6, '0')), REPEAT(x'00', n MOD 4))")],
        find: "k = CONCAT(UNHEX(LPAD(HEX(n DIV 4), 6, '0')), REPEAT(x'00', n MOD 4))",
        shown: &[("k", "TO_BASE64(k)")],
    },
    Shape {
        table: "amount",
        columns: "a DECIMAL(24,6), PRIMARY KEY (a)",
        key: &[("a", "CAST((n - 700) * 12.250001 AS DECIMAL(24,6))")],
        find: "a = CAST((n - 700) * 12.250001 AS DECIMAL(24,6))",
        shown: &[("a", "a")],
    },
    Shape {
        table: "moment",
        columns: "at DATETIME(6), PRIMARY KEY (at)",
        key: &[("at", "TIMESTAMP('1969-12-31 23:59:59.5') + INTERVAL n * 12345678 MICROSECOND")],
        find: "at = TIMESTAMP('1969-12-31 23:59:59.5') + INTERVAL n * 12345678 MICROSECOND",
        shown: &[("at", "DATE_FORMAT(at, '%Y-%m-%dT%H:%i:%s.%f')")],
    },
    Shape {
        table: "fraction",
        columns: "f FLOAT, PRIMARY KEY (f)",
        key: &[("f", "n * 0.1 - 50.05")],
        find: "f > n * 0.1 - 50.09 AND f < n * 0.1 - 50.01",
        shown: &[("f", "f")],
    },
    Shape {
        table: "sure",
        columns: "maybe INT, code INT UNSIGNED NOT NULL, UNIQUE KEY maybe (maybe), UNIQUE KEY sure (code)",
        key: &[("maybe", "IF(n MOD 3, NULL, n)"), ("code", "n + 4294960000")],
        find: "code = n + 4294960000",
        shown: &[("maybe", "maybe"), ("code", "code")],
    },
    Shape {
        table: "odd",
        columns: "kind ENUM('b','a','c'), at TIMESTAMP(3), big BIGINT UNSIGNED, PRIMARY KEY (kind, at, big)",
        key: &[
            ("kind", "ELT(1 + n MOD 3, 'a', 'b', 'c')"),
            ("at", "TIMESTAMP('2024-03-31 00:30:00') + INTERVAL (n DIV 3 MOD 7) HOUR"),
            ("big", "CAST(9223372036854775800 AS UNSIGNED) + n DIV 21"),
        ],
        find: "kind = ELT(1 + n MOD 3, 'a', 'b', 'c') AND at = TIMESTAMP('2024-03-31 00:30:00') + INTERVAL (n DIV 3 MOD 7) HOUR \
               AND big = CAST(9223372036854775800 AS UNSIGNED) + n DIV 21",
        shown: &[
            ("kind", "kind"),
            ("at", "CONCAT(LEFT(DATE_FORMAT(at, '%Y-%m-%dT%H:%i:%s.%f'), 23), 'Z')"),
            ("big", "big"),
        ],
    },
    Shape {
        table: "calendar",
        columns: "y YEAR, d DATE, t TIME(2), b BIT(9), PRIMARY KEY (y, d, t, b)",
        key: &[
            ("y", "2000 + n MOD 3"),
            ("d", "DATE('2020-02-27') + INTERVAL (n DIV 3 MOD 5) DAY"),
            ("t", "SEC_TO_TIME((n DIV 15 MOD 7) * 1000.25 - 3000)"),
            ("b", "200 + n DIV 105"),
        ],
        find: "y = 2000 + n MOD 3 AND d = DATE('2020-02-27') + INTERVAL (n DIV 3 MOD 5) DAY \
               AND t = SEC_TO_TIME((n DIV 15 MOD 7) * 1000.25 - 3000) AND b = 200 + n DIV 105",
        shown: &[
            ("y", "y"),
            ("d", "d"),
            ("t", "t"),
            ("b", "TO_BASE64(UNHEX(CONCAT(LPAD(HEX(b MOD 256), 2, '0'), LPAD(HEX(b DIV 256), 2, '0'))))"),
        ],
    },
    BARE,
];

/// No key at all, and rows that are equal.
const BARE: Shape = Shape {
    table: "bare",
    columns: "a INT, KEY (a)",
    key: &[("a", "n")],
    find: "a = n",
    shown: &[("a", "a")],
};

/// Statements of one turn; each is a transaction unless it says otherwise. `{c}`: the key's columns, `{k}`: their values for
/// `n`, `{s}`: the same as assignments, `{m}`: as assignments for another key, `{f}`: finds the key, `{o}`: order from the end.
const TURN: &str = "
    CASE d
    WHEN 0 THEN INSERT INTO {t} ({c}, rev, note) VALUES ({k}, r, CONCAT('new ', REPEAT('x', r MOD 120)));
    WHEN 1 THEN INSERT INTO {t} ({c}, rev, note) VALUES ({k}, n MOD 3, 'same');
    WHEN 2 THEN UPDATE {t} SET rev = r, note = CONCAT('changed ', r) WHERE {f} LIMIT 1;
    WHEN 3 THEN UPDATE {t} SET rev = r, note = REPEAT('long ', r MOD 50) WHERE {f} LIMIT 1;
    WHEN 4 THEN UPDATE {t} SET rev = n MOD 3, note = 'same' WHERE {f} LIMIT 1;
    WHEN 5 THEN UPDATE {t} SET {s}, rev = r WHERE {f} LIMIT 1;
    WHEN 6 THEN UPDATE {t} SET {m}, rev = r WHERE {f} LIMIT 1;
    WHEN 7 THEN DELETE FROM {t} WHERE {f} LIMIT 1;
    WHEN 8 THEN
        START TRANSACTION; DELETE FROM {t} WHERE {f} LIMIT 1;
        INSERT INTO {t} ({c}, rev, note) VALUES ({k}, r, 'again');
        UPDATE {t} SET {m} WHERE {f} LIMIT 1; COMMIT;
    WHEN 9 THEN
        START TRANSACTION; UPDATE {t} SET {m}, rev = r WHERE {f} LIMIT 1;
        INSERT INTO {t} ({c}, rev, note) VALUES ({k}, r + 1, 'in its place');
        IF v THEN ROLLBACK; ELSE COMMIT; END IF;
    WHEN 10 THEN DELETE FROM {t} ORDER BY {o} LIMIT 1;
    WHEN 11 THEN SET n = number + i; INSERT INTO {t} ({c}, rev, note) VALUES ({k}, r, 'behind the last');
    ELSE UPDATE {t} SET rev = rev + 1 WHERE {f} LIMIT 1;
    END CASE;";

/// The tables, filled, and how many keys each can have.
pub struct Churn {
    shapes: &'static [Shape],
    keys: u32,
    seed: u64,
    /// Rest of a session after every fourth change, ms.
    rest_ms: u32,
}

impl Churn {
    /// Makes all tables and fills them with seven of ten of `keys` possible keys.
    pub fn new(server: &Server, keys: u32) -> Self {
        Self::with(server, &SHAPES, keys)
    }

    /// The same with some of the tables.
    pub fn with(server: &Server, shapes: &'static [Shape], keys: u32) -> Self {
        let given = std::env::var("FLOWD_TEST_SEED").ok();
        let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("FLOWD_TEST_SEED is a number"));
        eprintln!("FLOWD_TEST_SEED={seed}");
        let mut sql = session(server);
        sql.run(&format!(
            "CREATE DATABASE {SCHEMA}; CREATE DATABASE control; CREATE TABLE control.going (yes INT); INSERT INTO control.going VALUES (0);
             CREATE TABLE control.numbers (n INT AUTO_INCREMENT PRIMARY KEY, x INT); INSERT INTO control.numbers (x) VALUES (0)"
        ));
        while sql.run("SELECT COUNT(*) FROM control.numbers")[0][0].parse::<u32>().unwrap() < keys {
            sql.run("INSERT INTO control.numbers (x) SELECT x FROM control.numbers");
        }
        for shape in shapes {
            shape.create(&mut sql, keys);
        }
        Self { shapes, keys, seed, rest_ms: 10 }
    }

    /// The same with a quarter as many changes a second.
    pub fn calm(self) -> Self {
        Self { rest_ms: 40, ..self }
    }

    /// The names of the tables.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.shapes.iter().map(|shape| shape.table)
    }

    /// Changes all tables all along while `work` is done; gives what it gives.
    pub fn during<T>(&self, server: &Server, work: impl FnOnce() -> T) -> T {
        server.run("UPDATE control.going SET yes = 1");
        std::thread::scope(|scope| {
            for (number, shape) in (1..).zip(self.shapes) {
                scope.spawn(move || {
                    let seed = self.seed.wrapping_mul(number) % 1_000_000_007;
                    let mut sql = session(server);
                    sql.run(&format!("SET rand_seed1 = {seed}, rand_seed2 = {}", seed / 2 + number));
                    sql.run(&format!(
                        "CALL control.churn_{}({}, {number} * 10000000, {})",
                        shape.table, self.keys, self.rest_ms
                    ));
                });
            }
            let stop = Stop(server);
            let done = work();
            drop(stop);
            done
        })
    }

    /// Demands that what a consumer of `events` has is what the server has, whole rows, and that no id has two contents.
    pub fn verify(&self, server: &Server, events: &Events, arrival: Arrival) {
        let first = events.first();
        let mut sql = session(server);
        let verify = |sql: &mut Sql, replica: &Replica, shape: &Shape| {
            replica.verify(sql, SCHEMA, shape.table, &shape.all_shown());
        };
        let replica = Replica::of(first.iter().copied(), arrival);
        for shape in self.shapes {
            verify(&mut sql, &replica, shape);
        }
        if first.len() == events.len() {
            return;
        }
        // A consumer that takes what comes again must end with the same, where there is a key to take it by.
        let replica = Replica::of(events.iter(), Arrival::Repeated);
        for shape in self
            .shapes
            .iter()
            .filter(|shape| shape.columns.contains("PRIMARY") || shape.columns.contains("UNIQUE"))
        {
            verify(&mut sql, &replica, shape);
        }
    }
}

/// Ends the changes, also when the test fails meanwhile.
struct Stop<'a>(&'a Server);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.run("UPDATE control.going SET yes = 0");
    }
}

impl Shape {
    fn create(&self, sql: &mut Sql, keys: u32) {
        let table = format!("{SCHEMA}.{}", self.table);
        let columns: Vec<&str> = self.key.iter().map(|(column, _)| *column).collect();
        let values: Vec<&str> = self.key.iter().map(|(_, value)| *value).collect();
        sql.run(&format!(
            "CREATE TABLE {table} (rev BIGINT NOT NULL, note VARCHAR(400) CHARACTER SET utf8mb4, {})",
            self.columns
        ));
        sql.run(&format!(
            "INSERT INTO {table} ({}, rev, note) SELECT {}, n MOD 3, IF(n MOD 4, CONCAT('first ', REPEAT('é', n MOD 60)), NULL)
             FROM (SELECT n, n DIV 2 MOD 2 AS v FROM control.numbers WHERE n <= {keys} AND n MOD 10 < 7) AS numbered",
            columns.join(", "),
            values.join(", ")
        ));
        self.create_procedure(sql, &columns, &values);
    }

    fn create_procedure(&self, sql: &mut Sql, columns: &[&str], values: &[&str]) {
        let assign = |values: &[String]| {
            let pairs: Vec<String> =
                columns.iter().zip(values).map(|(column, value)| format!("{column} = {value}")).collect();
            pairs.join(", ")
        };
        let here: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        // The same expression of another number: `n` is a word of its own in all of them.
        let there: Vec<String> = values.iter().map(|value| with_other_number(value)).collect();
        let turn = TURN
            .replace("{t}", &format!("{SCHEMA}.{}", self.table))
            .replace("{c}", &columns.join(", "))
            .replace("{k}", &values.join(", "))
            .replace("{s}", &assign(&here))
            .replace("{m}", &assign(&there))
            .replace("{f}", self.find)
            .replace(
                "{o}",
                &columns.iter().map(|column| format!("{column} DESC")).collect::<Vec<_>>().join(", "),
            );
        sql.run(&format!(
            "\nDELIMITER //
            CREATE PROCEDURE control.churn_{}(number INT, first BIGINT, rest INT) BEGIN
                DECLARE i, n, other, v, d INT DEFAULT 0;
                DECLARE r BIGINT;
                DECLARE going INT DEFAULT 1;
                DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
                WHILE going AND i < 6000 DO
                    SET i = i + 1, n = 1 + FLOOR(RAND() * number), other = 1 + FLOOR(RAND() * number);
                    SET v = FLOOR(RAND() * 2), d = FLOOR(RAND() * 13), r = first + i;
                    {turn}
                    IF i MOD 4 = 0 THEN DO SLEEP(rest / 1000); SELECT yes INTO going FROM control.going; END IF;
                END WHILE;
            END //
            \nDELIMITER ",
            self.table
        ));
    }

    /// All columns in the order of the table.
    fn all_shown(&self) -> Vec<(&'static str, &'static str)> {
        let mut shown = vec![("rev", "rev"), ("note", "note")];
        shown.extend(self.shown);
        shown
    }
}

fn with_other_number(expression: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let mut quoted = false;
    for letter in expression.chars().chain([' ']) {
        if letter.is_alphanumeric() && !quoted {
            word.push(letter);
            continue;
        }
        out += if word == "n" { "other" } else { &word };
        word.clear();
        quoted ^= letter == '\'';
        out.push(letter);
    }
    out
}

/// A session that sees times as UTC and does not lock what it does not change.
fn session(server: &Server) -> Sql {
    let mut sql = server.sql();
    sql.run(
        "SET time_zone = '+00:00', NAMES utf8mb4; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    );
    sql
}

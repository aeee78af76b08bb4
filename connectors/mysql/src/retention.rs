//! How long the server keeps its binlog: what is not acknowledged by then is lost.

use crate::connection::Connection;

/// In seconds; 0 where it is kept for ever, or the server does not say.
pub(crate) fn seconds(connection: &mut Connection) -> i64 {
    let statement = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
                     ('binlog_expire_logs_seconds', 'expire_logs_days', 'binlog_expire_logs_auto_purge')";
    let rows = match connection.query(statement) {
        Ok(result) => result.rows,
        Err(error) => {
            tracing::debug!("how long the server keeps its binlog is not known: {error}");
            return 0;
        }
    };
    let text = |value: Option<&Option<Vec<u8>>>| {
        value
            .and_then(Option::as_ref)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default()
    };
    shortest(rows.iter().map(|row| (text(row.first()).to_ascii_lowercase(), text(row.get(1)))))
}

/// MariaDB tells one setting under two names; the shorter one holds in any case.
fn shortest(variables: impl Iterator<Item = (String, String)>) -> i64 {
    let mut shortest = f64::INFINITY;
    for (name, value) in variables {
        let number = value.parse::<f64>().unwrap_or(0.0);
        let seconds = match name.as_str() {
            "binlog_expire_logs_auto_purge" if value.eq_ignore_ascii_case("off") || value == "0" => return 0,
            "binlog_expire_logs_seconds" => number,
            "expire_logs_days" => number * 86_400.0,
            _ => 0.0,
        };
        if seconds > 0.0 {
            shortest = shortest.min(seconds);
        }
    }
    if shortest.is_finite() { shortest as i64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_setting_counts_and_none_means_for_ever() {
        for (variables, expected) in [
            (&[("binlog_expire_logs_seconds", "2592000")][..], 2_592_000),
            (&[("binlog_expire_logs_seconds", "43200"), ("expire_logs_days", "0.500000")], 43_200),
            (&[("binlog_expire_logs_seconds", "0"), ("expire_logs_days", "2.000000")], 172_800),
            (&[("binlog_expire_logs_seconds", "60"), ("binlog_expire_logs_auto_purge", "OFF")], 0),
            (&[("binlog_expire_logs_seconds", "0")], 0),
            (&[], 0),
        ] {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            assert_eq!(shortest(variables), expected);
        }
    }
}

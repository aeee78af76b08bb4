//! The dialect of PostgreSQL, as the rows of [`flowd_sink`] need it.

use std::time::Instant;

use flowd_sink::rows;
use flowd_sink::rows::change::Step;
use flowd_sink::rows::layout::Origin;
use flowd_sink::rows::mapping::TableName;
use flowd_sink::rows::tables::Trouble;

use crate::catalog;
use crate::config::{PostgresConfig, ZeroDates};
use crate::plan::Plan;
use crate::session::Session;
use crate::sql;
use crate::value::{Form, Reading};

pub(crate) type Column = rows::table::Column<DataType>;
pub(crate) type Layout = rows::layout::Layout<Reading>;
pub(crate) type Table = rows::table::Table<Postgres>;
pub(crate) type Tables = rows::tables::Tables<Postgres>;

/// The dialect.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// What becomes of dates that PostgreSQL does not have.
    pub(crate) zero_dates: ZeroDates,
    /// Foreign keys are passed over.
    pub(crate) is_replica: bool,
}

/// A column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataType {
    /// As SQL, of a domain the type below, without width or precision: a cast to it cuts nothing.
    pub(crate) cast: String,
    pub(crate) form: Form,
}

/// What is known of a table besides its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Known {
    /// It refers to a table by a foreign key that is checked, or is referred to.
    pub(crate) is_linked: bool,
}

impl Postgres {
    pub(crate) fn new(config: &PostgresConfig) -> Self {
        Self { zero_dates: config.zero_dates, is_replica: config.is_replica }
    }
}

impl rows::dialect::Dialect for Postgres {
    type Session = Session;
    type DataType = DataType;
    type Known = Known;
    type Shape = Reading;
    type Statement = Plan;

    /// A name in lower case is what PostgreSQL makes of one without quotes.
    const NAMES_FOLD: bool = false;
    const DELICATE_INSERTION: Step = Step::UpdateFirst;

    fn identifier(name: &str) -> String {
        sql::identifier(name)
    }

    fn read(&self, session: &mut Session, name: &TableName, now: Instant) -> Result<Option<Table>, Trouble> {
        if name.table.contains('\0') {
            return Err(Trouble::Refused("its table's name has the character U+0000".into()));
        }
        catalog::read(session, name, self.is_replica, now)
            .map_err(|fault| Trouble::Failed(fault.into_failure()))
    }

    fn shape(&self, _table: &Table, origin: Origin, _written: &[&str]) -> Reading {
        Reading { origin, zero_dates: self.zero_dates }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const DIALECT: Postgres = Postgres { zero_dates: ZeroDates::Reject, is_replica: false };

    pub(crate) fn made(name: &str, cast: &str, form: Form) -> Column {
        Column {
            name: name.into(),
            quoted: sql::identifier(name),
            data_type: DataType { cast: cast.into(), form },
            generated: false,
            identity: false,
            folds: false,
        }
    }
}

//! What a database brings: how its names are written, how a definition is read, and what it makes of shapes.

use std::fmt::Debug;
use std::time::Instant;

use super::change::Step;
use super::layout::Origin;
use super::mapping::TableName;
use super::table::Table;
use super::tables::Trouble;

/// A database's way with rows. Everything that an event needs is a type of the dialect's own, so nothing is looked up while
/// rows are written.
pub trait Dialect: Debug + Sized {
    /// A session with the target.
    type Session;
    /// A column's type, as far as the writing of its values needs it.
    type DataType: Debug;
    /// What else is known of a table.
    type Known: Debug;
    /// What follows from the shape of a row alone.
    type Shape: Debug;
    /// What is made once for shapes of a table and kept beside them; `()` where there is nothing.
    type Statement: Debug;

    /// Names of columns differ by more than case.
    const NAMES_FOLD: bool;
    /// How a row that may be there goes into a table where an upsert is delicate: [`Step::InsertFirst`] or
    /// [`Step::UpdateFirst`].
    const DELICATE_INSERTION: Step;

    /// A name as SQL.
    fn identifier(name: &str) -> String;

    /// Reads a definition; `None` where there is no such table, or the account may not see it.
    ///
    /// # Errors
    /// The name cannot be, or the definition cannot be read.
    fn read(
        &self,
        session: &mut Self::Session,
        name: &TableName,
        now: Instant,
    ) -> Result<Option<Table<Self>>, Trouble>;

    /// What follows from a shape. `written` are the names of the columns that are written, as SQL.
    fn shape(&self, table: &Table<Self>, origin: Origin, written: &[&str]) -> Self::Shape;
}

//! Where rows go: the target's table for each of the source's, and for events that are no change events.
//!
//! Invariant: where an event's row goes depends on its database and table and on the settings alone.

use std::collections::BTreeMap;
use std::fmt;

use flowd_engine::setting::Wrong;

const MAPPING: &str = "tableMapping";
const PLAIN_TABLE: &str = "plainTable";
const PLAIN_KEY: &str = "plainKey";

/// A table of the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Its schema; what MySQL calls a database.
    pub schema: String,
    /// Its name.
    pub table: String,
}

impl TableName {
    /// `table` or `schema.table`; the first dot divides, because a schema's name rarely has one.
    fn read(text: &str, schema: &str) -> Self {
        let (schema, table) = text.split_once('.').unwrap_or((schema, text));
        Self { schema: schema.to_owned(), table: table.to_owned() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.table)
    }
}

/// Where the data of events goes that are no change events of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTarget {
    /// The table.
    pub table: TableName,
    /// The columns that tell which row it is; empty for the table's own key.
    pub key: Vec<String>,
}

/// Which names of schemas, tables and columns the target can have.
#[derive(Debug, Clone, Copy)]
pub struct NameRule {
    /// Whether it can have this one.
    pub is_possible: fn(&str) -> bool,
    /// The same in words.
    pub allowed: &'static str,
}

impl NameRule {
    /// Looks at the name that a setting holds.
    ///
    /// # Errors
    /// It cannot be a name.
    pub fn check(&self, setting: &'static str, name: &str) -> Result<(), Wrong> {
        if (self.is_possible)(name) {
            return Ok(());
        }
        Err(Wrong::value(setting, &name.escape_debug().to_string(), self.allowed))
    }

    fn check_table(&self, setting: &'static str, text: &str) -> Result<(), Wrong> {
        let name = TableName::read(text, "schema");
        self.check(setting, &name.schema)?;
        self.check(setting, &name.table)
    }
}

/// The settings that say where rows go, as they are written.
#[derive(Debug, Clone)]
pub struct MappingSettings {
    /// The schema of tables that are not mapped.
    pub schema: String,
    /// `tableMapping`.
    pub table_mapping: BTreeMap<String, String>,
    /// `plainTable`.
    pub plain_table: Option<String>,
    /// `plainKey`.
    pub plain_key: Vec<String>,
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMapping {
    schema: String,
    tables: BTreeMap<String, String>,
    plain: Option<PlainTarget>,
}

impl TableMapping {
    /// From the settings; `schema_setting` is the name of the one that holds the schema.
    ///
    /// # Errors
    /// The first setting that cannot be as it is.
    pub fn new(
        settings: MappingSettings,
        schema_setting: &'static str,
        names: NameRule,
    ) -> Result<Self, Wrong> {
        names.check(schema_setting, &settings.schema)?;
        check_mapping(&settings.table_mapping, names)?;
        let plain = plain(&settings, names)?;
        Ok(Self { schema: settings.schema, tables: settings.table_mapping, plain })
    }

    /// The schema of tables that are not mapped.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Where plain events go; `None` refuses them.
    pub fn plain(&self) -> Option<&PlainTarget> {
        self.plain.as_ref()
    }

    /// Where rows of a source's table go.
    pub fn target(&self, db: &str, table: &str) -> TableName {
        let mapped =
            self.tables.get(&format!("{db}.{table}")).or_else(|| self.tables.get(&format!("{db}.*")));
        match mapped {
            Some(target) => TableName::read(&target.replace('*', table), &self.schema),
            None => TableName { schema: self.schema.clone(), table: table.to_owned() },
        }
    }

    /// The tables that topics name, each `db.table` as a source names them by itself. A topic that names none says nothing
    /// of the tables that come with it.
    pub fn targets(&self, topics: &[String]) -> Vec<TableName> {
        let tables = topics.iter().filter_map(|topic| topic.split_once('.'));
        tables.map(|(db, table)| self.target(db, table)).collect()
    }
}

fn check_mapping(mapping: &BTreeMap<String, String>, names: NameRule) -> Result<(), Wrong> {
    for (from, to) in mapping {
        let whole = from.ends_with(".*");
        let (db, table) = from.split_once('.').unwrap_or(("", ""));
        if db.is_empty() || table.is_empty() || db.contains('*') || (table.contains('*') && table != "*") {
            return Err(Wrong::value(MAPPING, from, "the source's db.table, or db.* for all its tables"));
        }
        if to.matches('*').count() > usize::from(whole) {
            return Err(Wrong::value(MAPPING, to, "one `*` at most, and only for a mapping of db.*"));
        }
        names.check_table(MAPPING, to)?;
    }
    Ok(())
}

fn plain(settings: &MappingSettings, names: NameRule) -> Result<Option<PlainTarget>, Wrong> {
    let key = &settings.plain_key;
    key.iter().try_for_each(|column| names.check(PLAIN_KEY, column))?;
    let Some(table) = &settings.plain_table else {
        return match key.first() {
            Some(column) => Err(Wrong::value(PLAIN_KEY, column, "nothing, without plainTable")),
            None => Ok(None),
        };
    };
    names.check_table(PLAIN_TABLE, table)?;
    Ok(Some(PlainTarget { table: TableName::read(table, &settings.schema), key: key.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: NameRule = NameRule {
        is_possible: |name| !name.is_empty() && name.len() < 9,
        allowed: "a name of 1 to 8 bytes",
    };

    fn settings(mapping: &[(&str, &str)]) -> MappingSettings {
        let pairs = mapping.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        let (plain_table, plain_key) = (None, Vec::new());
        MappingSettings { schema: "shop".into(), table_mapping: pairs.collect(), plain_table, plain_key }
    }

    fn mapped(mapping: &[(&str, &str)]) -> Result<TableMapping, Wrong> {
        TableMapping::new(settings(mapping), "schema", SHORT)
    }

    #[test]
    fn a_table_goes_where_it_is_called_so_in_the_schema_unless_it_is_mapped() {
        let target = |mapping: &TableMapping, db, table| mapping.target(db, table).to_string();
        let mapping = mapped(&[]).expect("no mapping");
        assert_eq!(target(&mapping, "any", "orders"), "shop.orders");
        let mapping = mapped(&[("a.orders", "b_orders"), ("a.x.y", "c.z"), ("a.*", "all.old_*")]);
        let mapping = mapping.expect("a mapping");
        assert_eq!(target(&mapping, "a", "orders"), "shop.b_orders");
        assert_eq!(target(&mapping, "a", "x.y"), "c.z");
        assert_eq!(target(&mapping, "a", "other"), "all.old_other");
        assert_eq!(target(&mapping, "b", "orders"), "shop.orders");
    }

    #[test]
    fn topics_tell_tables_where_they_are_named_as_a_source_names_them() {
        let mapping = mapped(&[("a.x", "y")]).expect("a mapping");
        let topics = ["a.x", "orders", "b.z"].map(str::to_owned);
        let targets: Vec<String> = mapping.targets(&topics).iter().map(TableName::to_string).collect();
        assert_eq!(targets, ["shop.y", "shop.z"]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_setting_and_value() {
        for (pair, value) in [
            (("orders", "x"), "orders"),
            (("a.o*", "x"), "a.o*"),
            (("a.b", "x*"), "x*"),
            (("a.b", ""), ""),
            (("a.b", "a.b\n"), "b\\n"),
            (("a.*", "much_too_long"), "much_too_long"),
        ] {
            let rule =
                NameRule { is_possible: |name| name.len() < 9 && !name.is_empty() && name != "b\n", ..SHORT };
            let wrong = TableMapping::new(settings(&[pair]), "schema", rule).expect_err(value);
            assert_eq!(wrong.setting, MAPPING);
            assert!(wrong.text.starts_with(&format!("\"{value}\" is not allowed; allowed: ")), "{wrong}");
        }
        let long = MappingSettings { schema: "much_too_long".into(), ..settings(&[]) };
        assert_eq!(TableMapping::new(long, "database", SHORT).expect_err("too long").setting, "database");
        let lonely = MappingSettings { plain_key: vec!["id".into()], ..settings(&[]) };
        assert_eq!(TableMapping::new(lonely, "schema", SHORT).expect_err("no table").setting, PLAIN_KEY);
    }

    #[test]
    fn plain_events_have_a_table_only_where_one_is_named() {
        assert_eq!(mapped(&[]).expect("no table").plain(), None);
        let named = MappingSettings {
            plain_table: Some("log.events".into()),
            plain_key: vec!["id".into()],
            ..settings(&[])
        };
        let mapping = TableMapping::new(named, "schema", SHORT).expect("a table");
        let plain = mapping.plain().expect("a table");
        assert_eq!(
            (plain.table.to_string(), plain.key.as_slice()),
            ("log.events".into(), &["id".to_owned()][..])
        );
    }
}

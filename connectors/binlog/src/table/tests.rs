//! TABLE_MAPs put together by hand, with and without a catalog.

use super::*;

/// What a test's TABLE_MAP consists of.
struct MapOf<'a> {
    types: &'a [u8],
    metadata: &'a [u8],
    optional: &'a [u8],
}

impl MapOf<'_> {
    /// Of table `s.t`; all columns NOT NULL.
    fn body(&self) -> Vec<u8> {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0, self.types.len() as u8];
        body.extend_from_slice(self.types);
        body.push(self.metadata.len() as u8);
        body.extend_from_slice(self.metadata);
        body.resize(body.len() + self.types.len().div_ceil(8), 0);
        body.extend_from_slice(self.optional);
        body
    }

    fn table(&self, flavour: Flavour, catalog: Option<&CatalogTable>) -> Result<Table, TableError> {
        let options = Options { flavour, invalid_text: InvalidText::Stop, exclude: &|_, _, _| false };
        Table::from_table_map(&self.body(), catalog, &options)
    }
}

fn catalog(columns: &[(&str, &str, Option<&str>)], key: &[usize]) -> CatalogTable {
    let columns = columns.iter().map(|&(name, column_type, charset)| CatalogColumn {
        name: name.into(),
        column_type: column_type.into(),
        data_type: String::new(),
        charset: charset.map(String::from),
        nullable: false,
    });
    CatalogTable { schema: "s".into(), name: "t".into(), columns: columns.collect(), key: key.to_vec() }
}

/// One column `a` of that type, binary where it is text, with its name in the event.
fn one(code: u8, metadata: &[u8], catalog: Option<&CatalogTable>) -> Result<Plan, TableError> {
    let mut optional = vec![4, 2, 1, b'a'];
    if Wire::parse(code, &mut Reader::new(metadata)).is_some_and(|wire| wire.is_character(Flavour::MariaDb)) {
        optional.extend_from_slice(&[2, 1, 63]);
    }
    let table = MapOf { types: &[code], metadata, optional: &optional }.table(Flavour::MariaDb, catalog)?;
    Ok(table.columns[0].plan.clone())
}

#[test]
fn an_event_that_describes_itself_needs_no_catalog() {
    // INT UNSIGNED, ENUM in latin1, VARCHAR in uca1400 of utf8mb4; key (c, a).
    let optional = [
        &[1, 1, 0x80, 2, 3, 0xFC, 0x00, 0x09, 4, 6, 1, b'a', 1, b'b', 1, b'c'][..],
        &[6, 5, 2, 1, 0xE9, 1, b'"', 10, 1, 8, 8, 2, 2, 0, 12, 1, 0xE0],
    ]
    .concat();
    let map = MapOf { types: &[3, 254, 15], metadata: &[247, 1, 40, 0], optional: &optional };
    let table = map.table(Flavour::MariaDb, None).expect("valid");
    assert_eq!((table.table_id(), table.schema(), table.name(), table.column_count()), (7, "s", "t", 3));
    assert_eq!(table.key().collect::<Vec<_>>(), ["c", "a"]);
    assert_eq!(table.columns[0].plan, Plan::U32);
    let labels = ["\"é\"", "\"\\\"\""].map(|label| label.as_bytes().into()).to_vec();
    assert_eq!(table.columns[1].plan, Plan::Enum(labels.into()));
    assert_eq!(table.columns[2].plan, Plan::Text(crate::charset::Charset::Utf8));
    assert!(table.is_made_from(&map.body()));
    assert!(!table.is_made_from(&map.body()[1..]));
}

#[test]
fn without_optional_metadata_the_catalog_describes_the_table() {
    let map = MapOf { types: &[3, 15, 254], metadata: &[40, 0, 248, 1], optional: &[] };
    let known = [
        ("a", "int(10) unsigned", None),
        ("b", "varchar(10)", Some("latin1")),
        ("c", "set('x','y')", Some("utf8mb4")),
    ];
    let table = map.table(Flavour::MariaDb, Some(&catalog(&known, &[1]))).expect("valid");
    assert_eq!(table.columns[0].plan, Plan::U32);
    assert_eq!(table.columns[2].plan, Plan::Set([&b"x"[..], b"y"].map(Into::into).to_vec().into()));
    assert_eq!(table.columns().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(table.key().collect::<Vec<_>>(), ["b"]);
    assert!(matches!(map.table(Flavour::MariaDb, None), Err(TableError::SchemaUnknown { .. })));
}

#[test]
fn a_catalog_of_another_shape_is_refused_with_both_types() {
    let map = MapOf { types: &[3, 15], metadata: &[40, 0], optional: &[] };
    let check = |columns: &[(&str, &str, Option<&str>)], part: &str| {
        let error =
            map.table(Flavour::MySql, Some(&catalog(columns, &[]))).expect_err("does not fit").to_string();
        assert!(error.contains(part), "{error}");
    };
    check(&[("a", "int", None)], "the catalog has 1 columns, the event 2");
    check(
        &[("a", "bigint", None), ("b", "varchar(10)", None)],
        "`a` is bigint in the catalog and INT in the event",
    );
}

#[test]
fn a_newer_catalog_does_not_stop_an_event_that_describes_itself() {
    let newer = catalog(&[("z", "int", None), ("a", "bigint", None)], &[0]);
    assert_eq!(one(246, &[10, 2], Some(&newer)), Ok(Plan::Decimal { precision: 10, scale: 2 }));
}

#[test]
fn uuid_and_inet_are_told_apart_from_binary_by_the_catalog_alone() {
    let of = |column_type| catalog(&[("a", column_type, None)], &[]);
    assert_eq!(one(254, &[254, 16], Some(&of("uuid"))), Ok(Plan::Uuid));
    assert_eq!(one(254, &[254, 16], Some(&of("binary(16)"))), Ok(Plan::Bytes(16)));
    assert!(
        matches!(one(254, &[254, 4], Some(&of("inet4"))), Err(TableError::Unsupported { what, .. }) if what == "INET4")
    );
    assert!(matches!(one(254, &[254, 16], None), Err(TableError::Ambiguous { width: 16, .. })));
    assert_eq!(one(254, &[254, 15], None), Ok(Plan::Bytes(15)));
}

#[test]
fn types_that_are_not_transported_name_column_type_and_remedy() {
    let check = |code, metadata: &[u8], parts: &[&str]| {
        let error = one(code, metadata, None).expect_err("not transported").to_string();
        for part in ["table s.t", "`a`", "columnExcludeList: s.t.a"].iter().chain(parts) {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    };
    check(255, &[4], &["GEOMETRY"]);
    check(242, &[4], &["VECTOR"]);
    check(140, &[2], &["COMPRESSED"]);
    check(141, &[40, 0], &["COMPRESSED"]);
    check(7, &[], &["TIMESTAMP", "mysql56_temporal_format=ON", "FORCE"]);
    check(11, &[], &["TIME", "mysql56_temporal_format=ON"]);
    check(12, &[], &["DATETIME", "mysql56_temporal_format=ON"]);
    let unknown = one(20, &[], None).expect_err("unknown").to_string();
    assert!(unknown.contains("tableExcludeList"), "{unknown}");
}

#[test]
fn a_character_set_without_an_exact_decoder_is_refused_by_name() {
    let optional = [4, 2, 1, b'a', 2, 1, 13];
    let map = MapOf { types: &[15], metadata: &[40, 0], optional: &optional };
    let error = map.table(Flavour::MySql, None).expect_err("sjis").to_string();
    assert!(error.contains("character set sjis") && error.contains("utf8mb4"), "{error}");
}

#[test]
fn an_excluded_column_may_have_any_type_that_can_be_walked() {
    let options = Options {
        flavour: Flavour::MySql,
        invalid_text: InvalidText::Stop,
        exclude: &|_, _, column| column == "g",
    };
    let body = MapOf { types: &[255, 7], metadata: &[4], optional: &[4, 4, 1, b'g', 1, b'h'] }.body();
    let error = Table::from_table_map(&body, None, &options);
    assert!(matches!(error, Err(TableError::Unsupported { column, .. }) if column == "h"));
}

#[test]
fn a_cut_table_map_is_malformed_at_every_byte_of_its_head() {
    let body = MapOf { types: &[3, 15], metadata: &[40, 0], optional: &[4, 4, 1, b'a', 1, b'b'] }.body();
    let options =
        Options { flavour: Flavour::MySql, invalid_text: InvalidText::Stop, exclude: &|_, _, _| false };
    for cut in 0..body.len() {
        // Cut before the optional metadata it is still a TABLE_MAP, which then describes too little.
        let error = Table::from_table_map(&body[..cut], None, &options).expect_err("cut");
        let expected = matches!(
            error,
            TableError::Malformed { .. } | TableError::UnknownType { .. } | TableError::SchemaUnknown { .. }
        );
        assert!(expected, "{error} at {cut}");
    }
}

#[test]
fn the_catalog_alone_refuses_a_column_with_the_words_of_the_stream() {
    let check = |code: u8, metadata: &[u8], column_type: &str, charset: Option<&str>| {
        let catalog = catalog(&[("a", column_type, charset)], &[]);
        let options =
            Options { flavour: Flavour::MariaDb, invalid_text: InvalidText::Stop, exclude: &|_, _, _| false };
        let streamed = MapOf { types: &[code], metadata, optional: &[] }
            .table(Flavour::MariaDb, Some(&catalog))
            .expect_err(column_type);
        let read = Table::from_catalog(&catalog, &options).expect_err(column_type);
        assert_eq!(read.to_string(), streamed.to_string());
        let exclude = |_: &str, _: &str, column: &str| column == "a";
        let without = Table::from_catalog(&catalog, &Options { exclude: &exclude, ..options });
        assert!(without.is_ok(), "{without:?}");
    };
    check(255, &[4], "point", None);
    check(242, &[4], "vector(3)", None);
    check(254, &[254, 4], "inet4", None);
    check(254, &[254, 16], "inet6", None);
    check(141, &[40, 0], "varchar(40) /*M!100301 COMPRESSED*/", Some("utf8mb4"));
    check(140, &[2], "text /*M!100301 COMPRESSED*/", Some("utf8mb4"));
    check(15, &[40, 0], "varchar(20)", Some("sjis"));
    check(252, &[2], "text", Some("gb18030"));
    check(7, &[], "timestamp /* mariadb-5.3 */", None);
    check(11, &[], "time /* mariadb-5.3 */", None);
    check(12, &[], "datetime /* mariadb-5.3 */", None);
}

#[test]
fn a_type_or_key_that_the_catalog_alone_does_not_explain_is_refused() {
    let options =
        Options { flavour: Flavour::MySql, invalid_text: InvalidText::Stop, exclude: &|_, _, _| false };
    for column_type in ["xmltype", "decimal(66,2)", "decimal(5,6)", "bit(65)", "time(7)", "datetime(x)"] {
        let error = Table::from_catalog(&catalog(&[("a", column_type, None)], &[]), &options);
        let text = error.expect_err(column_type).to_string();
        assert!(text.contains(column_type) && text.contains("columnExcludeList: s.t.a"), "{text}");
    }
    let exclude = |_: &str, _: &str, column: &str| column == "a";
    let keyed = catalog(&[("a", "int", None)], &[0]);
    let error = Table::from_catalog(&keyed, &Options { exclude: &exclude, ..options });
    assert!(matches!(error, Err(TableError::KeyExcluded { .. })));
}

#[test]
fn the_key_of_the_catalog_alone_is_the_streams() {
    let options =
        Options { flavour: Flavour::MySql, invalid_text: InvalidText::Stop, exclude: &|_, _, _| false };
    let mut catalog = catalog(&[("a", "int", None), ("b", "int", None)], &[1, 0]);
    let key = |catalog: &CatalogTable| {
        let table = Table::from_catalog(catalog, &options).expect("valid");
        table.key().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(key(&catalog), ["b", "a"]);
    catalog.columns[0].nullable = true;
    assert!(key(&catalog).is_empty());
    catalog.key = vec![7];
    assert!(key(&catalog).is_empty());
}

#[test]
fn the_hidden_column_of_a_long_unique_key_is_left_out_where_the_catalog_has_none_like_it() {
    let optional = [1, 1, 0x40, 4, 16, 1, b'a', 13];
    let optional = [&optional[..], b"DB_ROW_HASH_1"].concat();
    let map = MapOf { types: &[3, 8], metadata: &[], optional: &optional };
    let plans = |flavour, columns: &[(&str, &str, Option<&str>)]| {
        let table = map.table(flavour, Some(&catalog(columns, &[0]))).expect("valid");
        table.columns.iter().map(|column| column.plan.clone()).collect::<Vec<_>>()
    };
    let declared = [("a", "int", None), ("DB_ROW_HASH_1", "bigint(20) unsigned", None)];
    assert_eq!(plans(Flavour::MariaDb, &declared[..1]), [Plan::I32, Plan::Excluded]);
    assert_eq!(plans(Flavour::MariaDb, &declared), [Plan::I32, Plan::U64]);
    assert_eq!(plans(Flavour::MySql, &declared[..1]), [Plan::I32, Plan::U64]);
}

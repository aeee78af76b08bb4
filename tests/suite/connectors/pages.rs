//! Every connector has a page, and the configuration on it is one that runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::Flowd;

fn page(connector: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/connectors/{connector}.md"))
}

/// The names under `Sources` and `Sinks` of `flowd connectors`.
fn connectors() -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let outcome = Flowd::launch(directory.path(), &["connectors"]).wait();
    outcome.expect_code(0);
    let mut names = Vec::new();
    for title in ["Sources (--connector)\n", "Sinks (--connector)\n"] {
        let (_, group) = outcome.stdout.split_once(title).expect("a group of connectors");
        let rows = group.lines().take_while(|line| !line.is_empty());
        names.extend(rows.filter_map(|row| row.split_whitespace().next()).map(str::to_owned));
    }
    assert!(names.len() >= 4, "{names:?}");
    names
}

/// The blocks of YAML on a page.
fn configurations(text: &str) -> Vec<&str> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("a block ends")).collect()
}

/// The names in `${…}`.
fn variables(text: &str) -> BTreeSet<&str> {
    text.split("${").skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

#[test]
fn every_connector_has_a_page_with_a_configuration_that_is_accepted() {
    for connector in connectors() {
        let path = page(&connector);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.starts_with(&format!("# {connector}\n")), "{} begins with its name", path.display());
        let configurations = configurations(&text);
        assert!(!configurations.is_empty(), "no ```yaml block in {}", path.display());
        for configuration in configurations {
            accept(&connector, configuration);
        }
    }
}

/// Nothing that it names is there, so anything may be wrong but the configuration.
fn accept(connector: &str, configuration: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flowd.yml");
    fs::write(&file, configuration).unwrap();
    let environment: Vec<(&str, &str)> =
        variables(configuration).into_iter().map(|name| (name, "x")).collect();
    let file = file.display().to_string();
    let arguments = ["check", "--connector", connector, "--config", &file, "--pipeline.startMs=0"];
    let outcome = Flowd::launch_with(directory.path(), &arguments, &environment).wait();
    assert!(!outcome.log.contains("flowd.yml"), "of {connector}: {}", outcome.log);
    assert_ne!(outcome.code(), Some(2), "of {connector}: {}", outcome.log);
}

#[test]
fn no_page_is_of_a_connector_that_there_is_not() {
    let connectors = connectors();
    for entry in fs::read_dir(page("x").parent().expect("a directory")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(connectors.contains(&name), "{} is the page of none", path.display());
    }
}

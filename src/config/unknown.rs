//! What to tell of a name that is no setting of the connector that is to run: the nearest right one, the key of ours
//! that does a foreign one's work, or whose setting it is.

use super::foreign;
use super::nearest::nearest;
use super::setting::{self, Owner, Section, Setting};
use crate::connectors::Named;

/// Of the name of a section.
pub(crate) fn section(connector: Named, name: &str) -> String {
    let known = Section::ALL.map(Section::name);
    if let Some(remedy) = foreign::section_instead(connector, name) {
        return format!("is a section of EventMesh's connectors; {remedy}");
    }
    let at_home = setting::of(connector).find(|setting| setting.name == name);
    match (nearest(name, known.into_iter()), at_home) {
        (Some(near), _) => format!("unknown section; did you mean `{near}`?"),
        (None, Some(setting)) => {
            format!("unknown section; the key `{name}` belongs in `{}`", setting.section.name())
        }
        (None, None) => format!("unknown section; allowed: {}", known.join(", ")),
    }
}

/// Of the name of a key.
pub(crate) fn key(connector: Named, section: Section, key: &str) -> String {
    if section == Section::Connector
        && let Some(remedy) = foreign::instead(connector, key)
    {
        return format!("is a key of EventMesh's connectors; {remedy}");
    }
    let owners = setting::owners(section, key);
    if !owners.is_empty() {
        let otherwise = match owners[..] {
            [Owner::One(other)] => format!(", or run that one: --connector {other}"),
            _ => String::new(),
        };
        let (here, owners) = (connector.name(), owners.iter().map(Owner::to_string).collect::<Vec<_>>());
        let owners = owners.join(", ");
        return format!("is a setting of {owners}, and {here} has none of that name; remove it{otherwise}");
    }
    let here = || setting::of(connector).filter(move |setting| setting.section == section);
    if let Some(outer) = here().find_map(|setting| inner_of(setting, key)) {
        return format!("is a mapping; write {outer}");
    }
    if let Some(near) = nearest(key, here().map(|setting| setting.name)) {
        return format!("unknown key; did you mean `{near}`?");
    }
    if let Some(other) = setting::of(connector).find(|setting| setting.name.eq_ignore_ascii_case(key)) {
        return format!("unknown key; did you mean `{}`?", other.path());
    }
    let names: Vec<&str> = here().map(|setting| setting.name).collect();
    match names.is_empty() {
        true => format!("unknown key; {} has no setting in this section", connector.name()),
        false => format!("unknown key; allowed: {}", names.join(", ")),
    }
}

/// How a setting inside of the mapping `key` is written.
fn inner_of(setting: &Setting, key: &str) -> Option<String> {
    let (outer, inner) = setting.name.split_once('.')?;
    (outer == key).then(|| format!("`{outer}: {{{inner}: …}}`"))
}

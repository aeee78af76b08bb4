//! The nearest known name to a mistyped one.

/// The known name that is fewest edits away, if it is near enough to be meant. Case does not count.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let bound = (wanted.chars().count() / 3).max(2);
    let found = known.map(|candidate| (distance(&wanted, &candidate.to_lowercase()), candidate));
    found.filter(|(edits, _)| *edits <= bound).min_by_key(|(edits, _)| *edits).map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `left` into `right`.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, &a) in left.iter().enumerate() {
        let mut now = vec![row + 1; right.len() + 1];
        for (column, &b) in right.iter().enumerate() {
            let replace = last[column] + usize::from(a != b);
            now[column + 1] = replace.min(last[column + 1] + 1).min(now[column] + 1);
            let swapped = row > 0 && column > 0 && a == right[column - 1] && left[row - 1] == b;
            if swapped {
                now[column + 1] = now[column + 1].min(before_last[column - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, now);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key_and_a_stranger_finds_none() {
        let known = ["hostname", "port", "tableIncludeList", "memory"];
        for (slip, meant) in [
            ("hostnme", "hostname"),
            ("HOSTNAME", "hostname"),
            ("tableIncludelist", "tableIncludeList"),
            ("memroy", "memory"),
            ("prot", "port"),
        ] {
            assert_eq!(nearest(slip, known.into_iter()), Some(meant));
        }
        assert_eq!(nearest("pollInterval", known.into_iter()), None);
    }
}

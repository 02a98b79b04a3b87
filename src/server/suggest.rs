//! "Did you mean": the nearest of the known names to a mistyped one.

/// The nearest known name, if it is near enough to be a likely typing mistake.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Keys are short; a megabyte-long "key" of a broken file must not cost a quadratic walk.
    if name.len() > 128 {
        return None;
    }
    let reach = (name.len() / 3).clamp(1, 4);
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(far, _)| *far <= reach)
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace) between two names, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = || ["tickTime", "dataDir", "snapCount"].into_iter();
        assert_eq!(nearest("ticktme", known()), Some("tickTime"));
        assert_eq!(nearest("snapcount", known()), Some("snapCount"));
        assert_eq!(nearest("hello.world", known()), None);
        assert_eq!(nearest("", known()), None);
    }
}

//! Suggestions for mistyped keys, by edit distance.

/// The key in `known` that is closest to `typed`, if one is close enough.
pub(super) fn closest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    // A third of the characters may differ, as in rustc: enough for a transposition in a short
    // word, too little to turn one word into another.
    let allowed = (typed.chars().count() / 3).max(1);
    known
        .iter()
        .map(|&name| (distance(typed, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many characters have to be inserted, removed or replaced to make one text of the other (the Levenshtein
/// distance). One row of the matrix at a time.
pub fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_edits() {
        assert_eq!(distance("memory", "memory"), 0);
        assert_eq!(distance("memroy", "memory"), 2);
        assert_eq!(distance("cputime", "cpu-time"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }

    #[test]
    fn a_typo_finds_the_word_and_another_word_finds_nothing() {
        let known = ["memory", "timeout", "cpu-time", "max-connections"];
        assert_eq!(closest("memroy", &known), Some("memory"));
        assert_eq!(closest("max_connections", &known), Some("max-connections"));
        assert_eq!(closest("Timeout", &known), Some("timeout"));
        assert_eq!(closest("colour", &known), None);
    }
}

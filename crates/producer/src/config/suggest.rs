//! "Did you mean": the known key that a mistyped one is near (CFG-4).

use super::keys;

/// The known key that equals `key` after lower-casing and turning `_` into `.`, or that is at most two letters away (one,
/// if the key has fewer than 8).
pub(super) fn near_miss(key: &str) -> Option<&'static str> {
    nearest(key, keys::real_names())
}

/// `problem`, and the key that was probably meant in place of an unknown one: a near miss, or the only one that begins with it (`linger`
/// for `linger.ms`).
pub(super) fn with_hint(problem: &str, key: &str) -> String {
    match near_miss(key).or_else(|| only_longer(key)) {
        Some(right) => format!("{problem}; did you mean {right}?"),
        None => problem.to_owned(),
    }
}

fn only_longer(key: &str) -> Option<&'static str> {
    let plain = key.to_lowercase().replace('_', ".");
    let mut longer = keys::real_names()
        .filter(|name| name.strip_prefix(plain.as_str()).is_some_and(|rest| rest.starts_with('.')));
    longer.next().filter(|_| !plain.is_empty() && longer.next().is_none())
}

/// The same among a few keys.
pub(super) fn near_miss_among(key: &str, known: &[&'static str]) -> Option<&'static str> {
    nearest(key, known.iter().copied())
}

fn nearest(key: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // CFG-4. Longer texts than any key are not compared: the work is bounded.
    if key.len() > 128 {
        return None;
    }
    let plain = key.to_lowercase().replace('_', ".");
    let allowed = if key.chars().count() < 8 { 1 } else { 2 };
    known
        .map(|known| (if known == plain { 0 } else { distance(&plain, known) }, known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The one of `allowed` that `value` probably meant.
pub(super) fn near_value<'a>(value: &str, allowed: &[&'a str]) -> Option<&'a str> {
    if value.len() > 64 {
        return None;
    }
    let plain = value.to_lowercase().replace('_', ".");
    allowed
        .iter()
        .map(|known| (distance(&plain, &known.to_lowercase().replace('_', ".")), *known))
        .filter(|(distance, known)| {
            *distance <= if known.len() < 5 { 1 } else { 2 } && *distance < known.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Letters to insert, remove or replace to get from one text to the other; two neighbours that changed places count as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    // CFG-4
    #[test]
    fn a_key_without_its_unit_is_completed_if_only_one_is_meant() {
        assert_eq!(with_hint("unknown", "linger"), "unknown; did you mean linger.ms?");
        assert_eq!(with_hint("unknown", "Delivery_Timeout"), "unknown; did you mean delivery.timeout.ms?");
        assert_eq!(with_hint("unknown", "retry.backoff"), "unknown"); // .ms and .max.ms
        assert_eq!(with_hint("unknown", "linge"), "unknown");
        assert_eq!(with_hint("unknown", ""), "unknown");
    }

    #[test]
    fn a_distance_counts_single_letters_and_swapped_neighbours() {
        assert_eq!(distance("acks", "acks"), 0);
        assert_eq!(distance("ack", "acks"), 1);
        assert_eq!(distance("cask", "acks"), 2);
        assert_eq!(distance("linegr.ms", "linger.ms"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}

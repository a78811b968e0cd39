//! `rohrpost config`: the producer's settings explained, from the table that the library goes by.

use std::fmt::Write;

use rohrpost::{ConfigKey, KeyStatus, Origin, ProducerBuilder, config_keys};

use crate::args;
use crate::failure::Failure;

pub(crate) fn run(options: &args::Config) -> Result<(), Failure> {
    let keys = chosen(&options.names)?;
    let mut text = String::new();
    if options.markdown {
        text.push_str(&markdown(&keys));
    } else if options.json {
        keys.iter().for_each(|key| text.push_str(&json(key)));
    } else {
        let columns = usize::from(console::Term::stdout().size_checked().map_or(100, |(_, columns)| columns));
        keys.iter().for_each(|key| text.push_str(&paragraph(key, columns)));
    }
    crate::topics::print(&text)
}

/// The keys of these names; for a name that is no key, all that contain it.
fn chosen(names: &[String]) -> Result<Vec<&'static ConfigKey>, Failure> {
    if names.is_empty() {
        return Ok(config_keys().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let exact: Vec<_> = config_keys().filter(|key| key.name() == name).collect();
        let part = name.to_lowercase().replace('_', ".");
        let found = if exact.is_empty() {
            config_keys().filter(|key| key.name().contains(&part)).collect()
        } else {
            exact
        };
        if found.is_empty() {
            let refusal = ProducerBuilder::default().set(name.as_str(), "").err();
            let meant = refusal.and_then(|refusal| {
                let (_, meant) = refusal.errors().first()?.problem().split_once("did you mean ")?;
                Some(format!("; did you mean {meant}"))
            });
            let or = meant.unwrap_or_else(|| "; `rohrpost config` lists all".into());
            return Err(Failure::run(format!("no key is named {name:?} or contains it{or}")));
        }
        chosen.extend(found.into_iter().filter(|key| !chosen.contains(key)).collect::<Vec<_>>());
    }
    Ok(chosen)
}

/// For a flag that does not exist: how to say what was meant, if it was a setting (`--linger`, `--batch-size`).
pub(crate) fn meant_by_flag(flag: &str) -> Option<String> {
    let name = flag.strip_prefix("--")?.split('=').next()?.replace(['-', '_'], ".");
    let begins = |key: &&ConfigKey| key.name().strip_prefix(&name).is_some_and(|rest| rest.starts_with('.'));
    let obeyed = || config_keys().filter(|key| key.status() == KeyStatus::Honoured);
    let exact = obeyed().find(|key| key.name() == name);
    let key = exact.or_else(|| obeyed().filter(begins).min_by_key(|key| key.name().len()))?;
    Some(format!("a setting of Kafka's producer is given as '-X {}=VALUE'", key.name()))
}

fn paragraph(key: &ConfigKey, columns: usize) -> String {
    let mut text = format!("{}\n", key.name());
    let valid = if key.valid() == "any" { String::new() } else { format!(": {}", key.valid()) };
    let mut lines = vec![
        format!("{}{valid}; default {}", key.value_type(), key.default()),
        key.meaning().replace('`', ""),
    ];
    lines.extend(fate(key).map(|fate| format!("{}.", fate.replace('`', ""))));
    for line in lines {
        for line in wrapped(&line, columns.saturating_sub(4).max(20)) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// What becomes of the key, if it is not simply obeyed.
fn fate(key: &ConfigKey) -> Option<String> {
    match key.status() {
        KeyStatus::Honoured => None,
        KeyStatus::StandsFor(modern) => Some(format!("Taken as `{modern}`, with a warning")),
        KeyStatus::Ignored(why) => Some(format!("Accepted without effect: {why}")),
        KeyStatus::NotYet(what) => Some(format!("Refused: {what} not supported yet")),
        KeyStatus::Refused(why) => Some(format!("Refused: {why}")),
        _ => None,
    }
}

fn json(key: &ConfigKey) -> String {
    let (status, detail) = match key.status() {
        KeyStatus::Honoured => ("honoured", None),
        KeyStatus::StandsFor(modern) => ("stands for", Some(modern)),
        KeyStatus::Ignored(why) => ("ignored", Some(why)),
        KeyStatus::NotYet(what) => ("not yet", Some(what)),
        KeyStatus::Refused(why) => ("refused", Some(why)),
        _ => ("", None),
    };
    let object = serde_json::json!({
        "name": key.name(), "type": key.value_type(), "default": key.default(), "valid": key.valid(),
        "importance": key.importance(), "origin": origin(key), "meaning": key.meaning(), "status": status, "detail": detail,
    });
    format!("{object}\n")
}

fn origin(key: &ConfigKey) -> &'static str {
    match key.origin() {
        Origin::Kafka => "Kafka",
        Origin::Kafka44 => "Kafka 4.4",
        Origin::Legacy => "old producers",
        Origin::Alias => "C clients",
        Origin::Broker => "brokers",
        Origin::Rohrpost => "Rohrpost",
        _ => "",
    }
}

/// The tables of docs/configuration.md: what is obeyed, what stands for another key, the rest.
fn markdown(keys: &[&ConfigKey]) -> String {
    let group = |key: &ConfigKey| match key.status() {
        KeyStatus::Honoured => "Obeyed",
        KeyStatus::StandsFor(_) => "Taken for another key",
        _ => "Without effect, or refused",
    };
    let mut text = String::new();
    for title in ["Obeyed", "Taken for another key", "Without effect, or refused"] {
        let _ = writeln!(text, "## {title}\n");
        let _ =
            writeln!(text, "| key | type | default | values | from | meaning |\n|---|---|---|---|---|---|");
        for key in keys.iter().filter(|key| group(key) == title) {
            let fate = fate(key).map(|fate| format!(" *{fate}.*")).unwrap_or_default();
            let cells = [key.value_type(), key.default(), key.valid(), origin(key)]
                .map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(text, "| `{}` | {} | {}{fate} |", key.name(), cells.join(" | "), key.meaning());
        }
        text.push('\n');
    }
    text
}

/// Lines of at most so many characters, broken at blanks.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > columns {
            lines.push(word.into());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_finds_all_that_contain_it() {
        let names = |asked: &str| -> Vec<_> {
            chosen(&[asked.into()]).unwrap().iter().map(|key| key.name()).collect()
        };
        assert_eq!(names("acks"), ["acks"]);
        assert_eq!(
            names("RETRY_BACKOFF"),
            [
                "retry.backoff.max.ms",
                "retry.backoff.ms",
                "sasl.login.retry.backoff.max.ms",
                "sasl.login.retry.backoff.ms"
            ]
            .into_iter()
            .chain([
                "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
                "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms"
            ])
            .collect::<Vec<_>>()
        );
        let refused = |name: &str| chosen(&[name.into()]).unwrap_err().message().unwrap().to_owned();
        assert!(refused("no.such").ends_with("`rohrpost config` lists all"));
        assert!(refused("lingerr.ms").ends_with("; did you mean linger.ms?"));
    }

    #[test]
    fn a_flag_that_is_a_setting_is_told_as_one() {
        for (flag, key) in [
            ("--linger", "linger.ms"),
            ("--batch-size", "batch.size"),
            ("--acks=1", "acks"),
            ("--compression", "compression.type"),
            ("--compression_type", "compression.type"),
        ] {
            assert_eq!(
                meant_by_flag(flag),
                Some(format!("a setting of Kafka's producer is given as '-X {key}=VALUE'")),
                "{flag}"
            );
        }
        assert_eq!((meant_by_flag("--colour"), meant_by_flag("-l")), (None, None));
    }

    #[test]
    fn long_texts_are_broken_at_blanks() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("longerthanthat a", 7), ["longerthanthat", "a"]);
    }

    #[test]
    fn the_page_in_docs_is_what_the_command_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (_, tables) = page.split_once("<!-- rohrpost config --markdown -->\n\n").expect("the mark");
        let expected = markdown(&config_keys().collect::<Vec<_>>());
        assert_eq!(
            tables.trim_end(),
            expected.trim_end(),
            "docs/configuration.md is old: see its first lines"
        );
    }
}

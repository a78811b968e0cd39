//! What records of the metadata log and control records say.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rohrpost_log::inspect::{RECORD_BYTES_MAX, Scan, ScanStep, open};
use rohrpost_protocol::metadata_log::MetadataRecord;
use rohrpost_record::control::ControlRecord;
use rohrpost_record::{Batch, Record};

/// What one record says beyond its bytes.
pub(super) enum Said<'a> {
    /// A record of the metadata log and its version.
    Metadata(MetadataRecord<'a>, i16),
    /// A control record.
    Control(ControlRecord<'a>),
}

impl Said<'_> {
    /// Its name, such as `TopicRecord` or `Commit`.
    pub(super) fn name(&self) -> String {
        match self {
            Said::Metadata(record, _) => record.name().to_owned(),
            Said::Control(record) => variant(&format!("{record:?}")).to_owned(),
        }
    }

    /// The `Debug` text of its fields.
    pub(super) fn debug(&self) -> String {
        // the enum's own variant stands around the record
        let text = match self {
            Said::Metadata(record, _) => format!("{record:?}"),
            Said::Control(record) => format!("{record:?}"),
        };
        let inner = text.strip_prefix(variant(&text)).and_then(|rest| rest.strip_prefix('('));
        inner.and_then(|rest| rest.strip_suffix(')')).unwrap_or(&text).to_owned()
    }

    pub(super) fn version(&self) -> Option<i16> {
        match self {
            Said::Metadata(_, version) => Some(*version),
            Said::Control(_) => None,
        }
    }
}

/// Reads a record of a control batch or of the metadata log. `None`: it is just a record.
pub(super) fn read<'a>(
    record: &Record<'a>,
    is_control: bool,
    is_metadata: bool,
) -> Option<Result<Said<'a>, String>> {
    let value = record.value.unwrap_or_default();
    if is_control {
        let read = ControlRecord::read(record.key.unwrap_or_default(), value);
        return Some(read.map(Said::Control).map_err(|error| format!("control record: {error}")));
    }
    if is_metadata {
        let read = MetadataRecord::decode_value(value);
        return Some(
            read.map(|(record, version)| Said::Metadata(record, version)).map_err(|error| error.to_string()),
        );
    }
    None
}

/// The topics of a data directory that its metadata log calls compacted. What cannot be read there is no concern of
/// this: the check tells of it.
pub(super) fn compacted_topics(dir: &Path) -> BTreeSet<String> {
    let mut compacted = BTreeSet::new();
    let Ok(entries) = fs::read_dir(dir.join("__cluster_metadata-0")) else { return compacted };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "log" || suffix == "checkpoint"))
        .collect();
    // by offset: a snapshot holds what stood in the segments before it
    files.sort();
    for file in files {
        let _ = note_policies(&file, &mut compacted);
    }
    compacted
}

fn note_policies(path: &Path, compacted: &mut BTreeSet<String>) -> io::Result<()> {
    const TOPIC: i8 = 2;
    let file = open(path)?;
    let mut scan = Scan::new(&file)?;
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    while let ScanStep::Batch(found) = scan.step()? {
        if !scan.read(&found, RECORD_BYTES_MAX, &mut bytes)? || found.header.attributes.is_control() {
            continue;
        }
        let Ok(batch) = Batch::parse(&bytes) else { continue };
        let Ok(records) = batch.records(&mut scratch, RECORD_BYTES_MAX) else { continue };
        for record in records.flatten() {
            let Ok((MetadataRecord::Config(config), _)) =
                MetadataRecord::decode_value(record.value.unwrap_or_default())
            else {
                continue;
            };
            if config.resource_type == TOPIC && config.name == "cleanup.policy" {
                // once compacted, the gaps stay
                if config.value.is_some_and(|value| value.contains("compact")) {
                    compacted.insert(config.resource_name.to_owned());
                }
            }
        }
    }
    Ok(())
}

fn variant(debug: &str) -> &str {
    &debug[..debug.find(['(', '{', ' ']).unwrap_or(debug.len())]
}

//! `rohrpost log dump`: what stands in a file, item by item.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use rohrpost_log::inspect::{
    AbortedTransaction, BadLine, BinaryEntry, Broken, FileKind, FoundBatch, OffsetIndexEntry,
    PRODUCER_SNAPSHOT_HEADER, Place, ProducerEntry, RECORD_BYTES_MAX, Scan, ScanStep, Source, TimeIndexEntry,
    base_offset_of, entries, meta_properties, open, parse_clean_shutdown, parse_epochs, parse_offsets,
    parse_partition_metadata, read_producer_snapshot_header, read_text,
};
use rohrpost_record::{Batch, Record, TimestampType};

use super::args::Dump;
use super::fields::{Json, json_of};
use super::metadata::{self, Said};
use super::output::{Lines, Object, printable, time};
use crate::failure::Failure;
use crate::terminal;

/// Bytes that may be checksummed while a batch is looked for behind a damaged place.
const SEARCH_BYTES_MAX: u64 = 1 << 30;

pub(crate) fn run(options: &Dump) -> Result<(), Failure> {
    let kinds: Vec<FileKind> = options
        .files
        .iter()
        .map(|path| options.kind.or_else(|| FileKind::of(path)).ok_or_else(|| unknown(path)))
        .collect::<Result<_, _>>()?;
    let mut lines = Lines::new();
    let (mut damaged, mut unread) = (0, 0);
    for (path, kind) in options.files.iter().zip(kinds) {
        if lines.is_closed() {
            return Ok(());
        }
        let name = path.display().to_string();
        let mut file = File {
            name: &name,
            kind,
            base_offset: base_offset(path),
            options,
            lines: &mut lines,
            damaged: 0,
        };
        match open(path).map_err(Stop::Read).and_then(|source| file.dump(&source)) {
            Ok(()) => damaged += u64::from(file.damaged > 0),
            Err(Stop::Read(error)) => {
                lines.flush()?;
                let hint = match error.kind() {
                    io::ErrorKind::IsADirectory => {
                        ": give files, or `rohrpost log verify` the data directory"
                    }
                    _ => "",
                };
                terminal::note(&format!("rohrpost: cannot read {name}: {error}{hint}"));
                unread += 1;
            }
            Err(Stop::Write(failure)) => return Err(failure),
        }
    }
    lines.flush()?;
    match (unread, damaged) {
        (0, 0) => Ok(()),
        (0, 1) => Err(Failure::run("one file is damaged")),
        (0, several) => Err(Failure::run(format!("{several} files are damaged"))),
        (1, _) => Err(Failure::start("one file could not be read")),
        (several, _) => Err(Failure::start(format!("{several} files could not be read"))),
    }
}

fn unknown(path: &Path) -> Failure {
    if path.is_dir() {
        return Failure::start(format!(
            "{} is a directory: give files, or `rohrpost log verify` the data directory",
            path.display()
        ));
    }
    let kinds = FileKind::ALL.map(FileKind::name).join(", ");
    Failure::start(format!(
        "what {} holds is not known by its name: say it with --as, one of {kinds}",
        path.display()
    ))
}

/// The offset in a segment's or index's name; a file in transition has a suffix behind it.
fn base_offset(path: &Path) -> Option<i64> {
    let name = path.file_name()?.to_str()?;
    base_offset_of(name.get(..20)?, "")
}

/// Why a file is not read on.
enum Stop {
    Read(io::Error),
    Write(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Read(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Write(failure)
    }
}

struct File<'a> {
    name: &'a str,
    kind: FileKind,
    base_offset: Option<i64>,
    options: &'a Dump,
    lines: &'a mut Lines,
    damaged: u64,
}

impl File<'_> {
    fn dump(&mut self, source: &dyn Source) -> Result<(), Stop> {
        let bytes = source.len()?;
        if self.options.json {
            let object = Object::of("file").field("file", self.name).field("kind", self.kind.name());
            self.lines.json(object.field("bytes", bytes))?;
        } else {
            self.lines.text(&format!("{}: {}, {bytes} bytes", self.name, self.kind.name()))?;
        }
        match self.kind {
            FileKind::Segment | FileKind::MetadataSegment | FileKind::MetadataSnapshot => {
                self.batches(source)
            }
            FileKind::OffsetIndex => self.entries::<OffsetIndexEntry>(source, 0, true),
            FileKind::TimeIndex => self.entries::<TimeIndexEntry>(source, 0, true),
            FileKind::TransactionIndex => self.entries::<AbortedTransaction>(source, 0, false),
            FileKind::ProducerSnapshot => self.producers(source),
            FileKind::OffsetCheckpoint => self.text(source, parse_offsets, |file, line| {
                file.item(
                    Object::of("offset")
                        .field("file", file.name)
                        .field("line", line.line)
                        .field("topic", &line.topic)
                        .field("partition", line.partition)
                        .field("offset", line.offset),
                    || {
                        format!(
                            "  line {}: {}-{}  offset {}",
                            line.line, line.topic, line.partition, line.offset
                        )
                    },
                )
            }),
            FileKind::EpochCheckpoint => self.text(source, parse_epochs, |file, line| {
                file.item(
                    Object::of("epoch")
                        .field("file", file.name)
                        .field("line", line.line)
                        .field("epoch", line.epoch)
                        .field("start_offset", line.start_offset),
                    || {
                        format!(
                            "  line {}: epoch {} from offset {}",
                            line.line, line.epoch, line.start_offset
                        )
                    },
                )
            }),
            FileKind::PartitionMetadata => self.text(
                source,
                |text| parse_partition_metadata(text).map(|id| vec![id]),
                |file, id| file.property(2, "topic_id", id),
            ),
            FileKind::MetaProperties => self
                .text(source, meta_properties, |file, (line, key, value)| file.property(*line, key, value)),
            FileKind::CleanShutdown => self.text(
                source,
                |text| parse_clean_shutdown(text).map(|epoch| vec![epoch]),
                |file, epoch| {
                    file.property(
                        1,
                        "brokerEpoch",
                        &epoch.map_or("none".to_owned(), |epoch| epoch.to_string()),
                    )
                },
            ),
        }
    }

    fn batches(&mut self, source: &dyn Source) -> Result<(), Stop> {
        let mut scan = Scan::new(source)?;
        let mut next_offset = i64::MIN;
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        while !self.lines.is_closed() {
            match scan.step()? {
                ScanStep::End => break,
                ScanStep::Batch(found) => {
                    self.batch(&found)?;
                    next_offset = next_offset.max(found.header.next_offset());
                    if !found.is_crc_valid() {
                        let what = format!(
                            "the checksum of the batch is {:08x}, its bytes give {:08x}",
                            found.header.crc, found.crc
                        );
                        self.damage(Place::Byte(found.position), &what)?;
                    } else if self.options.records {
                        if scan.read(&found, RECORD_BYTES_MAX, &mut bytes)? {
                            self.records(&found, &bytes, &mut scratch)?;
                        } else {
                            let what = format!(
                                "the batch is larger than {RECORD_BYTES_MAX} bytes: its records are not read"
                            );
                            self.damage(Place::Byte(found.position), &what)?;
                        }
                    }
                }
                ScanStep::Broken { position, why } => {
                    let what = match why {
                        Broken::Cut { needed, have } => {
                            format!("the batch takes {needed} bytes, {have} are there")
                        }
                        Broken::Zeros { bytes } => format!("{bytes} zeros from here to the end of the file"),
                        Broken::NoBatch(error) => error.to_string(),
                    };
                    let further = match why {
                        Broken::Zeros { .. } => None,
                        _ => scan.search(position + 1, SEARCH_BYTES_MAX, |header| {
                            header.base_offset >= next_offset.max(0) && header.records_count >= 0
                        })?,
                    };
                    match further {
                        Some(at) => {
                            let skipped = at - position;
                            self.damage(
                                Place::Byte(position),
                                &format!("{what}; going on {skipped} bytes further"),
                            )?;
                            scan.go_to(at);
                        }
                        None => {
                            self.damage(Place::Byte(position), &what)?;
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn batch(&mut self, found: &FoundBatch) -> Result<(), Failure> {
        let header = &found.header;
        let codec = match header.attributes.codec() {
            Ok(codec) => codec.name().to_owned(),
            Err(id) => format!("unknown ({id})"),
        };
        let append_time = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
        let attributes = header.attributes;
        let object = || {
            Object::of("batch")
                .field("file", self.name)
                .field("position", found.position)
                .field("bytes", header.total_len())
                .field("base_offset", header.base_offset)
                .field("last_offset", header.last_offset())
                .field("records", header.records_count)
                .field("leader_epoch", header.partition_leader_epoch)
                .field("codec", &codec)
                .field("timestamp_type", if append_time { "LogAppendTime" } else { "CreateTime" })
                .field("transactional", attributes.is_transactional())
                .field("control", attributes.is_control())
                .field("delete_horizon_ms", header.delete_horizon_ms())
                .field("base_timestamp", header.base_timestamp)
                .field("max_timestamp", header.max_timestamp)
                .field("producer_id", header.producer_id)
                .field("producer_epoch", header.producer_epoch)
                .field("base_sequence", header.base_sequence)
                .field("last_sequence", header.last_sequence())
                .field("crc", format!("{:08x}", header.crc))
                .field("crc_valid", found.is_crc_valid())
        };
        if self.options.json {
            return self.lines.json(object());
        }
        let mut line = format!(
            "at {}: offsets {} to {}, {}, {} bytes, {codec}, epoch {}, {}{}",
            found.position,
            header.base_offset,
            header.last_offset(),
            if header.records_count == 1 {
                "1 record".to_owned()
            } else {
                format!("{} records", header.records_count)
            },
            header.total_len(),
            header.partition_leader_epoch,
            time(header.max_timestamp),
            if append_time { " (log append time)" } else { "" },
        );
        if header.has_producer_id() {
            line += &format!(
                ", producer {} epoch {} sequence {} to {}",
                header.producer_id,
                header.producer_epoch,
                header.base_sequence,
                header.last_sequence()
            );
        }
        for (is_so, word) in [
            (attributes.is_transactional(), "transactional"),
            (attributes.is_control(), "control"),
            (attributes.has_delete_horizon(), "delete horizon"),
        ] {
            if is_so {
                line += &format!(", {word}");
            }
        }
        line += &format!(", crc {:08x}", header.crc);
        self.lines.text(&line)
    }

    fn records(&mut self, found: &FoundBatch, bytes: &[u8], scratch: &mut Vec<u8>) -> Result<(), Failure> {
        let place = Place::Byte(found.position);
        let Ok(batch) = Batch::parse(bytes) else { return Ok(()) };
        let records = match batch.records(scratch, RECORD_BYTES_MAX) {
            Ok(records) => records,
            Err(error) => return self.damage(place, &error.to_string()),
        };
        let is_control = found.header.attributes.is_control();
        let is_metadata = self.kind != FileKind::Segment;
        for record in records {
            let record = match record {
                Ok(record) => record,
                Err(error) => return self.damage(place, &format!("the batch's records: {error}")),
            };
            match metadata::read(&record, is_control, is_metadata) {
                None => self.record(found, &record)?,
                Some(Ok(said)) => self.said(found, &record, &said)?,
                Some(Err(what)) => {
                    self.record(found, &record)?;
                    self.damage(place, &format!("the record at offset {}: {what}", record.offset))?;
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, found: &FoundBatch, record: &Record<'_>) -> Result<(), Failure> {
        if self.options.json {
            let headers: Vec<String> = record
                .headers()
                .map(|header| {
                    let key = String::from_utf8_lossy(header.key);
                    let object = Object::of("header").field("key", key).bytes("value", header.value).end();
                    // within a record it is plain what it is
                    object.replacen("\"type\":\"header\",", "", 1)
                })
                .collect();
            let object =
                self.record_object(found, record).bytes("key", record.key).bytes("value", record.value);
            return self.lines.json(object.raw("headers", &format!("[{}]", headers.join(","))));
        }
        let mut line = format!("  {}  {}", record.offset, time(record.timestamp));
        if record.key.is_some() {
            line += &format!("  key {}", printable(record.key));
        }
        line += &format!("  value {}", printable(record.value));
        for header in record.headers() {
            line += &format!("  header {}={}", printable(Some(header.key)), printable(header.value));
        }
        self.lines.text(&line)
    }

    fn said(&mut self, found: &FoundBatch, record: &Record<'_>, said: &Said<'_>) -> Result<(), Failure> {
        let fields = said.debug();
        if self.options.json {
            let object =
                self.record_object(found, record).field("name", said.name()).field("version", said.version());
            return self.lines.json(object.raw("fields", &json_of(&fields).to_string()));
        }
        let version = said.version().map_or(String::new(), |version| format!(" v{version}"));
        let fields = match json_of(&fields) {
            Json::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| format!("{name}={value}"));
                fields.collect::<Vec<_>>().join("  ")
            }
            other => other.to_string(),
        };
        self.lines.text(&format!(
            "  {}  {}  {}{version}  {fields}",
            record.offset,
            time(record.timestamp),
            said.name()
        ))
    }

    fn record_object(&self, found: &FoundBatch, record: &Record<'_>) -> Object {
        Object::of("record")
            .field("file", self.name)
            .field("position", found.position)
            .field("offset", record.offset)
            .field("timestamp", record.timestamp)
            .field("sequence", record.sequence)
    }

    fn entries<E: Shown>(&mut self, source: &dyn Source, from: u64, zeros_end: bool) -> Result<(), Stop> {
        let mut failed = None;
        let left = entries::<E>(source, from, zeros_end, |position, entry| {
            let object = Object::of(E::NAME).field("file", self.name).field("position", position);
            let (object, text) = entry.show(object, self.base_offset);
            match self.item(object, || format!("  at {position}: {text}")) {
                Ok(()) if self.lines.is_closed() => ControlFlow::Break(()),
                Ok(()) => ControlFlow::Continue(()),
                Err(failure) => {
                    failed = Some(failure);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(failure) = failed {
            return Err(failure.into());
        }
        if left > 0 {
            let at = source.len()? - left;
            self.damage(
                Place::Byte(at),
                &format!("{left} bytes at the end are no whole entry of {}", E::SIZE),
            )?;
        }
        Ok(())
    }

    fn producers(&mut self, source: &dyn Source) -> Result<(), Stop> {
        let Some(header) = read_producer_snapshot_header(source)? else {
            return Ok(self.damage(Place::Byte(0), "the file is shorter than its header")?);
        };
        self.item(
            Object::of("producer-snapshot")
                .field("file", self.name)
                .field("version", header.version)
                .field("producers", header.count)
                .field("crc", format!("{:08x}", header.crc))
                .field("crc_valid", header.crc == header.crc_computed),
            || format!("  version {}, {} producers, crc {:08x}", header.version, header.count, header.crc),
        )?;
        if header.version != 1 {
            self.damage(Place::Byte(0), &format!("version {} is not known, only 1 is", header.version))?;
        }
        if header.crc != header.crc_computed {
            self.damage(Place::Byte(2), &format!("the bytes give the checksum {:08x}", header.crc_computed))?;
        }
        if header.expected_len() != Some(header.len) {
            self.damage(
                Place::Byte(6),
                &format!("{} entries do not make {} bytes", header.count, header.len),
            )?;
        }
        self.entries::<ProducerEntry>(source, PRODUCER_SNAPSHOT_HEADER, false)
    }

    fn text<T>(
        &mut self,
        source: &dyn Source,
        parse: impl FnOnce(&str) -> Result<Vec<T>, BadLine>,
        mut show: impl FnMut(&mut Self, &T) -> Result<(), Failure>,
    ) -> Result<(), Stop> {
        match read_text(source)?.and_then(|text| parse(&text)) {
            Ok(items) => {
                for item in &items {
                    show(self, item)?;
                }
            }
            Err(bad) => self.damage(Place::Line(bad.line), &bad.what)?,
        }
        Ok(())
    }

    fn property(&mut self, line: usize, key: &str, value: &str) -> Result<(), Failure> {
        self.item(
            Object::of("property")
                .field("file", self.name)
                .field("line", line)
                .field("key", key)
                .field("value", value),
            || format!("  line {line}: {key}={value}"),
        )
    }

    fn item(&mut self, object: Object, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.options.json { self.lines.json(object) } else { self.lines.text(&text()) }
    }

    fn damage(&mut self, place: Place, what: &str) -> Result<(), Failure> {
        self.damaged += 1;
        let object = Object::of("damage").field("file", self.name);
        let object = match place {
            Place::Byte(position) => object.field("position", position),
            Place::Line(line) => object.field("line", line),
            Place::Whole => object,
        };
        let name = self.name;
        self.item(object.field("what", what), || format!("DAMAGE in {name}, {place}: {what}"))
    }
}

/// An entry as it is shown.
trait Shown: BinaryEntry {
    const NAME: &'static str;
    fn show(&self, object: Object, base_offset: Option<i64>) -> (Object, String);
}

impl Shown for OffsetIndexEntry {
    const NAME: &'static str = "index-entry";

    fn show(&self, object: Object, base_offset: Option<i64>) -> (Object, String) {
        let offset = base_offset.map(|base| base.wrapping_add(i64::from(self.relative_offset)));
        let object = object
            .field("offset", offset)
            .field("relative_offset", self.relative_offset)
            .field("segment_position", self.position);
        (object, format!("offset {} at position {}", absolute(offset, self.relative_offset), self.position))
    }
}

impl Shown for TimeIndexEntry {
    const NAME: &'static str = "time-entry";

    fn show(&self, object: Object, base_offset: Option<i64>) -> (Object, String) {
        let offset = base_offset.map(|base| base.wrapping_add(i64::from(self.relative_offset)));
        let object = object
            .field("timestamp", self.timestamp)
            .field("offset", offset)
            .field("relative_offset", self.relative_offset);
        (
            object,
            format!(
                "{} ({}) offset {}",
                self.timestamp,
                time(self.timestamp),
                absolute(offset, self.relative_offset)
            ),
        )
    }
}

impl Shown for AbortedTransaction {
    const NAME: &'static str = "aborted-transaction";

    fn show(&self, object: Object, _base_offset: Option<i64>) -> (Object, String) {
        let object = object
            .field("version", self.version)
            .field("producer_id", self.producer_id)
            .field("first_offset", self.first_offset)
            .field("last_offset", self.last_offset)
            .field("last_stable_offset", self.last_stable_offset);
        let text = format!(
            "producer {} offsets {} to {}, last stable offset {}",
            self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset
        );
        (object, text)
    }
}

impl Shown for ProducerEntry {
    const NAME: &'static str = "producer";

    fn show(&self, object: Object, _base_offset: Option<i64>) -> (Object, String) {
        let object = object
            .field("producer_id", self.producer_id)
            .field("producer_epoch", self.epoch)
            .field("last_sequence", self.last_sequence)
            .field("last_offset", self.last_offset)
            .field("offset_delta", self.offset_delta)
            .field("timestamp", self.timestamp)
            .field("coordinator_epoch", self.coordinator_epoch)
            .field("transaction_first_offset", self.transaction_first_offset);
        let mut text = format!(
            "producer {} epoch {}, last sequence {} at offset {} ({} before it in its batch), {}",
            self.producer_id,
            self.epoch,
            self.last_sequence,
            self.last_offset,
            self.offset_delta,
            time(self.timestamp)
        );
        if self.transaction_first_offset >= 0 {
            text += &format!(", open transaction from offset {}", self.transaction_first_offset);
        }
        (object, text)
    }
}

fn absolute(offset: Option<i64>, relative: u32) -> String {
    offset.map_or_else(|| format!("base+{relative}"), |offset| offset.to_string())
}

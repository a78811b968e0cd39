//! Control records: what brokers and controllers write into a log for each other, never an application's data.
//!
//! A control batch has bit 5 set and is never compressed. The key of its records is a version (int16, 0) and a type (int16); the value
//! depends on the type:
//!
//! | type | record | value |
//! |---|---|---|
//! | 0, 1 | the end of a transaction, aborted or committed (T9) | version (int16), coordinator epoch |
//! | 2 | a leader took over in the metadata log (C7) | [`LeaderChange`] |
//! | 3, 4 | first and last record of a snapshot (C6) | [`SnapshotHeader`], [`SnapshotFooter`] |
//! | 5, 6 | version and voters of the metadata quorum | [`KRaftVersion`], [`Voters`] |
//!
//! The bodies 2 to 6 begin with a version of their own; unknown tagged fields in them are skipped.

use std::fmt;

use crate::build::{BatchBuilder, NO_HEADERS};
use crate::header::{Attributes, HEADER_LEN, Stamp, patch, stamp};
use crate::varint::{MAX_VARINT_LEN, VarintError, put_unsigned_varint, read_unsigned_varint};

/// Bytes of a batch with one end-of-transaction marker (T9).
pub const MARKER_LEN: usize = 78;

/// The kind of a control record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// A transaction was aborted.
    Abort,
    /// A transaction was committed.
    Commit,
    /// The first record of a leader epoch in the metadata log.
    LeaderChange,
    /// The first record of a snapshot.
    SnapshotHeader,
    /// The last record of a snapshot.
    SnapshotFooter,
    /// The version of the quorum's rules.
    KRaftVersion,
    /// The voters of the quorum.
    Voters,
    /// A type of a newer Kafka: readers skip it.
    Unknown(i16),
}

impl ControlType {
    /// The type with a number.
    pub const fn from_id(id: i16) -> ControlType {
        match id {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KRaftVersion,
            6 => ControlType::Voters,
            other => ControlType::Unknown(other),
        }
    }

    /// The number on the wire.
    pub const fn id(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KRaftVersion => 5,
            ControlType::Voters => 6,
            ControlType::Unknown(other) => other,
        }
    }

    /// The record's key: version 0, type.
    pub const fn key(self) -> [u8; 4] {
        let [high, low] = self.id().to_be_bytes();
        [0, 0, high, low]
    }

    /// The type that a control record's key names. Keys of newer versions may be longer.
    ///
    /// # Errors
    /// If the key is too short or its version negative.
    pub fn from_key(key: &[u8]) -> Result<ControlType, ControlError> {
        let mut input = Input::new(key);
        if input.i16()? < 0 {
            return Err(ControlError::Invalid { what: "a key's version is negative" });
        }
        input.i16().map(ControlType::from_id)
    }
}

/// A control record's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRecord<'a> {
    /// A transaction was aborted.
    Abort(EndTxnMarker),
    /// A transaction was committed.
    Commit(EndTxnMarker),
    /// The first record of a leader epoch in the metadata log.
    LeaderChange(LeaderChange),
    /// The first record of a snapshot.
    SnapshotHeader(SnapshotHeader),
    /// The last record of a snapshot.
    SnapshotFooter(SnapshotFooter),
    /// The version of the quorum's rules.
    KRaftVersion(KRaftVersion),
    /// The voters of the quorum.
    Voters(Voters<'a>),
    /// A type of a newer Kafka.
    Unknown(i16),
}

impl<'a> ControlRecord<'a> {
    /// Reads a control record from its key and value.
    ///
    /// # Errors
    /// If either is cut short or has an impossible length or version.
    pub fn read(key: &[u8], value: &'a [u8]) -> Result<ControlRecord<'a>, ControlError> {
        Ok(match ControlType::from_key(key)? {
            ControlType::Abort => ControlRecord::Abort(EndTxnMarker::read(value)?),
            ControlType::Commit => ControlRecord::Commit(EndTxnMarker::read(value)?),
            ControlType::LeaderChange => ControlRecord::LeaderChange(LeaderChange::read(value)?),
            ControlType::SnapshotHeader => ControlRecord::SnapshotHeader(SnapshotHeader::read(value)?),
            ControlType::SnapshotFooter => ControlRecord::SnapshotFooter(SnapshotFooter::read(value)?),
            ControlType::KRaftVersion => ControlRecord::KRaftVersion(KRaftVersion::read(value)?),
            ControlType::Voters => ControlRecord::Voters(Voters::read(value)?),
            ControlType::Unknown(id) => ControlRecord::Unknown(id),
        })
    }
}

/// The value of an end-of-transaction marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Epoch of the transaction coordinator that wrote it.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// The record's value: version 0, coordinator epoch.
    pub const fn value(self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }

    /// Reads a value; newer versions as if they were version 0.
    ///
    /// # Errors
    /// If it is cut short or its version negative.
    pub fn read(value: &[u8]) -> Result<EndTxnMarker, ControlError> {
        let mut input = Input::new(value);
        if input.i16()? < 0 {
            return Err(ControlError::Invalid { what: "a marker's version is negative" });
        }
        Ok(EndTxnMarker { coordinator_epoch: input.i32()? })
    }
}

/// Which leader took over, and who voted for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderChange {
    /// The record's own version: from 1 on, voters have directory ids.
    pub version: i16,
    /// The new leader.
    pub leader_id: i32,
    /// All voters.
    pub voters: Vec<LeaderVoter>,
    /// Those that voted for it.
    pub granting_voters: Vec<LeaderVoter>,
}

/// A voter in a [`LeaderChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderVoter {
    /// Its node id.
    pub id: i32,
    /// Its directory id; zero in version 0.
    pub directory_id: [u8; 16],
}

impl LeaderChange {
    /// Reads a value by the version that it states.
    ///
    /// # Errors
    /// If it is cut short or has an impossible length or version.
    pub fn read(value: &[u8]) -> Result<LeaderChange, ControlError> {
        let version = Input::new(value).i16()?;
        LeaderChange::decode(value, schema(version, 1)?)
    }

    /// Reads a value of schema version 0 or 1.
    ///
    /// # Errors
    /// If it is cut short or has an impossible length.
    pub fn decode(value: &[u8], schema_version: i16) -> Result<LeaderChange, ControlError> {
        let mut input = Input::new(value);
        let version = input.i16()?;
        let leader_id = input.i32()?;
        let with_directory = schema_version >= 1;
        let mut voters = || {
            input.array(if with_directory { 21 } else { 5 }, |input| {
                let id = input.i32()?;
                let directory_id = if with_directory { input.bytes()? } else { [0; 16] };
                input.skip_tags()?;
                Ok(LeaderVoter { id, directory_id })
            })
        };
        let (voters, granting_voters) = (voters()?, voters()?);
        input.skip_tags()?;
        Ok(LeaderChange { version, leader_id, voters, granting_voters })
    }

    /// Appends the value in schema version 0 or 1.
    pub fn encode(&self, out: &mut Vec<u8>, schema_version: i16) {
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.leader_id.to_be_bytes());
        for voters in [&self.voters, &self.granting_voters] {
            put_count(out, voters.len());
            for voter in voters {
                out.extend_from_slice(&voter.id.to_be_bytes());
                if schema_version >= 1 {
                    out.extend_from_slice(&voter.directory_id);
                }
                out.push(NO_TAGS);
            }
        }
        out.push(NO_TAGS);
    }
}

/// The first record of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The record's own version.
    pub version: i16,
    /// Append time in ms of the last batch that the snapshot contains.
    pub last_contained_log_timestamp: i64,
}

impl SnapshotHeader {
    /// Reads a value.
    ///
    /// # Errors
    /// If it is cut short.
    pub fn read(value: &[u8]) -> Result<SnapshotHeader, ControlError> {
        let mut input = Input::new(value);
        let header = SnapshotHeader { version: input.i16()?, last_contained_log_timestamp: input.i64()? };
        input.skip_tags()?;
        Ok(header)
    }

    /// Appends the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.last_contained_log_timestamp.to_be_bytes());
        out.push(NO_TAGS);
    }
}

/// The last record of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotFooter {
    /// The record's own version.
    pub version: i16,
}

impl SnapshotFooter {
    /// Reads a value.
    ///
    /// # Errors
    /// If it is cut short.
    pub fn read(value: &[u8]) -> Result<SnapshotFooter, ControlError> {
        let mut input = Input::new(value);
        let footer = SnapshotFooter { version: input.i16()? };
        input.skip_tags()?;
        Ok(footer)
    }

    /// Appends the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        out.push(NO_TAGS);
    }
}

/// The version of the quorum's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KRaftVersion {
    /// The record's own version.
    pub version: i16,
    /// The feature level `kraft.version`.
    pub kraft_version: i16,
}

impl KRaftVersion {
    /// Reads a value.
    ///
    /// # Errors
    /// If it is cut short.
    pub fn read(value: &[u8]) -> Result<KRaftVersion, ControlError> {
        let mut input = Input::new(value);
        let record = KRaftVersion { version: input.i16()?, kraft_version: input.i16()? };
        input.skip_tags()?;
        Ok(record)
    }

    /// Appends the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.kraft_version.to_be_bytes());
        out.push(NO_TAGS);
    }
}

/// The voters of the metadata quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voters<'a> {
    /// The record's own version.
    pub version: i16,
    /// The voters.
    pub voters: Vec<Voter<'a>>,
}

/// A voter of the metadata quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter<'a> {
    /// Its node id.
    pub id: i32,
    /// Its directory id.
    pub directory_id: [u8; 16],
    /// Where it listens.
    pub endpoints: Vec<Endpoint<'a>>,
    /// Smallest and largest `kraft.version` that it supports.
    pub kraft_version: (i16, i16),
}

/// One of a voter's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The listener's name.
    pub name: &'a str,
    /// The host.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

impl<'a> Voters<'a> {
    /// Reads a value.
    ///
    /// # Errors
    /// If it is cut short, has an impossible length, or text that is no UTF-8.
    pub fn read(value: &'a [u8]) -> Result<Voters<'a>, ControlError> {
        let mut input = Input::new(value);
        let version = input.i16()?;
        let voters = input.array(27, |input| {
            let id = input.i32()?;
            let directory_id = input.bytes()?;
            let endpoints = input.array(5, |input| {
                let endpoint = Endpoint { name: input.string()?, host: input.string()?, port: input.u16()? };
                input.skip_tags()?;
                Ok(endpoint)
            })?;
            let kraft_version = (input.i16()?, input.i16()?);
            input.skip_tags()?;
            input.skip_tags()?;
            Ok(Voter { id, directory_id, endpoints, kraft_version })
        })?;
        input.skip_tags()?;
        Ok(Voters { version, voters })
    }

    /// Appends the value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        put_count(out, self.voters.len());
        for voter in &self.voters {
            out.extend_from_slice(&voter.id.to_be_bytes());
            out.extend_from_slice(&voter.directory_id);
            put_count(out, voter.endpoints.len());
            for endpoint in &voter.endpoints {
                put_string(out, endpoint.name);
                put_string(out, endpoint.host);
                out.extend_from_slice(&endpoint.port.to_be_bytes());
                out.push(NO_TAGS);
            }
            out.extend_from_slice(&voter.kraft_version.0.to_be_bytes());
            out.extend_from_slice(&voter.kraft_version.1.to_be_bytes());
            out.push(NO_TAGS);
            out.push(NO_TAGS);
        }
        out.push(NO_TAGS);
    }
}

/// What a control batch's header says beside what follows from its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlBatch {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Epoch of the leader that writes it, or −1.
    pub leader_epoch: i32,
    /// Timestamp of all its records, in ms.
    pub timestamp: i64,
}

/// Appends a whole control batch to `out`: checksum and all. For records of the metadata log; transaction markers have
/// [`end_txn_marker`].
pub fn control_batch(out: &mut Vec<u8>, batch: ControlBatch, records: &[(ControlType, &[u8])]) {
    write_batch(out, batch, Attributes::control(false), Stamp::NONE, records);
}

/// A whole batch with one end-of-transaction marker (T9): transactional and control bits, producer id and epoch, no sequence.
///
/// # Panics
/// Never: a marker's batch has a fixed size.
pub fn end_txn_marker(
    batch: ControlBatch,
    producer_id: i64,
    producer_epoch: i16,
    committed: bool,
    marker: EndTxnMarker,
) -> [u8; MARKER_LEN] {
    let mut bytes = Vec::with_capacity(MARKER_LEN);
    let kind = if committed { ControlType::Commit } else { ControlType::Abort };
    let by = Stamp { producer_id, producer_epoch, base_sequence: -1 };
    write_batch(&mut bytes, batch, Attributes::control(true), by, &[(kind, &marker.value())]);
    bytes.try_into().expect("a marker's batch has a fixed size")
}

fn write_batch(
    out: &mut Vec<u8>,
    batch: ControlBatch,
    attributes: Attributes,
    by: Stamp,
    records: &[(ControlType, &[u8])],
) {
    let start = out.len();
    let mut builder = BatchBuilder::new();
    out.resize(start + HEADER_LEN, 0);
    for (kind, value) in records {
        let key = kind.key();
        let size = builder.measure(batch.timestamp, Some(&key), Some(value), NO_HEADERS);
        let at = out.len();
        out.resize(at + size.total(), 0);
        builder.append_measured(&mut out[at..], size, batch.timestamp, Some(&key), Some(value), NO_HEADERS);
    }
    let bytes = &mut out[start..];
    if let Some(header) = bytes.first_chunk_mut() {
        builder.header(attributes, builder.records_len()).write(header);
    }
    patch(bytes, batch.base_offset, batch.leader_epoch);
    stamp(bytes, [], by);
}

/// Why a control record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// The bytes end too early.
    Cut,
    /// A count or length is damaged.
    Varint(VarintError),
    /// Something else is impossible.
    Invalid {
        /// What.
        what: &'static str,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::Cut => f.write_str("a control record is cut short"),
            ControlError::Varint(error) => write!(f, "a control record: {error}"),
            ControlError::Invalid { what } => write!(f, "a control record: {what}"),
        }
    }
}

impl std::error::Error for ControlError {}

/// An empty section of tagged fields.
const NO_TAGS: u8 = 0;

/// The schema to read a body of `version` with: newer ones as the newest that is known.
fn schema(version: i16, newest: i16) -> Result<i16, ControlError> {
    if version < 0 {
        return Err(ControlError::Invalid { what: "a body's version is negative" });
    }
    Ok(version.min(newest))
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let mut buffer = [0; MAX_VARINT_LEN];
    let used = put_unsigned_varint(&mut buffer, count as u32 + 1);
    out.extend_from_slice(&buffer[..used]);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Reads a body in the flexible encoding. What it allocates stays within four times the input and 64 KiB.
struct Input<'a> {
    rest: &'a [u8],
    budget: usize,
}

impl<'a> Input<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Input { rest: bytes, budget: bytes.len().saturating_mul(4).saturating_add(64 << 10) }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ControlError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(ControlError::Cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ControlError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ControlError::Cut)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn i16(&mut self) -> Result<i16, ControlError> {
        self.bytes().map(i16::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, ControlError> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, ControlError> {
        self.bytes().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, ControlError> {
        self.bytes().map(i64::from_be_bytes)
    }

    fn unsigned(&mut self) -> Result<usize, ControlError> {
        let (value, used) = read_unsigned_varint(self.rest).map_err(ControlError::Varint)?;
        self.rest = &self.rest[used..];
        Ok(value as usize)
    }

    /// A compact count or length; null is none of these bodies' values.
    fn count(&mut self) -> Result<usize, ControlError> {
        self.unsigned()?.checked_sub(1).ok_or(ControlError::Invalid { what: "a null where none may be" })
    }

    fn string(&mut self) -> Result<&'a str, ControlError> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?)
            .map_err(|_| ControlError::Invalid { what: "text that is no UTF-8" })
    }

    /// An array whose elements take `element_len_min` bytes each at least.
    fn array<T>(
        &mut self,
        element_len_min: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, ControlError>,
    ) -> Result<Vec<T>, ControlError> {
        let count = self.count()?;
        if count > self.rest.len() / element_len_min {
            return Err(ControlError::Cut);
        }
        self.budget = count
            .checked_mul(size_of::<T>())
            .and_then(|bytes| self.budget.checked_sub(bytes))
            .ok_or(ControlError::Invalid { what: "too many elements" })?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(read(self)?);
        }
        Ok(elements)
    }

    fn skip_tags(&mut self) -> Result<(), ControlError> {
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let len = self.unsigned()?;
            self.take(len)?;
        }
        Ok(())
    }
}

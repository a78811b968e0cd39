//! What a decision writes: encoded records, in the versions that metadata.version 30 names (chapter 13.1).

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::metadata_log::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChangeRecord, MetadataRecord,
};

use super::source::ApiError;
use crate::metadata::{EndPoint, FeatureRange};

/// A decision: what to write, and what to answer once it is written. Nothing has happened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal<A> {
    /// Values of metadata records, in order. May be empty: then the answer holds at once.
    pub records: Vec<Vec<u8>>,
    /// The records must take effect together. If they do not fit into one batch, the log brackets them with a metadata
    /// transaction (C5).
    pub atomic: bool,
    /// The answer.
    pub answer: A,
}

/// Records being collected.
#[derive(Debug, Default)]
pub(super) struct Changes {
    values: Vec<Vec<u8>>,
}

impl<A> Proposal<A> {
    /// An answer without a change.
    pub(super) fn nothing(answer: A) -> Proposal<A> {
        Proposal { records: Vec::new(), atomic: true, answer }
    }
}

impl Changes {
    pub(super) fn push<'a>(&mut self, record: impl Into<MetadataRecord<'a>>) -> Result<(), ApiError> {
        let value = encode(&record.into())?;
        self.values.push(value);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Forgets what was pushed since there were `len` records.
    pub(super) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
    }

    /// The values of the records.
    pub(super) fn into_values(self) -> Vec<Vec<u8>> {
        self.values
    }

    /// All of it or none of it.
    pub(super) fn atomic<A>(self, answer: A) -> Proposal<A> {
        Proposal { records: self.values, atomic: true, answer }
    }

    /// A crash may leave a first part of it.
    pub(super) fn one_by_one<A>(self, answer: A) -> Proposal<A> {
        Proposal { records: self.values, atomic: false, answer }
    }
}

/// A broker's end points, as its registration record has them.
pub(super) fn broker_end_points(end_points: &[EndPoint]) -> Vec<BrokerEndpoint<'_>> {
    end_points
        .iter()
        .map(|end_point| BrokerEndpoint {
            name: &end_point.name,
            host: &end_point.host,
            port: end_point.port,
            security_protocol: end_point.security_protocol,
            ..Default::default()
        })
        .collect()
}

/// The versions of features that a broker supports, as its registration record has them.
pub(super) fn broker_features<'a>(
    features: impl IntoIterator<Item = (&'a String, &'a FeatureRange)>,
) -> Vec<BrokerFeature<'a>> {
    let record = |(name, range): (&'a String, &FeatureRange)| BrokerFeature {
        name,
        min_supported_version: range.min,
        max_supported_version: range.max,
        ..Default::default()
    };
    features.into_iter().map(record).collect()
}

/// The value of a record in the version that metadata.version 30 gives it.
pub(super) fn encode(record: &MetadataRecord<'_>) -> Result<Vec<u8>, ApiError> {
    // a value too long for the wire: names and settings come from clients
    record.encode_value(version_of(record)).map_err(|e| {
        ApiError::new(ErrorCode::INVALID_REQUEST, format!("{} cannot be written: {e}", record.name()))
    })
}

fn version_of(record: &MetadataRecord<'_>) -> i16 {
    match record {
        MetadataRecord::RegisterBroker(_) => 4,
        MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => 2,
        MetadataRecord::BrokerRegistrationChange(record) => lowest_version(record),
        _ => 0,
    }
}

/// The lowest version that carries what the record says, as Kafka's controllers choose it.
fn lowest_version(record: &BrokerRegistrationChangeRecord) -> i16 {
    if record.cordoned_log_dirs.is_some() {
        3
    } else if !record.log_dirs.is_empty() {
        2
    } else if record.in_controlled_shutdown != 0 {
        1
    } else {
        0
    }
}

//! The records of the metadata log (`__cluster_metadata`): what a controller has decided, one record per decision.
//!
//! A record's value is a frame version (1), the record's type and version as unsigned varints, and then the body,
//! which is always flexible. Its key is null. [`MetadataRecord`] reads and writes whole values.
//!
//! To add a record type: its struct with `log_record = …`, and a line in the list below.

use crate::{
    DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Message, VersionRange,
    wire::{Length, put_count},
};

mod brokers;
mod configs;
mod control;
mod security;
mod topics;

pub use self::{brokers::*, configs::*, control::*, security::*, topics::*};

/// The only frame version there is.
const FRAME_VERSION: u32 = 1;

/// A record of the metadata log. Implemented by `#[derive(Message)]`.
pub trait LogRecord<'a>: Message<'a> {
    /// The number that stands before it in the log.
    const RECORD_TYPE: u16;
}

macro_rules! metadata_records {
    ($($name:ident($($record:tt)*),)*) => {
        /// Any record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)] // each variant is documented at the record that it holds
        pub enum MetadataRecord<'a> {
            $($name($($record)*),)*
        }

        $(impl<'a> From<$($record)*> for MetadataRecord<'a> {
            fn from(record: $($record)*) -> Self {
                Self::$name(record)
            }
        })*

        impl<'a> MetadataRecord<'a> {
            /// The name and the version range of a record type.
            pub fn of_type(record_type: u16) -> Option<(&'static str, VersionRange)> {
                $(if record_type == <$($record)* as LogRecord<'_>>::RECORD_TYPE {
                    return Some((<$($record)* as Message<'_>>::NAME, <$($record)* as Message<'_>>::VERSIONS));
                })*
                None
            }

            /// The record's name, such as `TopicRecord`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => <$($record)* as Message<'_>>::NAME,)*
                }
            }

            /// The number of its type.
            pub fn record_type(&self) -> u16 {
                match self {
                    $(Self::$name(_) => <$($record)* as LogRecord<'_>>::RECORD_TYPE,)*
                }
            }

            /// The versions that it has.
            pub fn versions(&self) -> VersionRange {
                match self {
                    $(Self::$name(_) => <$($record)* as Message<'_>>::VERSIONS,)*
                }
            }

            fn body_length(&self, version: i16) -> Result<Length, EncodeError> {
                match self {
                    $(Self::$name(record) => record.length(version),)*
                }
            }

            fn encode_body(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(record) => record.encode(out, version),)*
                }
            }

            fn decode_body(input: &mut Decoder<'a>, record_type: u32, version: i16) -> Result<Option<Self>, DecodeError> {
                $(if record_type == u32::from(<$($record)* as LogRecord<'_>>::RECORD_TYPE) {
                    return <$($record)* as Message<'_>>::decode(input, version).map(|record| Some(Self::$name(record)));
                })*
                Ok(None)
            }
        }
    };
}

metadata_records! {
    RegisterBroker(RegisterBrokerRecord<'a>),
    UnregisterBroker(UnregisterBrokerRecord),
    Topic(TopicRecord<'a>),
    Partition(PartitionRecord),
    Config(ConfigRecord<'a>),
    PartitionChange(PartitionChangeRecord),
    FenceBroker(FenceBrokerRecord),
    UnfenceBroker(UnfenceBrokerRecord),
    RemoveTopic(RemoveTopicRecord),
    DelegationToken(DelegationTokenRecord<'a>),
    UserScramCredential(UserScramCredentialRecord<'a>),
    FeatureLevel(FeatureLevelRecord<'a>),
    ClientQuota(ClientQuotaRecord<'a>),
    ProducerIds(ProducerIdsRecord),
    BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    AccessControlEntry(AccessControlEntryRecord<'a>),
    RemoveAccessControlEntry(RemoveAccessControlEntryRecord),
    NoOp(NoOpRecord),
    ZkMigrationState(ZkMigrationStateRecord),
    RemoveUserScramCredential(RemoveUserScramCredentialRecord<'a>),
    BeginTransaction(BeginTransactionRecord<'a>),
    EndTransaction(EndTransactionRecord),
    AbortTransaction(AbortTransactionRecord<'a>),
    RemoveDelegationToken(RemoveDelegationTokenRecord<'a>),
    RegisterController(RegisterControllerRecord<'a>),
    ClearElr(ClearElrRecord<'a>),
}

impl<'a> MetadataRecord<'a> {
    /// The value of the record in the log: frame version, type, version, body.
    ///
    /// # Errors
    /// A version that the record does not have, or a value that the version cannot carry.
    pub fn encode_value(&self, version: i16) -> Result<Vec<u8>, EncodeError> {
        // at most three bytes for the type and for the version each
        let mut out = Encoder::with_capacity(7 + self.body_length(version)?.here);
        put_count(&mut out, FRAME_VERSION as usize)?;
        put_count(&mut out, usize::from(self.record_type()))?;
        put_count(&mut out, version as usize)?;
        self.encode_body(&mut out, version)?;
        let (bytes, _no_gaps) = out.into_parts();
        Ok(bytes)
    }

    /// Reads the value of a record; gives the version too. Bytes after it are an error.
    ///
    /// # Errors
    /// The record or its version is not known, the bytes are no such record, or there are more of them.
    pub fn decode_value(value: &'a [u8]) -> Result<(Self, i16), DecodeError> {
        Self::decode(&mut Decoder::new(value))
    }

    /// The same from a decoder that was told what to do with unknown tagged fields.
    ///
    /// # Errors
    /// As [`decode_value`](Self::decode_value).
    pub fn decode(input: &mut Decoder<'a>) -> Result<(Self, i16), DecodeError> {
        let header = |e: DecodeError| e.within("MetadataRecord", "header");
        let frame = input.unsigned_varint().map_err(header)?;
        let record_type = input.unsigned_varint().map_err(header)?;
        let version = input.unsigned_varint().map_err(header)?;
        let unknown = DecodeErrorKind::UnknownRecord { frame, record_type };
        if frame != FRAME_VERSION {
            return Err(header(input.error(unknown)));
        }
        // a version above all that a record can have is refused by the record
        let version = i16::try_from(version).unwrap_or(i16::MAX);
        let record = Self::decode_body(input, record_type, version)?;
        let record = record.ok_or_else(|| header(input.error(unknown)))?;
        input.finish().map_err(|e| e.within(record.name(), ""))?;
        Ok((record, version))
    }
}

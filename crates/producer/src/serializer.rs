//! Serializers: what turns an application's types into the bytes of keys and values.
//!
//! A [`Serializer`] writes into a [`Target`]; one that writes nothing gives an absent key or value, which differs from an empty
//! one (API-2). It runs on the calling thread, key first and then value, before partition and memory are looked for, so that a
//! failure leaves nothing behind (SER-1). What is written goes from a buffer that the thread keeps straight into the batch, and bytes
//! that the data has already go there from where they lie: nothing is allocated for a record (SER-2). Attached to a topic's handle they make a [`TypedTopic`](crate::TypedTopic).
//!
//! | serializer | takes | writes |
//! |---|---|---|
//! | [`Raw`] | anything that is bytes | a copy |
//! | [`Shared`] | `bytes::Bytes` | the same bytes, counted and not copied |
//! | [`Utf8`] | anything that is a `str` | UTF-8 |
//! | [`Text`] | anything that is a `str` | UTF-8, UTF-16, ISO-8859-1 or US-ASCII, by Kafka's `serializer.encoding` |
//! | [`Number`] | `i8` … `i64`, `u8` … `u64`, `f32`, `f64` | big-endian, as Java's serializers do |
//! | [`UuidText`] | `u128`, `[u8; 16]` | the 36 characters of a UUID |
//! | [`Unit`] | `()` | nothing: absent |
//! | [`Nullable`] | `Option` of what the serializer inside takes | absent for `None` |
//! | [`Json`](crate::Json), with the feature `json` | what serde serializes | JSON |

use std::fmt;

use bytes::Bytes;

use crate::record::Header;

/// Turns a `T` into bytes. It runs on the thread that sends, before anything is waited for: keep it quick.
///
/// ```
/// use rohrpost::{SerializeError, Serializer, Target};
///
/// struct Price {
///     cents: u32,
/// }
///
/// /// Four bytes, big-endian; nothing is worth nothing.
/// struct Cents;
///
/// impl Serializer<Price> for Cents {
///     fn serialize(&self, price: &Price, target: &mut Target<'_>) -> Result<(), SerializeError> {
///         if price.cents == 0 {
///             return Err(SerializeError::new("a price of 0")); // the send fails with it, and nothing is sent
///         }
///         target.write(&price.cents.to_be_bytes());
///         Ok(())
///     }
/// }
/// # let cluster = rohrpost_broker::Cluster::builder().topic("prices", 1, 1).start()?;
/// # let producer = rohrpost::Producer::builder(cluster.bootstrap_servers()).build()?;
///
/// let prices = producer.topic_blocking("prices")?.value(Cents);
/// assert_eq!(prices.send_blocking(&(), &Price { cents: 250 })?.wait()?.value_size(), Some(4));
/// assert!(prices.send_blocking(&(), &Price { cents: 0 }).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Serializer<T: ?Sized> {
    /// Writes `data` to `target`. Nothing written: absent.
    ///
    /// # Errors
    /// Whatever keeps the data from becoming bytes; the call that sends fails with it, and nothing is sent.
    fn serialize(&self, data: &T, target: &mut Target<'_>) -> Result<(), SerializeError>;

    /// The bytes that [`serialize`](Serializer::serialize) would write, if the data has them already: then they are copied once, into the batch, and
    /// `serialize` is not called. `None`, which is what this says unless you say otherwise, asks for `serialize`.
    fn as_bytes<'d>(&self, data: &'d T) -> Option<&'d [u8]> {
        let _ = data;
        None
    }
}

/// What a serializer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Keys.
    Key,
    /// Values.
    Value,
}

/// Where a serializer writes to, and what it may know of the record.
#[derive(Debug)]
pub struct Target<'a> {
    topic: &'a str,
    part: Part,
    headers: &'a mut Vec<Header>,
    content: Content<'static>,
    /// What is written goes here.
    spare: Vec<u8>,
}

/// What came of serializing a key or a value.
#[derive(Debug)]
pub(crate) enum Content<'d> {
    Absent,
    /// The data's own bytes.
    Lent(&'d [u8]),
    Shared(Bytes),
    Written(Vec<u8>),
}

impl<'d> Content<'d> {
    /// Serializes. Nothing is allocated if the data has its bytes, or `spare` has room for what is written; it is empty afterwards, and
    /// [`give_back`](Content::give_back) fills it again.
    pub(crate) fn of<T: ?Sized, S: Serializer<T>>(
        serializer: &S,
        data: &'d T,
        (topic, part): (&str, Part),
        headers: &mut Vec<Header>,
        spare: &mut Vec<u8>,
    ) -> Result<Content<'d>, SerializeError> {
        if let Some(bytes) = serializer.as_bytes(data) {
            return Ok(Content::Lent(bytes));
        }
        let mut target = Target::new(topic, part, headers);
        target.spare = std::mem::take(spare);
        let result = serializer.serialize(data, &mut target);
        *spare = target.spare;
        result.map(|()| target.content).map_err(|error| error.of(part))
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Content::Absent => None,
            Content::Lent(bytes) => Some(bytes),
            Content::Shared(bytes) => Some(bytes),
            Content::Written(buffer) => Some(buffer),
        }
    }

    pub(crate) fn into_bytes(self) -> Option<Bytes> {
        match self {
            Content::Absent => None,
            Content::Lent(bytes) => Some(Bytes::copy_from_slice(bytes)),
            Content::Shared(bytes) => Some(bytes),
            Content::Written(buffer) => Some(buffer.into()),
        }
    }

    /// Keeps the buffer for the next record, unless it is unusually large.
    pub(crate) fn give_back(self, spare: &mut Vec<u8>) {
        if let Content::Written(buffer) = self
            && buffer.capacity() <= SPARE_BYTES_MAX
        {
            *spare = buffer;
        }
    }
}

/// The largest buffer that a thread keeps for its next record.
const SPARE_BYTES_MAX: usize = 64 << 10;

impl<'a> Target<'a> {
    fn new(topic: &'a str, part: Part, headers: &'a mut Vec<Header>) -> Target<'a> {
        Target { topic, part, headers, content: Content::Absent, spare: Vec::new() }
    }

    /// Whether this is to be a key or a value.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// The topic that the record goes to.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.topic
    }

    /// The record's headers, in order.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        self.headers
    }

    /// Adds a header to the record.
    pub fn add_header(&mut self, header: Header) {
        self.headers.push(header);
    }

    /// Appends bytes. Even none at all make the key or value present.
    pub fn write(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// The buffer that [`write`](Target::write) appends to, for encoders that want one. The key or value is present from now on.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if !matches!(self.content, Content::Written(_)) {
            let mut buffer = std::mem::take(&mut self.spare);
            buffer.clear();
            if let Content::Shared(bytes) = &self.content {
                buffer.extend_from_slice(bytes);
            }
            self.content = Content::Written(buffer);
        }
        match &mut self.content {
            Content::Written(buffer) => buffer,
            _ => unreachable!("it was made a buffer just now"),
        }
    }

    /// Takes these bytes as they are, without a copy, in the place of whatever was written.
    pub fn share(&mut self, bytes: Bytes) {
        self.content = Content::Shared(bytes);
    }
}

impl std::io::Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Why data did not become bytes.
#[derive(Debug)]
pub struct SerializeError {
    part: Option<Part>,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl SerializeError {
    /// An error with its cause; a text will do.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SerializeError {
        SerializeError { part: None, cause: cause.into() }
    }

    /// Whether the key or the value could not be serialized.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        self.part
    }

    pub(crate) fn of(mut self, part: Part) -> SerializeError {
        self.part = Some(part);
        self
    }
}

impl fmt::Display for SerializeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Some(Part::Key) => write!(f, "the key cannot be serialized: {}", self.cause),
            Some(Part::Value) => write!(f, "the value cannot be serialized: {}", self.cause),
            None => self.cause.fmt(f),
        }
    }
}

impl std::error::Error for SerializeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

/// Bytes as they are, copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Raw;

impl<T: AsRef<[u8]> + ?Sized> Serializer<T> for Raw {
    fn serialize(&self, data: &T, target: &mut Target<'_>) -> Result<(), SerializeError> {
        target.write(data.as_ref());
        Ok(())
    }

    fn as_bytes<'d>(&self, data: &'d T) -> Option<&'d [u8]> {
        Some(data.as_ref())
    }
}

/// `Bytes` as they are, counted and not copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shared;

impl Serializer<Bytes> for Shared {
    fn serialize(&self, data: &Bytes, target: &mut Target<'_>) -> Result<(), SerializeError> {
        target.share(data.clone());
        Ok(())
    }
}

/// Text in UTF-8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utf8;

impl<T: AsRef<str> + ?Sized> Serializer<T> for Utf8 {
    fn serialize(&self, data: &T, target: &mut Target<'_>) -> Result<(), SerializeError> {
        target.write(data.as_ref().as_bytes());
        Ok(())
    }

    fn as_bytes<'d>(&self, data: &'d T) -> Option<&'d [u8]> {
        Some(data.as_ref().as_bytes())
    }
}

/// Text in one of the encodings that Java names in `serializer.encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text(Encoding);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    /// With a byte order mark, big-endian, as Java writes it.
    Utf16,
    Utf16Be,
    Utf16Le,
    /// One byte per character; what does not exist there becomes `?`, as in Java.
    OneByte {
        last: char,
    },
}

impl Text {
    /// An encoding by its name, in any case: `UTF-8`, `UTF-16` (big-endian with a byte order mark), `UTF-16BE`, `UTF-16LE`,
    /// `ISO-8859-1`, `US-ASCII`. In the last two, characters that do not exist there become `?`.
    ///
    /// # Errors
    /// The name is none of these.
    pub fn new(encoding: &str) -> Result<Text, SerializeError> {
        let encoding = match encoding.to_ascii_uppercase().replace('_', "-").as_str() {
            "UTF-8" | "UTF8" => Encoding::Utf8,
            "UTF-16" | "UTF16" => Encoding::Utf16,
            "UTF-16BE" => Encoding::Utf16Be,
            "UTF-16LE" => Encoding::Utf16Le,
            "ISO-8859-1" | "ISO8859-1" | "LATIN1" => Encoding::OneByte { last: '\u{ff}' },
            "US-ASCII" | "ASCII" => Encoding::OneByte { last: '\u{7f}' },
            _ => {
                return Err(SerializeError::new(format!(
                    "the encoding {encoding:?} is not known; there are UTF-8, UTF-16, UTF-16BE, UTF-16LE, ISO-8859-1 and US-ASCII"
                )));
            }
        };
        Ok(Text(encoding))
    }
}

impl<T: AsRef<str> + ?Sized> Serializer<T> for Text {
    fn serialize(&self, data: &T, target: &mut Target<'_>) -> Result<(), SerializeError> {
        let text = data.as_ref();
        let out = target.buffer();
        match self.0 {
            Encoding::Utf8 => out.extend_from_slice(text.as_bytes()),
            Encoding::Utf16 => {
                if !text.is_empty() {
                    out.extend_from_slice(&[0xfe, 0xff]);
                }
                out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
            }
            Encoding::Utf16Be => out.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
            Encoding::Utf16Le => out.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Encoding::OneByte { last } => {
                out.extend(text.chars().map(|c| if c <= last { c as u32 as u8 } else { b'?' }));
            }
        }
        Ok(())
    }
}

/// Integers and floating-point numbers, big-endian: `i16`, `i32`, `i64`, `f32` and `f64` as Java's Short-, Integer-, Long-, Float- and
/// DoubleSerializer write them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Number;

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Serializer<$number> for Number {
            fn serialize(&self, data: &$number, target: &mut Target<'_>) -> Result<(), SerializeError> {
                target.write(&data.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

numbers!(i8 i16 i32 i64 u8 u16 u32 u64 f32 f64);

/// A UUID as its 36 characters, as Java's UUIDSerializer writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UuidText;

impl Serializer<[u8; 16]> for UuidText {
    fn serialize(&self, data: &[u8; 16], target: &mut Target<'_>) -> Result<(), SerializeError> {
        let out = target.buffer();
        for (index, byte) in data.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                out.push(b'-');
            }
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        }
        Ok(())
    }
}

impl Serializer<u128> for UuidText {
    fn serialize(&self, data: &u128, target: &mut Target<'_>) -> Result<(), SerializeError> {
        self.serialize(&data.to_be_bytes(), target)
    }
}

/// Nothing: an absent key or value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unit;

impl Serializer<()> for Unit {
    fn serialize(&self, _data: &(), _target: &mut Target<'_>) -> Result<(), SerializeError> {
        Ok(())
    }
}

/// `Option`s: `None` is absent (a tombstone, if it is the value), `Some` goes to the serializer inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nullable<S>(pub S);

impl<T, S: Serializer<T>> Serializer<Option<T>> for Nullable<S> {
    fn serialize(&self, data: &Option<T>, target: &mut Target<'_>) -> Result<(), SerializeError> {
        data.as_ref().map_or(Ok(()), |data| self.0.serialize(data, target))
    }

    fn as_bytes<'d>(&self, data: &'d Option<T>) -> Option<&'d [u8]> {
        self.0.as_bytes(data.as_ref()?)
    }
}

/// JSON, written by serde.
#[cfg(feature = "json")]
pub struct Json<T: ?Sized>(std::marker::PhantomData<fn(&T)>);

#[cfg(feature = "json")]
impl<T: ?Sized> Json<T> {
    /// For values of this type.
    #[must_use]
    pub fn new() -> Json<T> {
        Json(std::marker::PhantomData)
    }
}

#[cfg(feature = "json")]
impl<T: ?Sized> Default for Json<T> {
    fn default() -> Json<T> {
        Json::new()
    }
}

#[cfg(feature = "json")]
impl<T: ?Sized> Clone for Json<T> {
    fn clone(&self) -> Json<T> {
        Json::new()
    }
}

#[cfg(feature = "json")]
impl<T: ?Sized> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + ?Sized> Serializer<T> for Json<T> {
    fn serialize(&self, data: &T, target: &mut Target<'_>) -> Result<(), SerializeError> {
        serde_json::to_writer(target, data).map_err(SerializeError::new)
    }
}

/// What there is here in the place of a Java class that a configuration names (CFG-3). `part`: key or value.
pub(crate) fn instead_of(class: &str, part: &str) -> String {
    let name = class.rsplit('.').next().unwrap_or(class);
    let serializer = match name {
        "StringSerializer" | "StringEncoder" => "Utf8 (or Text, for another encoding)",
        "ByteArraySerializer" | "BytesSerializer" | "ByteBufferSerializer" | "DefaultEncoder" => {
            "Raw (or Shared)"
        }
        "ShortSerializer" | "IntegerSerializer" | "LongSerializer" | "FloatSerializer"
        | "DoubleSerializer" => "Number",
        "UUIDSerializer" => "UuidText",
        "VoidSerializer" => "Unit",
        _ => {
            return format!(
                "records take bytes, and there is no serializer of this name; implement rohrpost::Serializer and give it to a topic's \
                 handle, topic.{part}(…), or turn the {part} into bytes before it is sent"
            );
        }
    };
    format!("records take bytes; on a topic's handle, {name} is topic.{part}({serializer})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T: ?Sized>(serializer: &impl Serializer<T>, data: &T) -> Option<Vec<u8>> {
        let mut headers = Vec::new();
        let mut target = Target::new("t", Part::Value, &mut headers);
        serializer.serialize(data, &mut target).unwrap();
        let written = target.content.into_bytes().map(|bytes| bytes.to_vec());
        if let Some(own) = serializer.as_bytes(data) {
            assert_eq!(written.as_deref(), Some(own), "both ways say the same");
        }
        written
    }

    // SER-2
    #[test]
    fn the_built_in_serializers_write_what_javas_do() {
        assert_eq!(written(&Utf8, "é").unwrap(), [0xc3, 0xa9]);
        assert_eq!(written(&Raw, &b"ab"[..]).unwrap(), b"ab");
        assert_eq!(written(&Shared, &Bytes::from_static(b"ab")).unwrap(), b"ab");
        assert_eq!(written(&Number, &-2_i16).unwrap(), [0xff, 0xfe]);
        assert_eq!(written(&Number, &258_i32).unwrap(), [0, 0, 1, 2]);
        assert_eq!(written(&Number, &1_i64).unwrap(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(written(&Number, &1.5_f32).unwrap(), [0x3f, 0xc0, 0, 0]);
        assert_eq!(written(&Number, &-2.0_f64).unwrap(), [0xc0, 0, 0, 0, 0, 0, 0, 0]);
        let uuid = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128;
        assert_eq!(written(&UuidText, &uuid).unwrap(), b"01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(written(&Unit, &()), None);
    }

    // SER-2
    #[test]
    fn texts_are_encoded_as_java_encodes_them() {
        let text = |encoding: &str, text: &str| written(&Text::new(encoding).unwrap(), text).unwrap();
        assert_eq!(text("utf-8", "é"), [0xc3, 0xa9]);
        assert_eq!(text("UTF_16", "é"), [0xfe, 0xff, 0, 0xe9]);
        assert!(text("UTF-16", "").is_empty());
        assert_eq!(text("UTF-16LE", "é"), [0xe9, 0]);
        assert_eq!(text("UTF-16BE", "𝄞"), [0xd8, 0x34, 0xdd, 0x1e]);
        assert_eq!(text("ISO-8859-1", "é€"), [0xe9, b'?']);
        assert_eq!(text("US-ASCII", "aé"), [b'a', b'?']);
        assert!(Text::new("EBCDIC").unwrap_err().to_string().contains("UTF-16LE"));
    }

    // API-2
    #[test]
    fn absent_and_empty_differ() {
        assert_eq!(written(&Utf8, "").unwrap(), b"");
        assert_eq!(written(&Nullable(Utf8), &Some("")).unwrap(), b"");
        assert_eq!(written(&Nullable(Utf8), &None::<&str>), None);
    }

    // SER-1
    #[test]
    fn a_serializer_sees_topic_and_headers_and_may_add_some() {
        struct Tagged;
        impl Serializer<str> for Tagged {
            fn serialize(&self, data: &str, target: &mut Target<'_>) -> Result<(), SerializeError> {
                let seen = format!("{}:{:?}:{}", target.topic(), target.part(), target.headers().len());
                target.add_header(Header::new("seen", Some(seen.into())));
                target.share(Bytes::from_static(b"shared, then "));
                target.write(data.as_bytes());
                Ok(())
            }
        }
        let mut headers = vec![Header::new("first", None)];
        let mut target = Target::new("orders", Part::Key, &mut headers);
        Tagged.serialize("copied", &mut target).unwrap();
        assert_eq!(target.content.into_bytes().unwrap(), &b"shared, then copied"[..]);
        assert_eq!((headers.len(), headers[1].value().unwrap().as_ref()), (2, &b"orders:Key:1"[..]));
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_is_serdes() {
        assert_eq!(written(&Json::new(), &vec![1, 2]).unwrap(), b"[1,2]");
        let broken = std::collections::BTreeMap::from([(vec![1], 2)]);
        let mut headers = Vec::new();
        let error =
            Json::new().serialize(&broken, &mut Target::new("t", Part::Value, &mut headers)).unwrap_err();
        assert!(error.of(Part::Value).to_string().starts_with("the value cannot be serialized: key must be"));
    }
}

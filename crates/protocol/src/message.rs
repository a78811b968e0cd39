//! Whole messages, and the frames they travel in.

use crate::{
    ApiKey, DecodeError, DecodeErrorKind, Decoder, EncodeError, EncodeErrorKind, Encoder, RequestHeader,
    ResponseHeader, VersionRange,
    frame::SIZE_LEN,
    wire::{Context, Length, Sink, Wire},
};

/// A message that has versions. Implemented by `#[derive(Message)]`.
pub trait Message<'a>: Wire<'a> {
    /// The name in Kafka's tables.
    const NAME: &'static str;
    /// All versions that the codec knows.
    const VERSIONS: VersionRange;
    /// Those that are in force: what may be advertised and used.
    const STABLE_VERSIONS: VersionRange;
    /// Those with compact lengths and tagged fields; may reach beyond [`VERSIONS`](Self::VERSIONS).
    const FLEXIBLE_VERSIONS: VersionRange;

    /// The number of bytes that [`encode`](Self::encode) writes, gaps included.
    ///
    /// # Errors
    /// Where encoding fails: unknown version, or a value that the version cannot carry.
    fn encoded_len(&self, version: i16) -> Result<usize, EncodeError> {
        self.length(version).map(Length::total)
    }

    /// The same, apart for the bytes that an [`Encoder`] holds and those in its gaps.
    ///
    /// # Errors
    /// As [`encoded_len`](Self::encoded_len).
    fn length(&self, version: i16) -> Result<Length, EncodeError> {
        let mut length = Length::default();
        self.put(&mut length, writing::<Self>(version)?)?;
        Ok(length)
    }

    /// Appends the message. After an error the encoder holds part of it and is of no use.
    ///
    /// # Errors
    /// An unknown version, or a value that the version cannot carry.
    fn encode(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        self.put(out, writing::<Self>(version)?)
    }

    /// Reads the message. Bytes after it stay in the decoder, where a broker ignores them (G2).
    ///
    /// # Errors
    /// An unknown version, or bytes that are no such message: the error names the field and where it lies.
    fn decode(input: &mut Decoder<'a>, version: i16) -> Result<Self, DecodeError> {
        match context::<Self>(version) {
            Some(cx) => Self::take(input, cx),
            None => Err(input.error(DecodeErrorKind::UnsupportedVersion(version)).within(Self::NAME, "")),
        }
    }
}

/// What a client sends.
pub trait Request<'a>: Message<'a> {
    /// What is asked for.
    const API_KEY: ApiKey;
    /// What the broker answers, in the same version.
    type Response<'r>: Response<'r>;
}

/// What a broker answers.
pub trait Response<'a>: Message<'a> {
    /// The API of the request.
    const API_KEY: ApiKey;
}

/// A whole request frame: size, header, body. The size counts the gaps, which the caller fills when it sends.
///
/// # Errors
/// An unknown version, a value that the version cannot carry, or a frame above 2 GiB.
pub fn encode_request<'a, R: Request<'a>>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Encoder, EncodeError> {
    let header = RequestHeader {
        api_key: R::API_KEY as i16,
        api_version: version,
        correlation_id,
        client_id,
        ..RequestHeader::default()
    };
    encode_frame(&header, R::API_KEY.request_header_version(version), request, version)
}

/// A whole response frame, likewise.
///
/// # Errors
/// As [`encode_request`].
pub fn encode_response<'a, R: Response<'a>>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Encoder, EncodeError> {
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    encode_frame(&header, R::API_KEY.response_header_version(version), response, version)
}

fn encode_frame<'h, 'b, H: Message<'h>, B: Message<'b>>(
    header: &H,
    header_version: i16,
    body: &B,
    version: i16,
) -> Result<Encoder, EncodeError> {
    let (head, tail) = (header.length(header_version)?, body.length(version)?);
    let size = head.total().saturating_add(tail.total());
    let max = i32::MAX as usize;
    let Some(size) = i32::try_from(size).ok() else {
        return Err(EncodeError::from(EncodeErrorKind::TooLong { len: size, max }).within(B::NAME, ""));
    };
    let mut out = Encoder::with_capacity(SIZE_LEN + head.here + tail.here);
    out.put(&size.to_be_bytes());
    header.encode(&mut out, header_version)?;
    body.encode(&mut out, version)?;
    debug_assert_eq!(out.len(), SIZE_LEN + size as usize, "{}: length and encoding disagree", B::NAME);
    Ok(out)
}

fn context<'a, M: Message<'a>>(version: i16) -> Option<Context> {
    M::VERSIONS
        .contains(version)
        .then(|| Context { version, flexible: M::FLEXIBLE_VERSIONS.contains(version) })
}

fn writing<'a, M: Message<'a>>(version: i16) -> Result<Context, EncodeError> {
    context::<M>(version)
        .ok_or_else(|| EncodeError::from(EncodeErrorKind::UnsupportedVersion { version }).within(M::NAME, ""))
}

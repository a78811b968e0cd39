//! What the derive macro can do and no message of the present list needs.

use rohrpost_protocol::{Decoder, Encoder, Message, UnknownTags, VersionRange};

/// A field that was untagged once, and a string that never became compact.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(versions = "0-4", flexible = "2+", unstable = "4")]
struct Moved<'a> {
    /// Untagged in 1 and 2, tagged from 3 on.
    #[kafka(versions = "1+", tag = 7, tag_versions = "3+", default = 5)]
    limit: i32,
    #[kafka(flexible = "none")]
    old: &'a str,
    /// Null in 1 to 3 only.
    #[kafka(nullable = "1-3", default = null)]
    parts: Option<Vec<Part>>,
    #[kafka(versions = "2+", tag = 1, default = "none")]
    note: Option<&'a str>,
    unknown_tags: UnknownTags,
}

/// Without `unknown_tags`: they are dropped even when the decoder keeps them.
#[derive(Debug, Clone, PartialEq, Message)]
struct Part {
    id: u16,
    ratio: f64,
}

/// Never flexible, with nothing that borrows.
#[derive(Debug, Clone, PartialEq, Message)]
#[kafka(versions = "0-1")]
struct Plain {
    codes: Vec<i16>,
    flags: Box<[bool]>,
}

fn bytes_of<'a, M: Message<'a>>(message: &M, version: i16) -> Vec<u8> {
    let mut out = Encoder::new();
    message.encode(&mut out, version).unwrap_or_else(|e| panic!("version {version}: {e}"));
    assert_eq!(message.encoded_len(version), Ok(out.len()));
    out.into_parts().0
}

#[test]
fn a_field_can_move_into_the_tagged_section() {
    let moved = Moved { limit: 9, old: "ab", parts: Some(vec![]), ..Default::default() };
    assert_eq!(bytes_of(&moved, 1), [0, 0, 0, 9, 0, 2, b'a', b'b', 0, 0, 0, 0]);
    assert_eq!(bytes_of(&moved, 2), [0, 0, 0, 9, 0, 2, b'a', b'b', 1, 0]);
    assert_eq!(bytes_of(&moved, 3), [0, 2, b'a', b'b', 1, 1, 7, 4, 0, 0, 0, 9]);
    for version in 1..=4 {
        let bytes = bytes_of(&moved, version);
        assert_eq!(
            Moved::decode(&mut Decoder::new(&bytes), version).as_ref(),
            Ok(&moved),
            "version {version}"
        );
    }
    // version 0 has no limit, and the field is not ignorable
    assert!(moved.encoded_len(0).is_err());
    assert!(Moved { limit: 5, ..moved }.encoded_len(0).is_ok());
}

#[test]
fn tagged_fields_are_written_in_the_order_of_their_tags() {
    let part = Part { id: 0xfffe, ratio: 1.5 };
    let moved = Moved { limit: 1, note: Some("x"), parts: Some(vec![part]), ..Default::default() };
    let bytes = bytes_of(&moved, 3);
    let part = [0xff, 0xfe, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(bytes, [&[0, 0, 2][..], &part, &[2, 1, 2, 2, b'x', 7, 4, 0, 0, 0, 1]].concat());
    assert_eq!(Moved::decode(&mut Decoder::new(&bytes), 3), Ok(moved));
}

#[test]
fn defaults_are_those_of_the_attributes() {
    let moved = Moved::default();
    assert_eq!((moved.limit, moved.old, moved.parts.as_ref(), moved.note), (5, "", None, Some("none")));
    // null is allowed from 1 to 3
    assert_eq!(bytes_of(&moved, 3), [0, 0, 0, 0]);
    assert!(moved.encoded_len(0).is_err() && moved.encoded_len(4).is_err());
    // a tagged null is not the default here: it is written
    let null = Moved { note: None, ..moved };
    let bytes = bytes_of(&null, 3);
    assert_eq!(bytes, [0, 0, 0, 1, 1, 1, 0]);
    assert_eq!(Moved::decode(&mut Decoder::new(&bytes), 3), Ok(null));
}

#[test]
fn a_struct_without_room_for_unknown_tags_drops_them() {
    let bytes = [0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 1, 0xaa, 0];
    let moved = Moved::decode(&mut Decoder::new(&bytes).keep_unknown_tags(true), 3).expect("a message");
    assert_eq!(moved.parts, Some(vec![Part { id: 1, ratio: 0.0 }]));
    assert_eq!(bytes_of(&moved, 3), [0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn versions_are_those_of_the_attributes() {
    assert_eq!(Moved::VERSIONS, VersionRange::new(0, 4));
    assert_eq!(Moved::STABLE_VERSIONS, VersionRange::new(0, 3));
    assert!(Moved::FLEXIBLE_VERSIONS.contains(2) && !Moved::FLEXIBLE_VERSIONS.contains(1));
    assert!(Plain::FLEXIBLE_VERSIONS.is_empty());
    let plain = Plain { codes: vec![-1, 2], flags: [true, false].into() };
    let bytes = [0, 0, 0, 2, 0xff, 0xff, 0, 2, 0, 0, 0, 2, 1, 0];
    assert_eq!(bytes_of(&plain, 1), bytes);
    assert_eq!(Plain::decode(&mut Decoder::new(&bytes), 1), Ok(plain));
    // any byte but zero is true
    let odd = [0, 0, 0, 0, 0, 0, 0, 1, 7];
    assert_eq!(Plain::decode(&mut Decoder::new(&odd), 0), Ok(Plain { codes: vec![], flags: [true].into() }));
}

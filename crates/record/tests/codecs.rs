//! What the codecs write byte by byte, what they read beyond that, and what they refuse by name.

mod common;

use common::READS_ZSTD;
use rohrpost_record::{Codec, Compression, CompressionError, Compressor, DecompressError, decompress};
use twox_hash::XxHash32;

fn compress(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let compression = Compression::new(codec, None).expect("this build has it");
    let mut out = Vec::new();
    let fits = Compressor::new().compress(compression, &mut plain.chunks(1 << 14), &mut out, usize::MAX / 2);
    assert_eq!(fits, Ok(true));
    out
}

fn read(codec: Codec, stream: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    decompress(codec, stream, &mut out, 1 << 20).map(|()| out)
}

fn refusal(codec: Codec, stream: &[u8]) -> String {
    read(codec, stream).expect_err("refused").to_string()
}

/// Bytes that nothing compresses, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(len)
    .collect()
}

fn codecs() -> impl Iterator<Item = Codec> {
    Codec::ALL.into_iter().filter(|&codec| codec != Codec::None && (codec != Codec::Zstd || READS_ZSTD))
}

#[test]
fn names_and_ids() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_id(codec.id()), Some(codec));
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Codec::ALL.map(Codec::name), ["none", "gzip", "snappy", "lz4", "zstd"]);
    assert_eq!((Codec::from_id(5), Codec::from_name("lzo")), (None, None));
}

/// CMP-2: levels that do not exist, or that this build cannot write, are refused by name
#[test]
fn levels_are_refused_by_name() {
    for (codec, level) in [
        (Codec::None, 1),
        (Codec::Snappy, 1),
        (Codec::Gzip, 0),
        (Codec::Gzip, 10),
        (Codec::Gzip, -2),
        (Codec::Lz4, 0),
        (Codec::Lz4, 18),
        (Codec::Zstd, 23),
        (Codec::Zstd, -131_073),
    ] {
        assert_eq!(Compression::new(codec, Some(level)), Err(CompressionError::Level { codec, level }));
    }
    for level in [-1, 1, 9] {
        assert_eq!(Compression::new(Codec::Gzip, Some(level)).expect("a level").level(), Some(level));
    }
    // lz4's 9 is the fast compressor, which every build has
    assert_eq!(Compression::new(Codec::Lz4, None).expect("lz4").level(), Some(9));
    assert!(Compression::new(Codec::Lz4, Some(9)).is_ok());
    for level in [1, 8, 10, 17] {
        let made = Compression::new(Codec::Lz4, Some(level));
        if cfg!(feature = "lz4-hc") {
            assert!(made.is_ok());
        } else {
            assert!(made.expect_err("needs the C library").to_string().contains("`lz4-hc`"));
        }
    }
    let (any_level, default) = (Compression::new(Codec::Zstd, Some(3)), Compression::new(Codec::Zstd, None));
    if cfg!(feature = "zstd") {
        assert!(any_level.is_ok() && default.is_ok());
        assert!(
            Compression::new(Codec::Zstd, Some(-131_072)).is_ok()
                && Compression::new(Codec::Zstd, Some(22)).is_ok()
        );
    } else {
        assert!(any_level.expect_err("needs the C library").to_string().contains("`zstd`"));
        if cfg!(feature = "zstd-rust") {
            assert_eq!(default.expect("one level").level(), Some(3));
        } else {
            assert!(default.expect_err("needs a library").to_string().contains("`zstd`"));
            assert_eq!(
                read(Codec::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0]),
                Err(DecompressError::Feature { codec: Codec::Zstd, feature: "zstd" })
            );
        }
    }
}

/// CMP-6; zstd in Rust alone also writes a checksum
#[test]
fn incompressible_bytes_grow_as_little_as_in_kafka() {
    let plain = noise(200_000);
    for codec in codecs() {
        let stream = compress(codec, &plain);
        let growth = stream.len() - plain.len();
        match codec {
            Codec::Gzip => assert!(growth <= 83, "{growth}"),
            Codec::Snappy => assert!((80..=90).contains(&growth), "{growth}"),
            Codec::Lz4 => assert_eq!(growth, 27),
            _ => assert!(growth <= 19, "{growth}"),
        }
        assert_eq!(read(codec, &stream).expect("reads"), plain);
    }
}

/// CMP-2
#[test]
fn lz4_frames_have_independent_blocks_and_no_checksums() {
    let plain = [&noise(65_536)[..], &[7; 70_000]].concat();
    let stream = compress(Codec::Lz4, &plain);
    assert_eq!(stream[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    assert_eq!(
        stream[..7],
        [&[4, 0x22, 0x4d, 0x18, 0x60, 0x40][..], &[(XxHash32::oneshot(0, &[0x60, 0x40]) >> 8) as u8]]
            .concat()
    );
    // what does not get smaller is stored
    assert_eq!(stream[7..11], (65_536u32 | 1 << 31).to_le_bytes());
    assert_eq!(stream[11..11 + 65_536], plain[..65_536]);
    let second = u32::from_le_bytes(stream[65_547..65_551].try_into().expect("four bytes"));
    assert!(second < 1000, "{second}");
    assert_eq!(stream[stream.len() - 4..], [0; 4]);
    assert_eq!(read(Codec::Lz4, &stream).expect("reads"), plain);
}

fn lz4_frame(flg: u8, bd: u8, extra: &[u8], body: &[u8]) -> Vec<u8> {
    let descriptor = [&[flg, bd][..], extra].concat();
    let checksum = (XxHash32::oneshot(0, &descriptor) >> 8) as u8;
    [&[4, 0x22, 0x4d, 0x18][..], &descriptor, &[checksum], body].concat()
}

/// CMP-2
#[test]
fn lz4_frames_of_other_writers_are_read_and_their_checksums_believed_only_if_right() {
    let stored = |data: &[u8]| [&(data.len() as u32 | 1 << 31).to_le_bytes()[..], data].concat();
    let hash = |data: &[u8]| XxHash32::oneshot(0, data).to_le_bytes();
    let end = [0; 4];
    let plain = frame(0x60, &[]);
    assert_eq!(read(Codec::Lz4, &plain).expect("reads"), b"abc");
    assert_eq!(read(Codec::Lz4, &frame(0x68, &3u64.to_le_bytes())).expect("with content size"), b"abc");
    for (bd, len) in [(0x40, 64 << 10), (0x50, 256 << 10), (0x60, 1 << 20), (0x70, 1 << 20)] {
        let body = [&stored(&vec![1; len])[..], &end].concat();
        assert_eq!(read(Codec::Lz4, &lz4_frame(0x60, bd, &[], &body)).expect("block sizes").len(), len);
    }
    let checked = [&stored(b"abc")[..], &hash(b"abc"), &end, &hash(b"abc")].concat();
    assert_eq!(read(Codec::Lz4, &lz4_frame(0x74, 0x40, &[], &checked)).expect("with checksums"), b"abc");

    for (flg, bd, extra, body, why) in [
        (0x40, 0x40, &[][..], stored(b"abc"), "dependent blocks"),
        (0x61, 0x40, &[], stored(b"abc"), "reserved bits"),
        (0x62, 0x40, &[], stored(b"abc"), "reserved bits"),
        (0x60, 0x41, &[], stored(b"abc"), "reserved bits"),
        (0x60, 0xc0, &[], stored(b"abc"), "reserved bits"),
        (0x60, 0x30, &[], stored(b"abc"), "block size"),
        (0xa0, 0x40, &[], stored(b"abc"), "version"),
        (0x60, 0x40, &[], stored(&[0; 65_537]), "larger than the frame allows"),
        (0x60, 0x40, &[], stored(b"abc"), "cut short"),
        (0x60, 0x40, &[], [&stored(b"abc")[..], &end, &[1]].concat(), "bytes follow"),
        (0x60, 0x40, &[], [&stored(b"abc")[..], &end, &plain].concat(), "bytes follow"),
        (0x68, 0x40, &4u64.to_le_bytes()[..], [&stored(b"abc")[..], &end].concat(), "content size"),
        (0x70, 0x40, &[], [&stored(b"abc")[..], &hash(b"abd"), &end].concat(), "block's checksum"),
        (0x64, 0x40, &[], [&stored(b"abc")[..], &end, &hash(b"abd")].concat(), "content's checksum"),
    ] {
        let refused = refusal(Codec::Lz4, &lz4_frame(flg, bd, extra, &body));
        assert!(refused.contains(why), "{why}: {refused}");
    }

    fn frame(flg: u8, extra: &[u8]) -> Vec<u8> {
        lz4_frame(flg, 0x40, extra, &[&(3u32 | 1 << 31).to_le_bytes()[..], b"abc", &[0; 4]].concat())
    }
}

/// CMP-2: the high-compression levels make it smaller, and every reader reads them
#[cfg(feature = "lz4-hc")]
#[test]
fn lz4_high_compression_compresses_better() {
    let plain: Vec<u8> = noise(64 << 10).iter().map(|byte| byte & 3).collect();
    let at = |level| {
        let mut out = Vec::new();
        let compression = Compression::new(Codec::Lz4, Some(level)).expect("a level");
        Compressor::new()
            .compress(compression, &mut std::iter::once(&plain[..]), &mut out, 1 << 20)
            .expect("compresses");
        assert_eq!(read(Codec::Lz4, &out).expect("reads"), plain);
        out.len()
    };
    assert!(at(17) < at(9));
}

/// CMP-3
#[test]
fn snappy_is_framed_and_also_read_raw() {
    let plain = [&noise(32_768)[..], b"the next block"].concat();
    let stream = compress(Codec::Snappy, &plain);
    assert_eq!(stream[..16], [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    let first = i32::from_be_bytes(stream[16..20].try_into().expect("four bytes")) as usize;
    let second = &stream[20 + first..];
    assert_eq!(second[..4], (second.len() as i32 - 4).to_be_bytes());
    assert_eq!(read(Codec::Snappy, &stream).expect("reads"), plain);

    let raw = snap::raw::Encoder::new().compress_vec(&plain).expect("compresses");
    assert_eq!(read(Codec::Snappy, &raw).expect("raw"), plain);
    // streams in a row, as xerial's reader takes them
    assert_eq!(
        read(Codec::Snappy, &[&stream[..], &stream].concat()).expect("two streams"),
        [&plain[..], &plain].concat()
    );
    // no block, no records: a header alone
    assert_eq!(read(Codec::Snappy, &stream[..16]).expect("nothing"), b"");
    for (bytes, why) in [
        (stream[..18].to_vec(), "cut short"),
        (stream[..stream.len() - 1].to_vec(), "longer than the stream"),
        ([&stream[..16], &[0x80, 0, 0, 0]].concat(), "longer than the stream"),
        ([&stream[..12], &[0, 0, 0, 0], &stream[16..]].concat(), "version"),
        (vec![], "than it can hold"),
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], "than it can hold"),
    ] {
        let refused = refusal(Codec::Snappy, &bytes);
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

#[test]
fn gzip_members_have_optional_fields() {
    let plain = b"some text, some text, some text";
    let stream = compress(Codec::Gzip, plain);
    assert_eq!(stream[..4], [0x1f, 0x8b, 8, 0]);
    assert_eq!(read(Codec::Gzip, &[&stream[..], &stream].concat()).expect("two members"), plain.repeat(2));
    let mut header = stream[..10].to_vec();
    header[3] = 0x1e;
    header.extend_from_slice(&[3, 0, 1, 2, 3]);
    header.extend_from_slice(b"name\0comment\0");
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    header.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
    assert_eq!(read(Codec::Gzip, &[&header[..], &stream[10..]].concat()).expect("all fields"), plain);
    let last = header.len() - 1;
    header[last] ^= 1;
    assert!(refusal(Codec::Gzip, &[&header[..], &stream[10..]].concat()).contains("header's checksum"));
    let len = stream.len();
    for (at, why) in
        [(2, "not deflate"), (3, "reserved flags"), (len - 8, "the checksum"), (len - 1, "the size")]
    {
        let mut damaged = stream.clone();
        damaged[at] ^= 0x80;
        let refused = refusal(Codec::Gzip, &damaged);
        assert!(refused.contains(why), "{why}: {refused}");
    }
    assert!(refusal(Codec::Gzip, &[&stream[..], b"garbage"].concat()).contains("cut short"));
    for cut in 0..len {
        assert!(read(Codec::Gzip, &stream[..cut]).is_err(), "{cut}");
    }
}

#[cfg(any(feature = "zstd", feature = "zstd-rust"))]
#[test]
fn zstd_frames_say_no_content_size_and_may_follow_each_other() {
    let plain = b"some text, some text, some text".repeat(100);
    let stream = compress(Codec::Zstd, &plain);
    assert_eq!(stream[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    // neither content size nor single segment, and no dictionary
    assert_eq!(stream[4] & 0xe3, 0, "{:#04x}", stream[4]);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let frames = [&stream[..], &skippable, &stream].concat();
    assert_eq!(read(Codec::Zstd, &frames).expect("three frames"), plain.repeat(2));
    for (bytes, why) in [
        (stream[..stream.len() - 1].to_vec(), "cut short"),
        (skippable[..10].to_vec(), "cut short"),
        ([&stream[..], b"garbage"].concat(), "no frame begins"),
        // a window of 2 GiB, a dictionary, a reserved bit, a content size beyond what the blocks hold
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1, 0, 0], "window"),
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 0, 1, 0, 0], "dictionary"),
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0x08, 0x58, 1, 0, 0], "reserved bit"),
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, 9, 1, 0, 0], "more bytes than its blocks"),
    ] {
        let refused = refusal(Codec::Zstd, &bytes);
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

/// CMP-9: compression runs on threads of its own
#[test]
fn compressors_move_between_threads() {
    let mut compressor = Compressor::new();
    let plain = b"one after the other".repeat(50);
    for codec in codecs() {
        let compression = Compression::new(codec, None).expect("this build has it");
        let mut stream = Vec::new();
        let fits = compressor.compress(compression, &mut std::iter::once(&plain[..]), &mut stream, 1 << 20);
        assert_eq!(fits, Ok(true));
        let (back, read_there) =
            std::thread::spawn(move || (compressor, read(codec, &stream))).join().expect("no panic");
        compressor = back;
        assert_eq!(read_there.expect("reads"), plain);
    }
}

/// REC-7
#[test]
fn a_limit_is_kept_to_the_byte() {
    let plain = b"0123456789".repeat(10_000);
    for codec in codecs() {
        let stream = compress(codec, &plain);
        let mut out = Vec::new();
        assert_eq!(decompress(codec, &stream, &mut out, plain.len()), Ok(()), "{codec}");
        assert_eq!(out, plain, "{codec}");
        for limit in [plain.len() - 1, 1000, 0] {
            // with room left over from before, too
            for mut out in [Vec::new(), Vec::with_capacity(plain.len() * 2)] {
                let refused = decompress(codec, &stream, &mut out, limit);
                assert_eq!(refused, Err(DecompressError::TooLarge { codec, limit }), "{codec}");
            }
        }
    }
    assert_eq!(
        decompress(Codec::None, b"ab", &mut Vec::new(), 1),
        Err(DecompressError::TooLarge { codec: Codec::None, limit: 1 })
    );
}

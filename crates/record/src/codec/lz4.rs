//! The lz4 frame format; the frame is ours, the blocks are the library's.
//!
//! Written as Kafka writes it (CMP-2): independent blocks of up to 64 KiB, no content size, no checksums but the header's. A block
//! that compression would not make smaller is stored. Level 9, Kafka's default, is the fast compressor; all other levels are the
//! high-compression one, which only the C library has (feature `lz4-hc`).
//!
//! Reads one frame with any block size, with or without content size, block checksums and content checksum, all of which are
//! verified. Dependent blocks, dictionaries and reserved bits are refused.

use std::convert::Infallible;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use twox_hash::XxHash32;

use super::{Fault, Sink, for_each_block, grow};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Magic, version 1 with independent blocks, blocks of 64 KiB, and the second byte of XXH32 over those two.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const END_MARK: [u8; 4] = [0; 4];
const STORED: u32 = 1 << 31;
const BLOCK_LEN: usize = 64 * 1024;
#[cfg(not(feature = "lz4-hc"))]
const FAST_LEVEL: i32 = 9;

// the FLG byte
const VERSION_MASK: u8 = 0xc0;
const VERSION: u8 = 0x40;
const INDEPENDENT: u8 = 0x20;
const BLOCK_CHECKSUM: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const FLG_RESERVED: u8 = 0x03;
// the BD byte
const BD_RESERVED: u8 = 0x8f;

/// The Cargo feature that `level` needs and this build lacks.
pub(super) fn missing_feature(level: Option<i32>) -> Option<&'static str> {
    #[cfg(not(feature = "lz4-hc"))]
    if level.is_some_and(|level| level != FAST_LEVEL) {
        return Some("lz4-hc");
    }
    let _ = level;
    None
}

pub(super) struct Writer {
    table: CompressTable,
    gathered: Vec<u8>,
    block: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Writer {
            table: CompressTable::default(),
            gathered: Vec::new(),
            block: vec![0; get_maximum_output_size(BLOCK_LEN)],
        }
    }

    pub(super) fn write(
        &mut self,
        level: Option<i32>,
        input: &mut dyn Iterator<Item = &[u8]>,
        sink: &mut Sink<'_>,
    ) -> Result<bool, String> {
        if !sink.push(&HEADER) {
            return Ok(false);
        }
        let (table, block) = (&mut self.table, &mut self.block);
        let written = for_each_block(input, &mut self.gathered, BLOCK_LEN, |plain| {
            let len = compress_block(level, plain, block, table);
            // CMP-2: stored unless smaller
            Ok::<bool, Infallible>(if len < plain.len() {
                sink.push(&(len as u32).to_le_bytes()) && sink.push(&block[..len])
            } else {
                sink.push(&(plain.len() as u32 | STORED).to_le_bytes()) && sink.push(plain)
            })
        });
        match written {
            Ok(written) => Ok(written && sink.push(&END_MARK)),
            Err(never) => match never {},
        }
    }
}

/// The bytes that `plain` took in `block`; its own length if it did not fit.
fn compress_block(level: Option<i32>, plain: &[u8], block: &mut [u8], table: &mut CompressTable) -> usize {
    #[cfg(feature = "lz4-hc")]
    if let Some(level) = level.filter(|&level| level != 9) {
        let mode = ::lz4::block::CompressionMode::HIGHCOMPRESSION(level);
        return ::lz4::block::compress_to_buffer(plain, Some(mode), false, block).unwrap_or(plain.len());
    }
    let _ = level;
    compress_into_with_table(plain, block, table).unwrap_or(plain.len())
}

struct Frame {
    block_len_max: usize,
    block_checksum: bool,
    content_size: Option<u64>,
    content_checksum: bool,
}

pub(super) fn read(input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    let (frame, mut rest) = read_header(input)?;
    if frame.content_size.is_some_and(|size| size > limit as u64) {
        return Err(Fault::TooLarge);
    }
    loop {
        let head = take_u32(&mut rest).ok_or(Fault::corrupt("a block's length is cut short"))?;
        if head == 0 {
            break;
        }
        let len = (head & !STORED) as usize;
        if len > frame.block_len_max {
            return Err(Fault::corrupt("a block is larger than the frame allows"));
        }
        let Some((block, after)) = rest.split_at_checked(len) else {
            return Err(Fault::corrupt("a block is longer than the stream"));
        };
        rest = after;
        if frame.block_checksum && take_u32(&mut rest) != Some(XxHash32::oneshot(0, block)) {
            return Err(Fault::corrupt("a block's checksum is wrong"));
        }
        if head & STORED != 0 {
            if len > limit - out.len() {
                return Err(Fault::TooLarge);
            }
            grow(out, len, limit);
            out.extend_from_slice(block);
        } else {
            read_block(block, frame.block_len_max, out, limit)?;
        }
    }
    if frame.content_checksum && take_u32(&mut rest) != Some(XxHash32::oneshot(0, out)) {
        return Err(Fault::corrupt("the content's checksum is wrong"));
    }
    if frame.content_size.is_some_and(|size| size != out.len() as u64) {
        return Err(Fault::corrupt("the frame's content size is wrong"));
    }
    // Kafka's reader stops here; what it would not see must not be there
    if !rest.is_empty() {
        return Err(Fault::corrupt("bytes follow the frame"));
    }
    Ok(())
}

fn read_header(input: &[u8]) -> Result<(Frame, &[u8]), Fault> {
    const CUT: Fault = Fault::corrupt("the frame header is cut short");
    let rest = input.strip_prefix(&MAGIC).ok_or(Fault::corrupt("no frame begins here"))?;
    let descriptor = rest;
    let (&[flg, bd], mut rest) = rest.split_first_chunk::<2>().ok_or(CUT)?;
    if flg & VERSION_MASK != VERSION {
        return Err(Fault::corrupt("the frame's version is not 1"));
    }
    if flg & INDEPENDENT == 0 {
        return Err(Fault::corrupt("dependent blocks are not supported"));
    }
    // bit 0 announces a dictionary, which nobody could have
    if flg & FLG_RESERVED != 0 || bd & BD_RESERVED != 0 {
        return Err(Fault::corrupt("reserved bits are set"));
    }
    let block_len_max = match bd >> 4 {
        size @ 4..=7 => 1usize << (8 + 2 * u32::from(size)),
        _ => return Err(Fault::corrupt("there is no such block size")),
    };
    let content_size = if flg & CONTENT_SIZE != 0 {
        let (size, after) = rest.split_first_chunk::<8>().ok_or(CUT)?;
        rest = after;
        Some(u64::from_le_bytes(*size))
    } else {
        None
    };
    let descriptor = &descriptor[..descriptor.len() - rest.len()];
    let (&checksum, rest) = rest.split_first().ok_or(CUT)?;
    if checksum != (XxHash32::oneshot(0, descriptor) >> 8) as u8 {
        return Err(Fault::corrupt("the frame header's checksum is wrong"));
    }
    let frame = Frame {
        block_len_max,
        block_checksum: flg & BLOCK_CHECKSUM != 0,
        content_size,
        content_checksum: flg & CONTENT_CHECKSUM != 0,
    };
    Ok((frame, rest))
}

/// Appends what a compressed block holds.
fn read_block(block: &[u8], block_len_max: usize, out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    let start = out.len();
    // a byte makes 255 at most, so a short block needs no large room
    let possible = block_len_max.min(block.len().saturating_mul(255).saturating_add(64));
    let room = possible.min(limit - start);
    grow(out, room, limit);
    out.resize(start + room, 0);
    match decompress_into(block, &mut out[start..]) {
        Ok(len) => {
            out.truncate(start + len);
            Ok(())
        }
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if room < possible => {
            Err(Fault::TooLarge)
        }
        Err(_) => Err(Fault::corrupt("a block is damaged")),
    }
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*bytes))
}

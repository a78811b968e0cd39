//! snappy in the framing of the xerial library, which is what Kafka writes: a header of 16 bytes, then blocks of a length (int32,
//! big-endian) and raw snappy of up to 32 KiB. The block format itself is the library's.
//!
//! Raw snappy without the framing is read too: other clients wrote it (CMP-3).

use super::{Fault, Sink, for_each_block, grow};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, then version 1 and the oldest version that can read it, 1.
const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK_LEN: usize = 32 * 1024;
/// A copy of two bytes makes 64 at most; a few more for short inputs.
const RATIO_MAX: usize = 32;

pub(super) struct Writer {
    encoder: snap::raw::Encoder,
    gathered: Vec<u8>,
    block: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Writer {
            encoder: snap::raw::Encoder::new(),
            gathered: Vec::new(),
            block: vec![0; snap::raw::max_compress_len(BLOCK_LEN)],
        }
    }

    pub(super) fn write(&mut self, input: &mut dyn Iterator<Item = &[u8]>, sink: &mut Sink<'_>) -> bool {
        // CMP-3: always the header
        if !sink.push(&HEADER) {
            return false;
        }
        let (encoder, block) = (&mut self.encoder, &mut self.block);
        let written = for_each_block(input, &mut self.gathered, BLOCK_LEN, |plain| {
            let len = encoder.compress(plain, block)?;
            Ok::<bool, snap::Error>(sink.push(&(len as i32).to_be_bytes()) && sink.push(&block[..len]))
        });
        // the encoder's only errors are of buffers that are too small
        written.expect("a block buffer takes every block of 32 KiB")
    }
}

pub(super) fn read(input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    let Some((header, mut rest)) = input.split_first_chunk::<16>().filter(|(header, _)| header[..8] == MAGIC)
    else {
        return read_block(input, out, limit);
    };
    check_version(header)?;
    while !rest.is_empty() {
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            return Err(Fault::corrupt("a block's length is cut short"));
        };
        // streams may stand one after the other: each begins with a header, whose first bytes are no possible length
        if *length == MAGIC[..4] {
            let Some((header, after)) =
                rest.split_first_chunk::<16>().filter(|(header, _)| header[..8] == MAGIC)
            else {
                return Err(Fault::corrupt("a header is cut short"));
            };
            check_version(header)?;
            rest = after;
            continue;
        }
        let block =
            usize::try_from(i32::from_be_bytes(*length)).ok().and_then(|len| after.split_at_checked(len));
        let Some((block, after)) = block else {
            return Err(Fault::corrupt("a block is longer than the stream"));
        };
        read_block(block, out, limit)?;
        rest = after;
    }
    Ok(())
}

fn check_version(header: &[u8; 16]) -> Result<(), Fault> {
    let readable_since = i32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    if readable_since < 1 {
        return Err(Fault::corrupt("the stream's version is not supported"));
    }
    Ok(())
}

/// Appends what one raw block holds. Its stated length is believed only as far as the block can make it.
fn read_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    let len =
        snap::raw::decompress_len(block).map_err(|_| Fault::corrupt("a block's stated length is damaged"))?;
    if block.is_empty() || len > block.len().saturating_mul(RATIO_MAX) {
        return Err(Fault::corrupt("a block states more bytes than it can hold"));
    }
    let start = out.len();
    if len > limit - start {
        return Err(Fault::TooLarge);
    }
    grow(out, len, limit);
    out.resize(start + len, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(|_| Fault::corrupt("a block is damaged"))?;
    if written != len {
        return Err(Fault::corrupt("a block holds fewer bytes than it states"));
    }
    Ok(())
}

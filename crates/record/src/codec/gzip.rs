//! gzip (RFC 1952): deflate is the library's, the member around it ours, so that every byte of it is accounted for.
//!
//! Writes one member; reads several in a row, with any of the optional header fields. Checksum and size of each are verified.

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Fault, Sink, grow};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
const FHCRC: u8 = 0x02;
const FEXTRA: u8 = 0x04;
const FNAME: u8 = 0x08;
const FCOMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;
/// No time, no flags, the system unknown.
const HEADER: [u8; 10] = [MAGIC[0], MAGIC[1], DEFLATE, 0, 0, 0, 0, 0, 0, 0xff];
const TRAILER_LEN: usize = 8;
/// Deflate makes at most this many bytes out of one.
const RATIO_MAX: usize = 1032;

pub(super) struct Writer {
    deflate: Option<(i32, Compress)>,
}

impl Writer {
    pub(super) const fn new() -> Self {
        Writer { deflate: None }
    }

    pub(super) fn write(
        &mut self,
        level: Option<i32>,
        input: &mut dyn Iterator<Item = &[u8]>,
        sink: &mut Sink<'_>,
    ) -> Result<bool, String> {
        let level = level.unwrap_or(-1);
        let deflate = match &mut self.deflate {
            Some((of, deflate)) if *of == level => {
                deflate.reset();
                deflate
            }
            slot => {
                let flate_level = u32::try_from(level)
                    .map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
                &mut slot.insert((level, Compress::new(flate_level, false))).1
            }
        };
        if !sink.push(&HEADER) {
            return Ok(false);
        }
        let mut crc = Crc::new();
        for piece in input {
            crc.update(piece);
            let mut rest = piece;
            while !rest.is_empty() {
                if !sink.make_room() {
                    return Ok(false);
                }
                let before = deflate.total_in();
                deflate.compress_vec(rest, sink.out, FlushCompress::None).map_err(|e| e.to_string())?;
                rest = &rest[(deflate.total_in() - before) as usize..];
            }
        }
        loop {
            if !sink.make_room() {
                return Ok(false);
            }
            if deflate.compress_vec(&[], sink.out, FlushCompress::Finish).map_err(|e| e.to_string())?
                == Status::StreamEnd
            {
                break;
            }
        }
        Ok(sink.push(&crc.sum().to_le_bytes()) && sink.push(&crc.amount().to_le_bytes()))
    }
}

pub(super) fn read(input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    // the size that the last trailer states is a hint and no more
    if let Some(size) = input.last_chunk::<4>() {
        let hint = (u32::from_le_bytes(*size) as usize).min(input.len().saturating_mul(RATIO_MAX)).min(limit);
        out.reserve_exact(hint);
    }
    let mut inflate = Decompress::new(false);
    let mut rest = input;
    loop {
        rest = skip_header(rest)?;
        rest = read_member(&mut inflate, rest, out, limit)?;
        if rest.is_empty() {
            return Ok(());
        }
        inflate.reset(false);
    }
}

/// Inflates one member after its header; returns what follows its trailer.
fn read_member<'a>(
    inflate: &mut Decompress,
    mut rest: &'a [u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<&'a [u8], Fault> {
    let start = out.len();
    loop {
        if out.len() == out.capacity() {
            if out.len() > limit {
                return Err(Fault::TooLarge);
            }
            // one byte of room beyond the limit shows whether more would come
            grow(out, 1, limit.saturating_add(1));
        }
        let (before_in, before_out) = (inflate.total_in(), out.len());
        let status = inflate
            .decompress_vec(rest, out, FlushDecompress::None)
            .map_err(|_| Fault::corrupt("the deflate stream is damaged"))?;
        let used = (inflate.total_in() - before_in) as usize;
        rest = &rest[used..];
        if out.len() > limit {
            return Err(Fault::TooLarge);
        }
        if status == Status::StreamEnd {
            break;
        }
        if used == 0 && out.len() == before_out && out.len() < out.capacity() {
            return Err(Fault::corrupt("the deflate stream is cut short"));
        }
    }
    let Some((trailer, rest)) = rest.split_first_chunk::<TRAILER_LEN>() else {
        return Err(Fault::corrupt("the trailer is cut short"));
    };
    let mut crc = Crc::new();
    crc.update(&out[start..]);
    if trailer[..4] != crc.sum().to_le_bytes() {
        return Err(Fault::corrupt("the checksum is wrong"));
    }
    if trailer[4..] != crc.amount().to_le_bytes() {
        return Err(Fault::corrupt("the size in the trailer is wrong"));
    }
    Ok(rest)
}

fn skip_header(input: &[u8]) -> Result<&[u8], Fault> {
    const CUT: Fault = Fault::corrupt("the header is cut short");
    let Some((fixed, mut rest)) = input.split_first_chunk::<10>() else {
        return Err(CUT);
    };
    if fixed[..2] != MAGIC {
        return Err(Fault::corrupt("no gzip member begins here"));
    }
    if fixed[2] != DEFLATE {
        return Err(Fault::corrupt("the compression method is not deflate"));
    }
    let flags = fixed[3];
    if flags & RESERVED != 0 {
        return Err(Fault::corrupt("reserved flags are set"));
    }
    if flags & FEXTRA != 0 {
        let (len, after) = rest.split_first_chunk::<2>().ok_or(CUT)?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..).ok_or(CUT)?;
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|&byte| byte == 0).ok_or(CUT)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & FHCRC != 0 {
        let mut crc = Crc::new();
        crc.update(&input[..input.len() - rest.len()]);
        let (stated, after) = rest.split_first_chunk::<2>().ok_or(CUT)?;
        if *stated != (crc.sum() as u16).to_le_bytes() {
            return Err(Fault::corrupt("the header's checksum is wrong"));
        }
        rest = after;
    }
    Ok(rest)
}

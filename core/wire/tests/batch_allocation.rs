//! Opening a batch costs memory in proportion to its bytes and to what really comes out of them, whatever they say, and
//! never much beyond the caller's limit.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

use buslane_wire::batch::{
    BatchBuilder, BatchHeader, BatchRecords, Compression, Compressor, DecompressError, Decompressor,
    HEADER_LEN, NewRecord, RecordError,
};
use proptest::prelude::*;

/// Counts what the current thread has allocated, and the most it ever had at once. The contexts of zstd are C's own and
/// do not count here.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is being torn down no longer counts.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    // `realloc` is the default one, alloc, copy and dealloc: the old and the new block count together.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` had allocated at once, and what it gave.
fn peak_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    ((PEAK.get() - before) as usize, result)
}

/// A vector that grows holds its old and its new block at once.
const GROWTH: usize = 2;

/// What a codec's state takes, and the room that a first try of zstd gets.
const CONTEXT: usize = 256 << 10;

const PACKED: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn pack(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new().compress(codec, None, bytes, &mut out);
    out
}

fn unpack(codec: Compression, bytes: &[u8], limit: usize) -> (usize, Result<usize, DecompressError>) {
    peak_of(|| {
        let mut out = Vec::new();
        Decompressor::new().decompress(codec, bytes, limit, &mut out).map(|()| out.len())
    })
}

#[test]
fn bombs_of_every_codec_cost_no_more_than_the_limit() {
    const LIMIT: usize = 1 << 20;
    let zeros = vec![0; 64 << 20];
    let mut bombs: Vec<_> = PACKED.map(|codec| (codec, pack(codec, &zeros))).into();
    bombs.push((Compression::Snappy, snap::raw::Encoder::new().compress_vec(&zeros).unwrap()));
    bombs.push((Compression::Gzip, pack(Compression::Gzip, &zeros[..64 << 10]).repeat(1000)));
    bombs.push((Compression::Zstd, zstd::stream::encode_all(&zeros[..], 3).unwrap()));
    bombs.push((Compression::Zstd, pack(Compression::Zstd, &zeros[..64 << 10]).repeat(1000)));
    for (codec, bomb) in bombs {
        let refusal = DecompressError::TooLarge { limit: LIMIT, compressed: bomb.len() };
        let (peak, result) = unpack(codec, &bomb, LIMIT);
        assert_eq!(result, Err(refusal.clone()), "{codec}");
        assert!(peak <= GROWTH * LIMIT + CONTEXT, "{codec}, {} bytes: {peak}", bomb.len());

        // The same as a batch.
        let header = BatchHeader {
            batch_length: (HEADER_LEN - 12 + bomb.len()) as i32,
            attributes: codec as i16,
            record_count: 1,
            ..BatchHeader::default()
        };
        let batch = [&header.encode()[..], &bomb].concat();
        let (peak, result) = peak_of(|| BatchRecords::open(&batch, LIMIT).map(drop));
        assert_eq!(result, Err(RecordError::Decompress(refusal)), "{codec}");
        assert!(peak <= GROWTH * LIMIT + CONTEXT, "{codec}, {} bytes: {peak}", bomb.len());
    }
}

/// With a limit far above everything, only what comes out counts.
#[test]
fn claims_cost_nothing() {
    const LIMIT: usize = 1 << 34;
    // gzip: the trailer's size.
    let mut gzip = pack(Compression::Gzip, b"little");
    let at = gzip.len() - 4;
    gzip[at..].copy_from_slice(&[0xff; 4]);
    // snappy: a block's length, in either framing.
    let snappy = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let xerial = [&pack(Compression::Snappy, b"")[..], &[0, 0, 0, 6], &snappy].concat();
    // lz4: blocks of 4 MiB, and a content size of 1 GiB under a true checksum.
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max4MB)
        .content_size(Some(6));
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(b"little").unwrap();
    let mut lz4 = encoder.finish().unwrap();
    lz4[6..14].copy_from_slice(&(1u64 << 30).to_le_bytes());
    lz4[14] = (twox_hash::XxHash32::oneshot(0, &lz4[4..14]) >> 8) as u8;
    // zstd: a window of 128 MiB; a content size of 1 GiB over one raw block of six bytes, the frame's last.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(b"little").unwrap();
    let window = encoder.finish().unwrap();
    let size = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000][..],
        &(1u32 << 30).to_le_bytes(),
        &[6 << 3 | 1, 0, 0],
        b"little",
    ]
    .concat();
    for (codec, bytes, valid) in [
        (Compression::Gzip, gzip, false),
        (Compression::Snappy, snappy, false),
        (Compression::Snappy, xerial, false),
        (Compression::Lz4, lz4, false),
        (Compression::Zstd, window, true),
        (Compression::Zstd, size, false),
    ] {
        let (peak, result) = unpack(codec, &bytes, LIMIT);
        assert_eq!(result.is_ok(), valid, "{codec}: {result:?}");
        assert!(peak <= CONTEXT, "{codec}: {peak}");
    }
}

const PIECES: usize = 8000;

fn piece(number: usize) -> Vec<u8> {
    format!("{number:08}").repeat(20).into_bytes()
}

/// A block of a few bytes may hold 128 KiB with zstd, and 255 times its length with lz4: what they do hold counts.
#[test]
fn many_small_blocks_cost_what_they_hold() {
    const LIMIT: usize = 1 << 34;
    // A flush ends a block.
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max4MB);
    let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    let mut snappy = pack(Compression::Snappy, b"");
    let mut gzip = Vec::new();
    for number in 0..PIECES {
        zstd.write_all(&piece(number)).unwrap();
        zstd.flush().unwrap();
        lz4.write_all(&piece(number)).unwrap();
        lz4.flush().unwrap();
        let block = snap::raw::Encoder::new().compress_vec(&piece(number)).unwrap();
        snappy.extend((block.len() as i32).to_be_bytes());
        snappy.extend(block);
        gzip.extend(pack(Compression::Gzip, &piece(number)));
    }
    let streams = [
        (Compression::Zstd, zstd.finish().unwrap()),
        (Compression::Lz4, lz4.finish().unwrap()),
        (Compression::Snappy, snappy),
        (Compression::Gzip, gzip),
    ];
    let expected = PIECES * piece(0).len();
    for (codec, bytes) in streams {
        let (peak, result) = unpack(codec, &bytes, LIMIT);
        assert_eq!(result, Ok(expected), "{codec}");
        let bound = 4 * expected + 8 * bytes.len() + CONTEXT;
        assert!(peak <= bound, "{codec}, {} bytes: {peak} for {expected}", bytes.len());
    }
}

/// Growing to fit each chunk would copy everything once for each.
#[test]
fn room_for_many_small_chunks_is_doubled() {
    let block = snap::raw::Encoder::new().compress_vec(b"x").unwrap();
    let chunk = [&(block.len() as i32).to_be_bytes()[..], &block].concat();
    let snappy = [pack(Compression::Snappy, b""), chunk.repeat(100_000)].concat();
    let mut out = Vec::new();
    Decompressor::new().decompress(Compression::Snappy, &snappy, 1 << 20, &mut out).unwrap();
    assert_eq!((out.len(), out.capacity()), (100_000, 131_072));
}

#[test]
fn records_that_are_not_compressed_are_read_without_allocation() {
    let mut builder = BatchBuilder::default();
    for _ in 0..100 {
        builder.push(&NewRecord { key: Some(b"k"), value: Some(&[7; 1000]), ..NewRecord::default() });
    }
    let mut batch = Vec::new();
    builder.finish(BatchHeader::default(), Compression::None, &mut batch);
    let (peak, read) = peak_of(|| BatchRecords::open(&batch, 1 << 20).unwrap().iter().flatten().count());
    assert_eq!((peak, read), (0, 100));

    // Nor when more is announced than there is: two thousand million records, and as many headers of the first. Length,
    // attributes, deltas, null key and value, count.
    let record = [2 * 16, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0, 0];
    let header = BatchHeader {
        batch_length: (HEADER_LEN - 12 + record.len()) as i32,
        record_count: i32::MAX,
        ..BatchHeader::default()
    };
    let lying = [&header.encode()[..], &record].concat();
    let (peak, error) = peak_of(|| {
        let opened = BatchRecords::open(&lying, 1 << 20).unwrap();
        opened.iter().next().map(|record| record.map(drop))
    });
    assert_eq!(error, Some(Err(RecordError::Malformed { number: 0, reason: "it is cut off" })));
    assert_eq!(peak, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damaged streams, the lengths in them included.
    #[test]
    fn damaged_streams_stay_within_the_bound(
        content in prop::collection::vec(any::<u8>(), 1..200),
        repeat in 1..600usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        const LIMIT: usize = 64 << 10;
        let content = content.repeat(repeat);
        for codec in PACKED {
            let mut bytes = pack(codec, &content);
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            for end in [bytes.len(), cut.index(bytes.len())] {
                let (peak, result) = unpack(codec, &bytes[..end], LIMIT);
                prop_assert!(peak <= GROWTH * LIMIT + CONTEXT, "{}: {}", codec, peak);
                prop_assert!(result.is_err() || result.unwrap() <= LIMIT);
            }
        }
    }
}

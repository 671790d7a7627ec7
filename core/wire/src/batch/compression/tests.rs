use std::io::Write;

use proptest::prelude::*;

use super::*;

const PACKED: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn pack(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new().compress(codec, None, bytes, &mut out);
    out
}

fn unpack(codec: Compression, bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    Decompressor::new().decompress(codec, bytes, limit, &mut out).map(|()| out)
}

/// Bytes that compress well and cross the codecs' block sizes.
fn text(len: usize) -> Vec<u8> {
    (0..len as u32).flat_map(|i| (i / 7).to_le_bytes()).take(len).collect()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn what_was_compressed_comes_back_up_to_the_limit() {
    let (mut compressor, mut decompressor, mut out) = (Compressor::new(), Decompressor::new(), Vec::new());
    // Twice, so that each context is used again, after a success and after a refusal.
    for _ in 0..2 {
        for codec in Compression::ALL {
            for bytes in [text(400_000), noise(200_000), text(1), vec![], text(65_536), noise(32_768)] {
                let mut packed = b"before".to_vec();
                compressor.compress(codec, None, &bytes, &mut packed);
                let packed = packed.strip_prefix(b"before").expect("appended");
                decompressor.decompress(codec, packed, bytes.len(), &mut out).unwrap();
                assert_eq!(out, bytes, "{codec} of {}", bytes.len());
                if !bytes.is_empty() {
                    let refused = decompressor.decompress(codec, packed, bytes.len() - 1, &mut out);
                    let limit = bytes.len() - 1;
                    let expected = DecompressError::TooLarge { limit, compressed: packed.len() };
                    assert_eq!(refused, Err(expected), "{codec} of {}", bytes.len());
                }
            }
        }
    }
}

#[test]
fn levels_count_and_those_beyond_the_scale_are_its_ends() {
    let bytes = text(300_000);
    for codec in [Compression::Gzip, Compression::Zstd] {
        let mut compressor = Compressor::new();
        let mut len_at = |level| {
            let mut packed = Vec::new();
            compressor.compress(codec, level, &bytes, &mut packed);
            assert_eq!(unpack(codec, &packed, bytes.len()).unwrap(), bytes);
            packed.len()
        };
        let lens = [Some(i32::MIN), Some(1), None, Some(9), Some(i32::MAX)].map(&mut len_at);
        assert!(lens[0] > lens[3], "{codec}: {lens:?}");
        // The context made for another level does not stick.
        assert_eq!(len_at(Some(1)), lens[1], "{codec}");
    }
}

#[test]
fn a_cut_is_noticed_wherever_it_is() {
    let bytes = [text(150_000), noise(1000)].concat();
    for codec in PACKED {
        let packed = pack(codec, &bytes);
        for end in (0..packed.len()).step_by(97).chain(packed.len() - 40..packed.len()) {
            match unpack(codec, &packed[..end], 1 << 20) {
                Err(DecompressError::Malformed { .. }) => {}
                // snappy-java's chunks have no end mark: cut between two, they are a shorter stream.
                Ok(short) if codec == Compression::Snappy => assert!(bytes.starts_with(&short)),
                other => panic!("{codec} cut at {end}: {:?}", other.map(|o| o.len())),
            }
        }
    }
}

#[test]
fn damaged_bytes_never_panic_and_never_exceed_the_limit() {
    let bytes = text(3_000);
    for codec in PACKED {
        let packed = pack(codec, &bytes);
        for at in 0..packed.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = packed.clone();
                damaged[at] ^= change;
                if let Ok(out) = unpack(codec, &damaged, 10_000) {
                    assert!(out.len() <= 10_000);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..3000), repeat in 1..40usize) {
        let bytes = bytes.repeat(repeat);
        for codec in Compression::ALL {
            prop_assert_eq!(&unpack(codec, &pack(codec, &bytes), bytes.len()), &Ok(bytes.clone()));
        }
    }

    #[test]
    fn any_bytes_decompress_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), headed in any::<bool>()) {
        for codec in Compression::ALL {
            let head = pack(codec, b"");
            let bytes = if headed { [&head[..], &bytes].concat() } else { bytes.clone() };
            let mut out = Vec::new();
            let done = Decompressor::new().decompress(codec, &bytes, 5_000, &mut out);
            prop_assert!(out.capacity() <= 5_001 || codec == Compression::None, "{} {}", codec, out.capacity());
            prop_assert!(done.is_err() || out.len() <= 5_000);
        }
    }
}

// -- gzip

#[test]
fn gzip_members_follow_one_another_and_their_headers_may_be_full() {
    let first = {
        let mut member = flate2::GzBuilder::new()
            .filename("name")
            .comment("comment")
            .extra(vec![1, 2, 3])
            .write(Vec::new(), flate2::Compression::best());
        member.write_all(b"first ").unwrap();
        member.finish().unwrap()
    };
    let both = [first, pack(Compression::Gzip, b"second")].concat();
    assert_eq!(unpack(Compression::Gzip, &both, 12).unwrap(), b"first second");
    assert!(matches!(unpack(Compression::Gzip, &both, 11), Err(DecompressError::TooLarge { .. })));
}

#[test]
fn gzip_trailers_are_checked() {
    let packed = pack(Compression::Gzip, b"some bytes");
    for from_end in [1, 5] {
        let mut bad = packed.clone();
        let at = bad.len() - from_end;
        bad[at] ^= 1;
        assert!(matches!(unpack(Compression::Gzip, &bad, 100), Err(DecompressError::Malformed { .. })));
    }
    let followed = [&packed[..], b"x"].concat();
    assert!(unpack(Compression::Gzip, &followed, 100).is_err());
}

#[test]
fn gzip_is_read_by_another_reader() {
    let bytes = text(100_000);
    let mut read = Vec::new();
    let packed = pack(Compression::Gzip, &bytes);
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut read).unwrap();
    assert_eq!(read, bytes);
}

// -- snappy

#[test]
fn a_raw_snappy_block_is_read_too() {
    let block = snap::raw::Encoder::new().compress_vec(&text(50_000)).unwrap();
    assert_eq!(unpack(Compression::Snappy, &block, 50_000).unwrap(), text(50_000));
    assert!(matches!(unpack(Compression::Snappy, &block, 49_999), Err(DecompressError::TooLarge { .. })));
}

#[test]
fn a_snappy_claim_alone_takes_no_memory() {
    // Five bytes that claim to hold almost 4 GiB, raw and as a chunk.
    let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let mut chunk = pack(Compression::Snappy, b"");
    chunk.extend_from_slice(&6i32.to_be_bytes());
    chunk.extend_from_slice(&raw);
    for bomb in [&raw[..], &chunk] {
        let mut out = Vec::new();
        let done = Decompressor::new().decompress(Compression::Snappy, bomb, usize::MAX >> 8, &mut out);
        assert!(matches!(done, Err(DecompressError::Malformed { .. })), "{done:?}");
        assert_eq!(out.capacity(), 0);
    }
}

#[test]
fn snappy_reaches_its_best_ratio() {
    // 22 bytes out of one: nothing honest is refused as a false claim.
    let zeros = vec![0; 1 << 20];
    let block = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    assert_eq!(unpack(Compression::Snappy, &block, zeros.len()).unwrap(), zeros);
}

// -- lz4

fn lz4_frame(bytes: &[u8], info: lz4_flex::frame::FrameInfo) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_form_of_lz4_frame_is_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
    let bytes = [text(300_000), noise(70_000), text(9)].concat();
    for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
        for sums in [false, true] {
            for stated in [None, Some(bytes.len() as u64)] {
                let info = FrameInfo::new()
                    .block_size(size)
                    .block_checksums(sums)
                    .content_checksum(sums)
                    .content_size(stated);
                let frame = lz4_frame(&bytes, info.clone());
                let out = unpack(Compression::Lz4, &frame, bytes.len());
                assert!(out.as_ref() == Ok(&bytes), "{size:?} {sums} {stated:?}: {:?}", out.err());
                let refused = unpack(Compression::Lz4, &frame, bytes.len() - 1);
                assert!(matches!(refused, Err(DecompressError::TooLarge { .. })), "{size:?}");
                let linked = lz4_frame(&bytes, info.block_mode(BlockMode::Linked));
                let reason = "its blocks depend on each other";
                let refused = Err(DecompressError::Malformed { codec: Compression::Lz4, reason });
                assert_eq!(unpack(Compression::Lz4, &linked, bytes.len()), refused);
            }
        }
    }
}

#[test]
fn an_empty_lz4_block_is_no_end_mark() {
    let frame = lz4_frame(&text(100), lz4_flex::frame::FrameInfo::new());
    let end = frame.len() - 4;
    let mut early = frame.clone();
    early.splice(end..end, [0, 0, 0, 0x80]);
    let reason = "an empty block stands before the end mark";
    let refused = Err(DecompressError::Malformed { codec: Compression::Lz4, reason });
    assert_eq!(unpack(Compression::Lz4, &early, 1 << 20), refused);
}

#[test]
fn lz4_checksums_and_ends_are_checked() {
    use lz4_flex::frame::FrameInfo;
    let info = FrameInfo::new().block_checksums(true).content_checksum(true).content_size(Some(1000));
    let frame = lz4_frame(&text(1000), info);
    assert_eq!(unpack(Compression::Lz4, &frame, 1000).unwrap(), text(1000));
    // Every byte is under some checksum, or a length or mark that no longer fits.
    for at in 0..frame.len() {
        let mut bad = frame.clone();
        bad[at] ^= 4;
        assert!(unpack(Compression::Lz4, &bad, 1 << 20).is_err(), "byte {at}");
    }
    let twice = [&frame[..], &frame].concat();
    let followed = DecompressError::Malformed { codec: Compression::Lz4, reason: "bytes follow the frame" };
    assert_eq!(unpack(Compression::Lz4, &twice, 1 << 20), Err(followed));
}

#[test]
fn lz4_is_read_by_another_reader() {
    for bytes in [text(200_000), noise(100_000), vec![]] {
        let packed = pack(Compression::Lz4, &bytes);
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut lz4_flex::frame::FrameDecoder::new(&packed[..]), &mut read).unwrap();
        assert_eq!(read, bytes);
    }
}

// -- zstd

#[test]
fn zstd_frames_follow_one_another_with_and_without_a_stated_size() {
    let stated = pack(Compression::Zstd, &text(200_000));
    let streamed = {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(&text(300_000)).unwrap();
        encoder.write_all(&noise(10_000)).unwrap();
        encoder.finish().unwrap()
    };
    let skipped = [&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let all = [stated, skipped, streamed].concat();
    let expected = [text(200_000), text(300_000), noise(10_000)].concat();
    assert!(unpack(Compression::Zstd, &all, expected.len()) == Ok(expected.clone()));
    let refused = unpack(Compression::Zstd, &all, expected.len() - 1);
    assert!(matches!(refused, Err(DecompressError::TooLarge { .. })), "{:?}", refused.err());
}

#[test]
fn a_wide_zstd_window_costs_nothing() {
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(b"a little").unwrap();
    let packed = encoder.finish().unwrap();
    let mut decompressor = Decompressor::new();
    let mut out = Vec::new();
    decompressor.decompress(Compression::Zstd, &packed, 1000, &mut out).unwrap();
    assert_eq!(out, b"a little");
    let held = decompressor.zstd.as_ref().unwrap().sizeof();
    assert!(held < 300 << 10, "{held}");
    assert!(out.capacity() <= 1000);
}

#[test]
fn a_zstd_bomb_is_refused_before_it_takes_memory() {
    let zeros = vec![0; 64 << 20];
    let stated = pack(Compression::Zstd, &zeros);
    let streamed = ::zstd::stream::encode_all(&zeros[..], 3).unwrap();
    for bomb in [stated, streamed] {
        assert!(bomb.len() < 10_000);
        let mut out = Vec::new();
        let done = Decompressor::new().decompress(Compression::Zstd, &bomb, 1 << 20, &mut out);
        assert!(matches!(done, Err(DecompressError::TooLarge { .. })), "{done:?}");
        assert!(out.capacity() <= 1 << 20);
    }
}

#[test]
fn a_large_buffer_is_not_kept() {
    let mut decompressor = Decompressor::new();
    let large = pack(Compression::Lz4, &text(8 << 20));
    let small = pack(Compression::Lz4, b"small");
    assert_eq!(decompressor.decompress_kept(Compression::Lz4, &large, 8 << 20).unwrap().len(), 8 << 20);
    assert_eq!(decompressor.decompress_kept(Compression::Lz4, &small, 100).unwrap(), b"small");
    assert!(decompressor.buffer.capacity() < BUFFER_KEPT_MAX);
}

//! Rows by hand-made packets, cut wherever a read may end.

use std::io;

use super::*;

/// Gives at most `step` bytes a read, and counts the reads.
struct Trickle {
    bytes: io::Cursor<Vec<u8>>,
    step: usize,
    reads: usize,
}

impl Read for Trickle {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        let length = target.len().min(self.step);
        self.bytes.read(&mut target[..length])
    }
}

const END: &[u8] = &[0xfe, 0, 0, 2, 0];
const ERROR: &[u8] = b"\xff\x25\x05#70100Query execution was interrupted";

/// A row's payload of `size` bytes.
fn row(size: usize, fill: u8) -> Vec<u8> {
    let mut row = vec![fill; size];
    row[0] = 0;
    row
}

/// The payloads as packets, the first with number `first`.
fn wire<'a>(payloads: impl IntoIterator<Item = &'a [u8]>, first: u8) -> Vec<u8> {
    let mut channel = Channel::new(Vec::new());
    *channel.sequence() = first;
    for payload in payloads {
        channel.write(payload).expect("a vector takes all");
    }
    channel.into_parts().0
}

fn channel(bytes: Vec<u8>, step: usize, first: u8) -> Channel<Trickle> {
    let mut channel = Channel::new(Trickle { bytes: io::Cursor::new(bytes), step, reads: 0 });
    *channel.sequence() = first;
    channel
}

/// All rows, in portions of `full` bytes; the sizes of those that were thrown away; how it ended.
fn read_all(
    channel: &mut Channel<Trickle>,
    full: usize,
    row_bytes_max: usize,
) -> (Vec<Vec<u8>>, Vec<u64>, Result<(), WireError>) {
    let (mut all, mut oversize) = (Vec::new(), Vec::new());
    loop {
        let mut out = b"before".to_vec();
        let room = out.len() + full;
        let result = read_rows(channel, &mut out, room, RowBounds::upto(row_bytes_max));
        assert_eq!(&out[..6], b"before", "what was there stays");
        let found: Vec<_> = rows(&out[6..]).map(<[u8]>::to_vec).collect();
        let taken: usize = found.iter().map(|row| row.len() + HEAD_BYTES).sum();
        assert_eq!(out.len(), 6 + taken, "whole rows only");
        assert!(out.len() <= room || found.len() == 1, "{} bytes over {room}", out.len());
        match result {
            Ok(filled) => {
                assert_eq!(filled.rows as usize, found.len());
                assert!(filled.rows > 0 || filled.ended || filled.oversize.is_some(), "no progress");
                all.extend(found);
                oversize.extend(filled.oversize);
                if filled.ended {
                    return (all, oversize, Ok(()));
                }
            }
            Err(error) => return (all, oversize, Err(error)),
        }
    }
}

#[test]
fn rows_come_whole_wherever_reads_and_portions_cut_them() {
    let expected: Vec<_> = [1, 2, 9, 3, 30, 5, 1, 12].iter().map(|size| row(*size, 7)).collect();
    let bytes = wire(expected.iter().map(Vec::as_slice).chain([END]), 3);
    for step in 1..=bytes.len() {
        for full in 0..=bytes.len() {
            let mut channel = channel(bytes.clone(), step, 3);
            let (rows, oversize, end) = read_all(&mut channel, full, 1000);
            assert_eq!((rows, oversize), (expected.clone(), vec![]), "step {step}, full {full}");
            end.expect("ended properly");
            assert_eq!(channel.into_parts().1, b"", "nothing is left");
        }
    }
}

#[test]
fn what_was_read_ahead_with_the_definitions_comes_first() {
    let expected: Vec<_> = (1..200).map(|size| row(size, 1)).collect();
    let bytes = wire(expected.iter().map(Vec::as_slice).chain([END]), 0);
    for full in [0, 50, 1000, 1 << 20] {
        let ahead = bytes.len() - 10;
        let mut channel = channel(bytes[ahead..].to_vec(), usize::MAX, 0);
        channel.put_back(&bytes[..ahead]);
        assert_eq!(read_all(&mut channel, full, 1000).0, expected, "full {full}");
    }
}

#[test]
fn sequence_numbers_wrap_and_are_checked() {
    let expected: Vec<_> = (0..600).map(|_| row(5, 1)).collect();
    let mut bytes = wire(expected.iter().map(Vec::as_slice).chain([END]), 250);
    assert_eq!(read_all(&mut channel(bytes.clone(), 1 << 20, 250), 1 << 20, 9).0, expected);
    bytes[300 * 9 + 3] += 1;
    for full in [0, 100, 1 << 20] {
        let (_, _, end) = read_all(&mut channel(bytes.clone(), 1 << 20, 250), full, 9);
        let error = end.expect_err("number 38 is due");
        assert!(error.to_string().contains("packet number 39 where 38 is due"), "{error}");
    }
}

#[test]
fn rows_of_many_packets_are_joined() {
    for size in [PACKET_BYTES_MAX - 1, PACKET_BYTES_MAX, 2 * PACKET_BYTES_MAX + 77] {
        let large = row(size, 7);
        let (before, after) = (row(10, 1), row(20, 2));
        let bytes = wire([&before[..], &large, &after, END], 255);
        for full in [100, 1 << 26] {
            let mut channel = channel(bytes.clone(), 1 << 20, 255);
            let (rows, _, end) = read_all(&mut channel, full, usize::MAX);
            end.expect("ended properly");
            assert!(rows == [&before[..], &large, &after], "size {size}, full {full}");
        }
    }
}

#[test]
fn a_row_over_the_limit_is_passed_over_and_its_size_told() {
    for size in [21, 5000, PACKET_BYTES_MAX, PACKET_BYTES_MAX + 77] {
        let large = row(size, 7);
        let (before, after) = (row(20, 1), row(20, 2));
        let bytes = wire([&before[..], &large, &after, &large, END], 1);
        let small = size < 10_000;
        let step = if small { 7 } else { 1 << 20 };
        for full in if small { &[0, 10, 100, 6000, 1 << 26][..] } else { &[100, 1 << 26] } {
            let full = *full;
            let (rows, oversize, end) = read_all(&mut channel(bytes.clone(), step, 1), full, 20);
            end.expect("ended properly");
            assert_eq!(rows, [&before[..], &after], "size {size}, full {full}");
            assert_eq!(oversize, [size as u64; 2], "full {full}");
        }
    }
}

#[test]
fn the_limit_counts_a_row_over_all_its_packets() {
    let large = row(PACKET_BYTES_MAX + 1, 7);
    let bytes = wire([&large[..], END], 0);
    let (rows, oversize, _) = read_all(&mut channel(bytes.clone(), 1 << 20, 0), 100, PACKET_BYTES_MAX);
    assert_eq!((rows.len(), oversize), (0, vec![PACKET_BYTES_MAX as u64 + 1]));
    let (rows, oversize, _) = read_all(&mut channel(bytes, 1 << 20, 0), 100, PACKET_BYTES_MAX + 1);
    assert_eq!((rows.len(), oversize), (1, vec![]));
}

#[test]
fn a_row_longer_than_wanted_now_waits_and_is_the_next_calls_first() {
    for size in [21, 5000, PACKET_BYTES_MAX + 77] {
        let (before, large, after) = (row(20, 1), row(size, 7), row(20, 2));
        let bytes = wire([&before[..], &large, &after, END], 9);
        let step = if size < 10_000 { 7 } else { 1 << 20 };
        for full in [0, 30, 1 << 26] {
            let mut channel = channel(bytes.clone(), step, 9);
            let mut read = |now: usize| {
                let mut out = Vec::new();
                let filled = read_rows(&mut channel, &mut out, full, RowBounds { now, ever: usize::MAX });
                (filled.expect("rows"), out)
            };
            assert_eq!(rows(&read(20).1).collect::<Vec<_>>(), [&before], "size {size}, full {full}");
            for _ in 0..2 {
                assert_eq!(read(20), (Filled { large: true, ..Filled::default() }, vec![]), "it waits");
            }
            let (filled, out) = read(size);
            assert_eq!(rows(&out).next(), Some(&large[..]), "size {size}, full {full}");
            assert!(!filled.large);
        }
    }
}

#[test]
fn an_error_is_no_row_that_waits() {
    let error = [ERROR, &[b'x'; 100]].concat();
    let mut channel = channel(wire([&error[..]], 0), 3, 0);
    let bounds = RowBounds { now: 20, ever: usize::MAX };
    let told = read_rows(&mut channel, &mut Vec::new(), 0, bounds).expect_err("an error packet");
    assert_eq!(told.code(), Some(1317));
}

#[test]
fn an_error_between_rows_is_the_servers_and_keeps_no_half_row() {
    let first = row(10, 1);
    let bytes = wire([&first[..], ERROR], 0);
    for step in 1..=bytes.len() {
        for (full, row_bytes_max) in [(0, 1000), (14, 10), (1000, 10), (1000, 1000)] {
            let (_, _, end) = read_all(&mut channel(bytes.clone(), step, 0), full, row_bytes_max);
            assert_eq!(end.expect_err("an error packet").code(), Some(1317), "step {step}, full {full}");
        }
    }
}

#[test]
fn an_end_is_told_from_what_only_begins_like_one() {
    let long = [END, &[0; 4]].concat();
    let cases: [&[u8]; 5] = [&[], &long, &[1, 2, 3], &[0xfe, 0, 0, 0x0a, 0], &[0xff, 1]];
    for case in cases {
        for full in [0, 1000] {
            let (_, _, end) = read_all(&mut channel(wire([case], 0), 3, 0), full, 1000);
            assert!(matches!(end, Err(WireError::Protocol(_))), "{case:?}: {end:?}");
        }
    }
}

#[test]
fn a_connection_lost_inside_a_row_heals_and_keeps_the_whole_rows_apart() {
    let bytes = wire([&row(10, 1)[..], &row(10, 2), END], 0);
    for cut in 0..bytes.len() {
        for full in [0, 20, 1000] {
            let (_, _, end) = read_all(&mut channel(bytes[..cut].to_vec(), 5, 0), full, 1000);
            assert!(end.expect_err("cut").heals(), "cut at {cut}");
        }
    }
}

#[test]
fn reads_are_large_and_none_goes_beyond_the_portion() {
    let rows: Vec<_> = (0..10_000).map(|_| row(96, 1)).collect();
    let bytes = wire(rows.iter().map(Vec::as_slice).chain([END]), 0);
    let mut channel = channel(bytes, usize::MAX, 0);
    let mut out = Vec::new();
    let filled = read_rows(&mut channel, &mut out, 512 << 10, RowBounds::upto(1000)).expect("rows");
    assert_eq!((filled.rows, filled.ended), (5242, false));
    assert_eq!(channel.stream().reads, 2);
    assert_eq!(channel.into_parts().1.len(), (512 << 10) - out.len(), "the cut row waits");
}

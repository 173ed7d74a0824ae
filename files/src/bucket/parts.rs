//! How a file is divided into the parts of a multipart upload. Pure: the same size always has the same parts, so that
//! every replica and every client that resumes agree.

/// Smallest size of a part. S3 takes at least 5 MiB, except for the last part.
pub const MIN_PART_BYTES: u64 = 8 << 20;
/// Largest number of parts of a file. S3 lists at most 1,000 parts in a page, and one page must have them all.
const MAX_PARTS: u64 = 1_000;
/// The largest file: S3 takes at most 5 GiB for a part.
pub const MAX_FILE_BYTES: u64 = MAX_PARTS * (5 << 30);
/// The largest file whose bytes pass through this service, which has a whole part in memory.
pub const MAX_PROXIED_FILE_BYTES: u64 = MAX_PARTS * MIN_PART_BYTES;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: u16,
    /// Where the part begins in the file.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
}

/// A part that the storage has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedPart {
    pub number: u16,
    pub size: u64,
    /// The identifier that the storage gave to the content of the part.
    pub etag: String,
}

/// The parts of a file of `size` bytes, which is at least 1.
pub fn plan(size: u64) -> impl Iterator<Item = Part> {
    let part_size = size.div_ceil(MAX_PARTS).next_multiple_of(1 << 20).max(MIN_PART_BYTES);
    let offsets = (0..size).step_by(usize::try_from(part_size).unwrap_or(usize::MAX));
    (1u16..).zip(offsets).map(move |(number, offset)| Part {
        number,
        offset,
        size: part_size.min(size - offset),
    })
}

/// Divides the parts of a file into those that the storage has in full, with their etags, and those that it lacks. A
/// part of another size counts as missing: its next upload replaces it. Parts with other numbers do not belong to the
/// file.
pub fn divide(size: u64, received: &[ReceivedPart]) -> (Vec<(Part, String)>, Vec<Part>) {
    let (mut stored, mut missing) = (Vec::new(), Vec::new());
    for part in plan(size) {
        match received.iter().find(|found| found.number == part.number && found.size == part.size) {
            Some(found) => stored.push((part, found.etag.clone())),
            None => missing.push(part),
        }
    }
    (stored, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file_and_are_few_enough() {
        for (size, count) in [
            (1, 1),
            (MIN_PART_BYTES, 1),
            (MIN_PART_BYTES + 1, 2),
            (MIN_PART_BYTES * MAX_PARTS, 1_000),
            (MIN_PART_BYTES * MAX_PARTS + 1, 889),
            (MAX_FILE_BYTES, 1_000),
        ] {
            let parts: Vec<Part> = plan(size).collect();
            assert_eq!(parts.len(), count, "{size}");
            let mut offset = 0;
            for (index, part) in parts.iter().enumerate() {
                assert_eq!((usize::from(part.number), part.offset), (index + 1, offset), "{size}");
                assert!(part.size <= 5 << 30 && (part.size >= 5 << 20 || index + 1 == count), "{size}");
                offset += part.size;
            }
            assert_eq!(offset, size);
        }
    }

    #[test]
    fn part_of_another_size_is_missing_and_a_foreign_one_is_ignored() {
        let received = |number, size| ReceivedPart { number, size, etag: format!("e{number}") };
        let size = MIN_PART_BYTES * 2 + 5;
        let (stored, missing) =
            divide(size, &[received(1, MIN_PART_BYTES), received(2, 7), received(9, MIN_PART_BYTES)]);
        assert_eq!(stored, [(Part { number: 1, offset: 0, size: MIN_PART_BYTES }, "e1".to_owned())]);
        let numbers: Vec<u16> = missing.iter().map(|part| part.number).collect();
        assert_eq!(numbers, [2, 3]);
        let (stored, missing) = divide(3, &[received(1, 3)]);
        assert!(stored.len() == 1 && missing.is_empty());
    }
}

//! The stored forms of sums and detectors, and their digests. A digest is the SHA-256 of the stored form.

use super::AnchorGrid;
use super::calibration::Calibration;
use super::detector::{Detector, TagWeights, Weights};
use super::gram::triangle_len;
use super::sums::{FOLDS, FoldSums, Sums, TagSums};
use sha2::{Digest, Sha256};

const SUMS: &[u8; 4] = b"HDS1";
const DETECTOR: &[u8; 4] = b"HDD1";

/// Bytes are not the stored form of what they were read as.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    /// They are of another kind or version.
    #[error("the bytes are not of this kind and version")]
    Kind,
    /// They end too early.
    #[error("the bytes end too early")]
    Short,
    /// There is more than there should be.
    #[error("{0} bytes are left over")]
    Long(usize),
    /// A value cannot be.
    #[error("the bytes hold a value that cannot be")]
    Invalid,
}

impl FoldSums {
    /// The stored form, 170 MB for 206 maps; little-endian, without padding:
    ///
    /// - `HDS1`;
    /// - the grid: number of sizes (u8), the sizes (u8 each), aspect limit in tenths (u32), stride divisor (u8), number
    ///   of maps (u16);
    /// - for each of the 5 folds, all i64 unless said, with d = 10 times the number of maps:
    ///   - images, anchors, positive anchors; sums of the 4 moves (in steps of 1/1024);
    ///   - products of features over all anchors, then over positive anchors: each the lower triangle of a d x d matrix,
    ///     row by row, d(d+1)/2;
    ///   - sums of features over all, then over positive anchors: d each;
    ///   - products of moves and features over positive anchors: 4 x d;
    ///   - number of tags (u32); for each, in ascending order of ids: id (u128), images, sum of targets (in steps of
    ///     1/102) over all anchors, over positive anchors, products of features and target over all anchors, over
    ///     positive anchors (d each).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut |part| bytes.extend_from_slice(part));
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes, *SUMS)?;
        let grid = reader.grid()?;
        let mut folds = Vec::with_capacity(FOLDS);
        for _ in 0..FOLDS {
            folds.push(reader.sums(grid.dimension())?);
        }
        reader.end()?;
        Ok(Self { grid, folds })
    }

    /// SHA-256 of the stored form, made without it.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        self.write(&mut |part| hasher.update(part));
        hasher.finalize().into()
    }

    fn write(&self, sink: &mut impl FnMut(&[u8])) {
        sink(SUMS);
        write_grid(&self.grid, sink);
        for sums in &self.folds {
            write_integers(&[sums.images, sums.rows, sums.positive_rows], sink);
            write_integers(&sums.moves, sink);
            let arrays = [&sums.products, &sums.positive_products, &sums.features, &sums.positive_features];
            arrays.into_iter().for_each(|values| write_integers(values, sink));
            write_integers(&sums.move_products, sink);
            sink(&(sums.tags.len() as u32).to_le_bytes());
            for (id, tag) in &sums.tags {
                sink(&id.to_le_bytes());
                write_integers(&[tag.images, tag.target, tag.positive_target], sink);
                write_integers(&tag.products, sink);
                write_integers(&tag.positive_products, sink);
            }
        }
    }
}

impl Detector {
    /// The stored form; little-endian, without padding: `HDD1`, the grid as in [`FoldSums::to_bytes`], number of images
    /// (u64), number of tags (u32); for each tag, in ascending order of ids: id (u128), slope and offset of the
    /// calibration, bias, weights (d); then for each of the 4 moves bias and weights (d), all f32.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = DETECTOR.to_vec();
        write_grid(&self.grid, &mut |part| bytes.extend_from_slice(part));
        bytes.extend(self.images.to_le_bytes());
        bytes.extend((self.tags.len() as u32).to_le_bytes());
        let floats = |values: &[f32], bytes: &mut Vec<u8>| {
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        };
        for tag in &self.tags {
            bytes.extend(tag.id.to_le_bytes());
            floats(&[tag.calibration.slope, tag.calibration.offset, tag.score.bias], &mut bytes);
            floats(&tag.score.weights, &mut bytes);
        }
        for moves in &self.moves {
            floats(&[moves.bias], &mut bytes);
            floats(&moves.weights, &mut bytes);
        }
        bytes
    }

    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes, *DETECTOR)?;
        let grid = reader.grid()?;
        let images = u64::from_le_bytes(reader.array()?);
        let count = u32::from_le_bytes(reader.array()?);
        let mut tags: Vec<TagWeights> = Vec::new();
        for _ in 0..count {
            let id = u128::from_le_bytes(reader.array()?);
            if tags.last().is_some_and(|last| last.id >= id) {
                return Err(CodecError::Invalid);
            }
            let calibration = Calibration { slope: reader.float()?, offset: reader.float()? };
            tags.push(TagWeights { id, calibration, score: reader.weights(grid.dimension())? });
        }
        let mut moves = || reader.weights(grid.dimension());
        let moves = [moves()?, moves()?, moves()?, moves()?];
        reader.end()?;
        Ok(Self { grid, images, tags, moves })
    }

    /// SHA-256 of the stored form: equal digests mean the same detector.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }
}

fn write_grid(grid: &AnchorGrid, sink: &mut impl FnMut(&[u8])) {
    let (sizes, aspect, divisor, channels) = grid.parameters();
    sink(&[sizes.len() as u8]);
    sink(sizes);
    sink(&aspect.to_le_bytes());
    sink(&[divisor]);
    sink(&channels.to_le_bytes());
}

fn write_integers(values: &[i64], sink: &mut impl FnMut(&[u8])) {
    for part in values.chunks(512) {
        let bytes: Vec<u8> = part.iter().flat_map(|value| value.to_le_bytes()).collect();
        sink(&bytes);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], kind: [u8; 4]) -> Result<Self, CodecError> {
        let mut reader = Self { rest: bytes };
        if reader.array::<4>()? == kind { Ok(reader) } else { Err(CodecError::Kind) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CodecError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(CodecError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn end(&self) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError::Long(self.rest.len())) }
    }

    fn grid(&mut self) -> Result<AnchorGrid, CodecError> {
        let [count] = self.array()?;
        let sizes = self.take(usize::from(count))?;
        let aspect = u32::from_le_bytes(self.array()?);
        let [divisor] = self.array()?;
        let channels = u16::from_le_bytes(self.array()?);
        AnchorGrid::new(sizes, aspect, divisor, channels).map_err(|_| CodecError::Invalid)
    }

    fn integers(&mut self, count: usize) -> Result<Vec<i64>, CodecError> {
        let bytes = self.take(count.checked_mul(8).ok_or(CodecError::Short)?)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|value| i64::from_le_bytes(*value)).collect())
    }

    fn integer(&mut self) -> Result<i64, CodecError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A number that counts something: it cannot be negative.
    fn count(&mut self) -> Result<i64, CodecError> {
        let count = self.integer()?;
        if count >= 0 { Ok(count) } else { Err(CodecError::Invalid) }
    }

    fn float(&mut self) -> Result<f32, CodecError> {
        let value = f32::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err(CodecError::Invalid) }
    }

    fn weights(&mut self, dimension: usize) -> Result<Weights, CodecError> {
        let bias = self.float()?;
        let mut weights = Vec::new();
        for _ in 0..dimension {
            weights.push(self.float()?);
        }
        Ok(Weights { weights, bias })
    }

    fn sums(&mut self, dimension: usize) -> Result<Sums, CodecError> {
        let triangle = triangle_len(dimension);
        let mut sums = Sums {
            images: self.count()?,
            rows: self.count()?,
            positive_rows: self.count()?,
            moves: [self.integer()?, self.integer()?, self.integer()?, self.integer()?],
            products: self.integers(triangle)?,
            positive_products: self.integers(triangle)?,
            features: self.integers(dimension)?,
            positive_features: self.integers(dimension)?,
            move_products: self.integers(4 * dimension)?,
            tags: std::collections::BTreeMap::new(),
        };
        for _ in 0..u32::from_le_bytes(self.array()?) {
            let id = u128::from_le_bytes(self.array()?);
            if sums.tags.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(CodecError::Invalid);
            }
            let tag = TagSums {
                images: self.count()?,
                target: self.integer()?,
                positive_target: self.integer()?,
                products: self.integers(dimension)?,
                positive_products: self.integers(dimension)?,
            };
            sums.tags.insert(id, tag);
        }
        Ok(sums)
    }
}

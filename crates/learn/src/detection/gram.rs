//! Exact sums of products of integer features.

use pulp::NullaryFnOnce;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::thread;

/// Scale of quantised features: `round(feature * 16384)`, half to even.
pub(crate) const FEATURE_SCALE: f32 = 16384.0;
/// Columns of the result that are computed together: what fits the second-level cache.
const PANEL: usize = 64;
/// Rows and columns of the result whose sums are held in registers.
const TILE: (usize, usize) = (4, 2);
/// Rows are padded to a multiple of this with zeros, so that the inner loop has no remainder.
const BLOCK: usize = 32;
/// Rows that a kernel takes at once, in pairs.
const KERNEL_ROWS: usize = 16;

/// A matrix of quantised features, one window a row, stored column by column.
#[derive(Debug)]
pub(crate) struct Rows {
    values: Vec<i16>,
    count: usize,
    padded: usize,
    columns: usize,
}

impl Rows {
    pub(crate) fn new(rows: usize, columns: usize) -> Self {
        let padded = rows.next_multiple_of(BLOCK);
        Self { values: vec![0; padded * columns], count: rows, padded, columns }
    }

    /// Sets `BLOCK` or fewer consecutive rows from features that are stored row by row.
    pub(crate) fn set_rows(&mut self, first: usize, features: &[i16]) {
        let count = features.len() / self.columns;
        for (index, column) in self.values.chunks_exact_mut(self.padded.max(1)).enumerate() {
            for (row, value) in column[first..first + count].iter_mut().enumerate() {
                *value = features[row * self.columns + index];
            }
        }
    }

    /// Sets a whole column.
    pub(crate) fn set_column(&mut self, index: usize, features: &[i16]) {
        self.values[index * self.padded..][..features.len()].copy_from_slice(features);
    }

    /// The given rows alone.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let mut selected = Self::new(rows.len(), self.columns);
        for (from, to) in self.columns().zip(selected.values.chunks_exact_mut(selected.padded.max(1))) {
            for (value, &row) in to.iter_mut().zip(rows) {
                *value = from[row];
            }
        }
        selected
    }

    pub(crate) fn row_count(&self) -> usize {
        self.count
    }

    /// The columns, padded with zeros.
    pub(crate) fn columns(&self) -> impl ExactSizeIterator<Item = &[i16]> {
        self.values.chunks_exact(self.padded.max(1))
    }

    fn column(&self, index: usize, rows: &Range<usize>) -> &[i16] {
        &self.values[index * self.padded..][rows.clone()]
    }

    /// Consecutive ranges of rows, short enough that a kernel can sum products over one of them in 32 bits.
    ///
    /// A kernel sums every eighth pair of rows apart. By the Cauchy-Schwarz inequality a sum of products of two columns
    /// is at most the larger of their sums of squares over the same rows, so it is enough that none of those reaches
    /// 2^31. A block of 32 rows never does: four squares of at most 2^28 come together in it.
    fn ranges(&self) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let mut sums = vec![0; self.columns];
        let mut start = 0;
        for block in (0..self.padded).step_by(BLOCK) {
            let largest: Vec<i32> =
                self.columns().map(|column| largest_sum_of_squares(&column[block..block + BLOCK])).collect();
            if sums
                .iter()
                .zip(&largest)
                .any(|(sum, largest): (&i32, &i32)| sum.checked_add(*largest).is_none())
            {
                ranges.push(start..block);
                start = block;
                sums.fill(0);
            }
            sums.iter_mut().zip(&largest).for_each(|(sum, largest)| *sum += largest);
        }
        ranges.push(start..self.padded);
        ranges
    }
}

/// The largest of the eight sums of squares that a kernel would make of these rows.
fn largest_sum_of_squares(block: &[i16]) -> i32 {
    let mut sums = [0; KERNEL_ROWS / 2];
    for rows in block.as_chunks::<KERNEL_ROWS>().0 {
        for (sum, pair) in sums.iter_mut().zip(rows.as_chunks::<2>().0) {
            *sum += pair.iter().map(|&value| i32::from(value) * i32::from(value)).sum::<i32>();
        }
    }
    sums.into_iter().max().unwrap_or(0)
}

/// Adds `sign` times the products of all pairs of columns to `triangle`, the lower triangle row by row: entry
/// `i * (i + 1) / 2 + j` is that of columns `i` and `j <= i`.
///
/// The sums are exact, so neither the blocks nor the threads show in the result.
pub(crate) fn add_products(rows: &Rows, sign: i64, threads: NonZeroUsize, triangle: &mut [i64]) {
    let ranges = rows.ranges();
    let mut rest = triangle;
    let mut first = 0;
    thread::scope(|scope| {
        for index in 1..=threads.get() {
            // Equal areas of the triangle: the row up to which a share of it lies grows with the root of the share.
            let share = (index as f64 / threads.get() as f64).sqrt();
            let end = if index == threads.get() {
                rows.columns
            } else {
                ((rows.columns as f64 * share) as usize).next_multiple_of(TILE.0).clamp(first, rows.columns)
            };
            let (part, after) = rest.split_at_mut(triangle_len(end) - triangle_len(first));
            rest = after;
            let work = Work { rows, ranges: &ranges, left: first..end, sign, out: part };
            first = end;
            if index == threads.get() {
                work.run();
            } else {
                scope.spawn(move || work.run());
            }
        }
    });
}

/// Length of the lower triangle of a square matrix, with its diagonal.
pub(crate) fn triangle_len(size: usize) -> usize {
    size * (size + 1) / 2
}

/// Some rows of the triangle.
struct Work<'a> {
    rows: &'a Rows,
    ranges: &'a [Range<usize>],
    left: Range<usize>,
    sign: i64,
    out: &'a mut [i64],
}

impl Work<'_> {
    fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = pulp::x86::V3::try_new() {
            return avx2.vectorize(WorkWith { work: self, kernel: avx2 });
        }
        WorkWith { work: self, kernel: Portable }.call();
    }
}

/// How a tile of the result is computed: by the best instructions of the processor.
trait Kernel: Copy {
    /// Sums of products of 4 columns with 2 others over one of [`Rows::ranges`].
    fn tile<'a>(self, left: [&'a [i16]; TILE.0], right: [&'a [i16]; TILE.1]) -> [[i64; TILE.1]; TILE.0];
}

#[derive(Clone, Copy)]
struct Portable;

impl Kernel for Portable {
    fn tile<'a>(self, left: [&'a [i16]; TILE.0], right: [&'a [i16]; TILE.1]) -> [[i64; TILE.1]; TILE.0] {
        left.map(|left| {
            right.map(|right| {
                left.iter().zip(right).map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b))).sum()
            })
        })
    }
}

#[cfg(target_arch = "x86_64")]
impl Kernel for pulp::x86::V3 {
    #[expect(clippy::inline_always, reason = "its instructions need the caller's processor features")]
    #[inline(always)]
    fn tile<'a>(self, left: [&'a [i16]; TILE.0], right: [&'a [i16]; TILE.1]) -> [[i64; TILE.1]; TILE.0] {
        let length = left[0].len() / KERNEL_ROWS;
        let chunks = |column: &'a [i16]| &column.as_chunks::<KERNEL_ROWS>().0[..length];
        // Not `array::map`: what it calls would not be compiled for the processor found.
        let left = [chunks(left[0]), chunks(left[1]), chunks(left[2]), chunks(left[3])];
        let right = [chunks(right[0]), chunks(right[1])];
        let mut lanes = [[self.avx._mm256_setzero_si256(); TILE.1]; TILE.0];
        for at in 0..length {
            let right = [pulp::cast(right[0][at]), pulp::cast(right[1][at])];
            let left = [
                pulp::cast(left[0][at]),
                pulp::cast(left[1][at]),
                pulp::cast(left[2][at]),
                pulp::cast(left[3][at]),
            ];
            for (lanes, left) in lanes.iter_mut().zip(left) {
                for (lane, right) in lanes.iter_mut().zip(right) {
                    *lane = self.avx2._mm256_add_epi32(*lane, self.avx2._mm256_madd_epi16(left, right));
                }
            }
        }
        let mut sums = [[0; TILE.1]; TILE.0];
        for (sums, lanes) in sums.iter_mut().zip(lanes) {
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                let lanes: [i32; KERNEL_ROWS / 2] = pulp::cast(lanes);
                *sum = lanes.iter().map(|&lane| i64::from(lane)).sum();
            }
        }
        sums
    }
}

struct WorkWith<'a, K> {
    work: Work<'a>,
    kernel: K,
}

impl<K: Kernel> NullaryFnOnce for WorkWith<'_, K> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "only what is inlined here is compiled for the processor found")]
    #[inline(always)]
    fn call(self) {
        let Work { rows, ranges, left, sign, out } = self.work;
        let base = triangle_len(left.start);
        let last = rows.columns - 1;
        for panel in (0..left.end).step_by(PANEL) {
            for first in left.clone().step_by(TILE.0) {
                let end = (panel + PANEL).min(left.end).min(first + TILE.0);
                for second in (panel..end).step_by(TILE.1) {
                    let mut totals = [[0_i64; TILE.1]; TILE.0];
                    for range in ranges {
                        // A tile at the edge repeats the last column; what that gives is not used.
                        let column = |index: usize| rows.column(index.min(last), range);
                        let sums = self.kernel.tile(
                            [column(first), column(first + 1), column(first + 2), column(first + 3)],
                            [column(second), column(second + 1)],
                        );
                        for (totals, sums) in totals.iter_mut().zip(sums) {
                            for (total, sum) in totals.iter_mut().zip(sums) {
                                *total += sum;
                            }
                        }
                    }
                    for (i, totals) in (first..left.end).zip(totals) {
                        let row = &mut out[triangle_len(i) - base..triangle_len(i + 1) - base];
                        for (entry, total) in row[second.min(i + 1)..].iter_mut().zip(totals) {
                            *entry += sign * total;
                        }
                    }
                }
            }
        }
    }
}

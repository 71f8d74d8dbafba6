//! Small made-up images: two maps in which rectangles stand out.

use habeas_learn::detection::{AnchorGrid, CELLS, FeatureMaps, LabelledImage, Object, Region};
use proptest::prelude::*;
use std::num::NonZeroUsize;

/// A grid that is quick to train: 20 features.
pub(crate) fn grid() -> AnchorGrid {
    AnchorGrid::new(&[6, 10, 14], 25, 2, 2).expect("the grid is valid")
}

pub(crate) fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("there is a thread")
}

/// An image and its maps. An object of tag 1 stands out in the first map, one of tag 2 in the second.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) image: LabelledImage,
    pub(crate) maps: FeatureMaps,
}

pub(crate) fn example(id: u128, objects: Vec<Object>, noise: u64) -> Example {
    let mut state = noise;
    let mut values: Vec<f32> = (0..2 * CELLS * CELLS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 26) as f32
        })
        .collect();
    for object in &objects {
        let Region { left, top, width, height } = object.region;
        for row in 0..CELLS {
            for column in 0..CELLS {
                let at = |cell: usize| (cell as f64 + 0.5) / CELLS as f64;
                let inside =
                    (left..left + width).contains(&at(column)) && (top..top + height).contains(&at(row));
                if inside {
                    values[(object.tag as usize - 1) * CELLS * CELLS + row * CELLS + column] += 1.0;
                }
            }
        }
    }
    Example {
        image: LabelledImage { id, objects },
        maps: FeatureMaps::new(values).expect("the values are two maps"),
    }
}

/// Anything that can stand in an image.
pub(crate) fn objects() -> impl Strategy<Value = Vec<Object>> {
    let object =
        (1..=2_u128, 0.0..0.7, 0.0..0.7, 0.1..0.6, 0.1..0.6).prop_map(|(tag, left, top, width, height)| {
            Object { tag, region: Region { left, top, width, height } }
        });
    prop::collection::vec(object, 0..3)
}

pub(crate) fn examples(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Example>> {
    prop::collection::vec((any::<u64>(), objects(), any::<u64>()), count).prop_map(|examples| {
        let example = |(index, (id, objects, noise)): (usize, (u64, Vec<Object>, u64))| {
            example((index as u128) << 64 | u128::from(id), objects, noise)
        };
        examples.into_iter().enumerate().map(example).collect()
    })
}

/// Twenty images, each with one object of either tag, at places that vary.
pub(crate) fn clear_examples() -> Vec<Example> {
    (0..20_u32)
        .map(|index| {
            let tag = u128::from(index % 2) + 1;
            let (left, top) = (f64::from(index * 7 % 5) * 0.1, f64::from(index * 3 % 4) * 0.15);
            let region = Region { left, top, width: 0.42, height: 0.42 };
            example(u128::from(index) * 7919, vec![Object { tag, region }], u64::from(index))
        })
        .collect()
}

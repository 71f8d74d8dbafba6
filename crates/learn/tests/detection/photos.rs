//! The forty photos of forks and scissors in `data/custom-vision`, from files to figures.

use crate::made::threads;
use crate::onnx_runner::Runner;
use habeas_learn::detection::{
    AnchorGrid, Detector, FeatureMaps, FoldSums, LabelledImage, Object, Region, SIDE, fit, maps_input,
    maps_model, performance, propose_regions, sum_images,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::PathBuf;

struct Photos {
    images: Vec<LabelledImage>,
    maps: BTreeMap<u128, FeatureMaps>,
}

fn photos() -> Photos {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../data/custom-vision/CustomVision/ObjectDetection");
    let listed = std::fs::read(folder.join("regions.json")).expect("the regions are there");
    let listed: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&listed).expect("the regions are JSON");
    let runner = Runner::new(&maps_model().encode());
    let mut photos = Photos { images: Vec::new(), maps: BTreeMap::new() };
    for (index, (name, region)) in listed.iter().enumerate() {
        let tag = region["tag"].as_str().expect("a region has a tag");
        let file = folder.join("Images").join(tag).join(format!("{name}.jpg"));
        let pixels = image::open(file).expect("the photo is an image");
        let side = SIDE as u32;
        let pixels =
            pixels.resize_exact(side, side, image::imageops::FilterType::Triangle).into_rgb8().into_raw();
        let maps = runner.run(&maps_input(&pixels).expect("the image was stretched"));
        let number =
            |at: usize| region["left_top_width_height"][at].as_f64().expect("a region has four numbers");
        let region = Region { left: number(0), top: number(1), width: number(2), height: number(3) };
        // As random as the ids of a server.
        let id = (index as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        photos
            .images
            .push(LabelledImage { id, objects: vec![Object { tag: u128::from(tag == "fork"), region }] });
        photos.maps.insert(id, FeatureMaps::new(maps[0].clone()).expect("the maps are finite"));
    }
    photos
}

impl Photos {
    fn sums(&self, images: &[LabelledImage]) -> FoldSums {
        let maps = |id| Ok::<_, Infallible>(self.maps[&id].clone());
        sum_images(images, threads(2), maps, |_| ControlFlow::Continue(())).expect("the maps fit")
    }

    fn fit(&self, sums: &FoldSums, images: &[LabelledImage]) -> habeas_learn::detection::Fit {
        let maps = |id| Ok::<_, Infallible>(self.maps[&id].clone());
        fit(sums, images, maps, |_| ControlFlow::Continue(())).expect("there are objects")
    }
}

fn overlap(a: &Region, b: &Region) -> f64 {
    let width = (a.left + a.width).min(b.left + b.width) - a.left.max(b.left);
    let height = (a.top + a.height).min(b.top + b.height) - a.top.max(b.top);
    let shared = width.max(0.0) * height.max(0.0);
    shared / (a.width * a.height + b.width * b.height - shared)
}

/// One test, because the sums are the cost: how good the detector is, that it forgets, and what it exports.
#[test]
fn forks_and_scissors_are_found_forgotten_and_exported() {
    let photos = photos();
    let (kept, gone) = photos.images.split_at(37);
    let mut sums = photos.sums(kept);
    assert_eq!(*sums.grid(), AnchorGrid::standard());
    let without = sums.digest();
    for image in gone {
        sums.add(image, &photos.maps[&image.id], threads(2)).expect("the maps fit");
    }
    let fit = photos.fit(&sums, &photos.images);
    let quality = |overlap| performance(&photos.images, &fit.held_out, 0.5, overlap);
    let (loose, strict) = (quality(0.3), quality(0.5));
    assert!(loose.average_precision.value > 0.6, "{loose:?}");
    assert!(strict.average_precision.value > 0.5, "{strict:?}");
    assert!(strict.precision.value > 0.5, "{strict:?}");

    export(&fit.detector);

    for image in gone {
        sums.remove(image, &photos.maps[&image.id], threads(1)).expect("the image is there");
    }
    assert_eq!(sums.digest(), without);
}

/// The exported graph has the inputs, outputs and properties that programs for such models read. What it answers is compared with the
/// server's answers by `crates/tests/clients/python/models.py`.
fn export(detector: &Detector) {
    let exported = detector.to_onnx().expect("the maps are the built-in ones");
    assert_eq!(exported.inputs(), ["image_tensor"]);
    assert_eq!(exported.outputs(), ["detected_boxes", "detected_classes", "detected_scores"]);
    let metadata: Vec<_> = exported.metadata().collect();
    assert!(metadata.contains(&("Image.BitmapPixelFormat", "Bgr8")), "{metadata:?}");
    assert!(metadata.contains(&("Image.NominalPixelRange", "NominalRange_0_255")), "{metadata:?}");
}

#[test]
fn proposals_name_the_place_of_most_objects() {
    let photos = photos();
    let mut found = 0;
    for image in &photos.images {
        let proposals = propose_regions(&photos.maps[&image.id]);
        assert!(proposals.len() <= 20);
        assert!(proposals.windows(2).all(|pair| pair[0].confidence >= pair[1].confidence));
        assert!(proposals.iter().all(|proposal| (0.0..=1.0).contains(&proposal.confidence)));
        let object = image.objects[0].region;
        found +=
            usize::from(proposals.iter().take(10).any(|proposal| overlap(&proposal.region, &object) >= 0.5));
    }
    assert!(found >= 34, "{found} of 40 objects are among the first ten proposals");
}

//! Every format: what is written is read back, and no archive makes a reader panic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use habeas_core::kinds::TagType;
use habeas_core::{Error, Result};
use habeas_dataset::{Contents, Files, Format, Head, Image, Images, Region, Tag, Writer, read};
use proptest::prelude::*;

/// An archive in memory.
struct Memory {
    paths: Vec<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    fn new(files: BTreeMap<String, Vec<u8>>) -> Memory {
        Memory { paths: files.keys().cloned().collect(), files }
    }
}

impl Files for Memory {
    fn paths(&self) -> &[String] {
        &self.paths
    }

    fn content(&mut self, path: &str, most: u64) -> Result<Vec<u8>> {
        let bytes = self.files.get(path).cloned().ok_or_else(|| Error::not_found("no such file"))?;
        if bytes.len() as u64 > most { Err(Error::too_large("too large")) } else { Ok(bytes) }
    }
}

struct Slice<'a>(&'a [Image]);

impl Images for Slice<'_> {
    fn each(&mut self, visit: &mut dyn FnMut(u64, &Image) -> Result<()>) -> Result<()> {
        self.0.iter().enumerate().try_for_each(|(number, image)| visit(number as u64, image))
    }
}

fn archive(format: Format, head: &Head, images: &[Image]) -> Memory {
    let writer = Writer::new(format, head.clone());
    let mut files = BTreeMap::new();
    for image in images {
        files.insert(writer.image_path(image), Vec::new());
        if let Some((path, text)) = writer.beside(image) {
            files.insert(path, text.into_bytes());
        }
    }
    for path in writer.documents() {
        let mut out = Vec::new();
        writer.document(path, &mut Slice(images), &mut out).unwrap();
        files.insert((*path).to_owned(), out);
    }
    assert!(files.keys().all(|path| !path.starts_with('/') && !path.split('/').any(|part| part == "..")));
    Memory::new(files)
}

fn tag_types() -> impl Strategy<Value = TagType> {
    prop_oneof![Just(TagType::Regular), Just(TagType::Negative), Just(TagType::GeneralProduct)]
}

fn tags() -> impl Strategy<Value = Vec<Tag>> {
    prop::collection::btree_map("[^\\p{Cc}\\p{Cn}]{1,8}", ("\\PC{0,8}", tag_types()), 0..4).prop_map(|tags| {
        tags.into_iter().map(|(name, (description, tag_type))| Tag { name, description, tag_type }).collect()
    })
}

/// A box with sides in thousandths.
fn region(tags: usize) -> impl Strategy<Value = Region> {
    (0..tags, 0..900_u32, 0..900_u32, 50..1000_u32, 50..1000_u32).prop_map(
        |(tag, left, top, width, height)| {
            let fraction = |value: u32| f64::from(value) / 1000.0;
            Region {
                tag,
                left: fraction(left),
                top: fraction(top),
                width: fraction(width.min(1000 - left)),
                height: fraction(height.min(1000 - top)),
            }
        },
    )
}

fn image(tags: usize) -> BoxedStrategy<Image> {
    let (chosen, regions) = if tags == 0 {
        (Just(Vec::new()).boxed(), Just(Vec::new()).boxed())
    } else {
        (prop::collection::vec(0..tags, 0..3).boxed(), prop::collection::vec(region(tags), 0..3).boxed())
    };
    let metadata = prop::collection::btree_map("\\PC{1,6}", "\\PC{0,6}", 0..2);
    (chosen, regions, metadata, prop::option::of("\\PC{1,12}"), 100..4000_u32, 100..4000_u32)
        .prop_map(|(mut tags, regions, metadata, name, width, height)| {
            tags.extend(regions.iter().map(|region| region.tag));
            tags.sort_unstable();
            tags.dedup();
            Image { file: String::new(), name, width, height, tags, regions, metadata }
        })
        .boxed()
}

fn datasets() -> impl Strategy<Value = (Head, Vec<Image>)> {
    (tags(), any::<bool>(), any::<bool>()).prop_flat_map(|(tags, detection, multiclass)| {
        let images = prop::collection::vec(image(tags.len()), 0..6).prop_map(|mut images| {
            for (number, image) in images.iter_mut().enumerate() {
                image.file = format!("{number:02}.jpg");
            }
            images
        });
        (Just(Head { detection, multiclass, tags }), images)
    })
}

/// Compares what was read with what was written; `tolerance` in fractions of the image, by its size.
fn same(
    contents: &Contents,
    writer: &Writer,
    head: &Head,
    images: &[Image],
    tolerance: impl Fn(u32) -> f64,
) -> std::result::Result<(), TestCaseError> {
    prop_assert_eq!(&contents.problems, &Vec::new());
    prop_assert_eq!(&contents.tags, &head.tags);
    prop_assert_eq!(contents.images.len(), images.len());
    for image in images {
        let path = writer.image_path(image);
        let found = contents.images.iter().find(|found| found.file == path).unwrap();
        prop_assert_eq!(&found.tags, &image.tags);
        prop_assert_eq!(&found.metadata, &image.metadata);
        prop_assert_eq!(&found.name, &image.name);
        prop_assert_eq!(found.regions.len(), image.regions.len());
        for (found, region) in found.regions.iter().zip(&image.regions) {
            prop_assert_eq!(found.tag, region.tag);
            let (across, down) = (tolerance(image.width), tolerance(image.height));
            for (left, right, tolerance) in [
                (found.left, region.left, across),
                (found.left + found.width, region.left + region.width, across),
                (found.top, region.top, down),
                (found.top + found.height, region.top + region.height, down),
            ] {
                prop_assert!((left - right).abs() <= tolerance, "{left} where {right} was written");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((head, images) in datasets()) {
        for format in Format::ALL {
            let writer = Writer::new(format, head.clone());
            let contents = read(format, &mut archive(format, &head, &images)).unwrap();
            let tolerance = |side: u32| match format {
                // Whole pixels.
                Format::Voc => 0.501 / f64::from(side),
                _ => 1e-9,
            };
            same(&contents, &writer, &head, &images, tolerance)
                .map_err(|error| TestCaseError::fail(format!("{format:?}: {error}")))?;
        }
    }

    #[test]
    fn a_damaged_archive_makes_no_reader_panic(
        (head, images) in datasets(),
        cut in 0..2000_usize,
        flipped in 0..2000_usize,
        drop in 0..12_usize,
    ) {
        for format in Format::ALL {
            let mut memory = archive(format, &head, &images);
            for (number, bytes) in memory.files.values_mut().enumerate() {
                if number % 2 == 0 {
                    bytes.truncate(cut);
                }
                if let Some(byte) = bytes.get_mut(flipped) {
                    *byte ^= 0x15;
                }
            }
            if let Some(path) = memory.paths.get(drop).cloned() {
                memory.files.remove(&path);
            }
            let mut memory = Memory::new(memory.files);
            if let Ok(contents) = read(format, &mut memory) {
                for image in &contents.images {
                    prop_assert!(memory.files.contains_key(&image.file));
                    prop_assert!(image.tags.iter().all(|tag| *tag < contents.tags.len()));
                }
            }
        }
    }
}

fn files(files: &[(&str, &str)]) -> Memory {
    Memory::new(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
}

#[test]
fn archives_of_other_tools_are_read() {
    let coco = r#"{"images":[{"id":1,"file_name":"a.jpg","width":200,"height":100},{"id":2,"file_name":"gone.jpg","width":1,"height":1}],
        "categories":[{"id":7,"name":"fork"}],
        "annotations":[{"id":1,"image_id":1,"category_id":7,"bbox":[20,10,40,50],"segmentation":[]},{"id":2,"image_id":1,"category_id":8}]}"#;
    let contents =
        read(Format::Coco, &mut files(&[("annotations/instances_train.json", coco), ("train/a.jpg", "")]))
            .unwrap();
    assert_eq!(contents.images.len(), 1);
    assert_eq!(contents.images[0].regions, [Region { tag: 0, left: 0.1, top: 0.1, width: 0.2, height: 0.5 }]);
    assert_eq!(contents.problems.len(), 2, "{:?}", contents.problems);

    let contents = read(
        Format::Yolo,
        &mut files(&[
            ("data.yaml", "names: [fork, knife]"),
            ("train/images/a.jpg", ""),
            ("train/labels/a.txt", "1 0.5 0.5 0.5 0.5\n9 0.5 0.5 0.1 0.1\n0 0.1 0.2\n"),
            ("train/images/b.png", ""),
        ]),
    )
    .unwrap();
    assert_eq!(contents.images[0].regions.len(), 1);
    assert_eq!(contents.tags[contents.images[0].tags[0]].name, "knife");
    assert_eq!((contents.images[1].tags.len(), contents.problems.len()), (0, 2));

    let xml = "<?xml version=\"1.0\"?><annotation verified=\"yes\"><filename>a</filename><size><width>100</width><height>50</height></size>
        <object><name>salt &amp; pepper</name><bndbox><xmin>0</xmin><ymin>1</ymin><xmax>50</xmax><ymax>25</ymax></bndbox></object></annotation>";
    let contents = read(Format::Voc, &mut files(&[("xml/a.xml", xml), ("pictures/a.png", "")])).unwrap();
    assert_eq!(contents.tags[0].name, "salt & pepper");
    assert_eq!(contents.images[0].regions, [Region { tag: 0, left: 0.0, top: 0.0, width: 0.5, height: 0.5 }]);

    let line = r#"{"image_url":"AmlDatastore://store/some/where/a.jpg","label":"fork"}"#;
    let contents = read(Format::AzureMl, &mut files(&[("x.jsonl", line), ("a.jpg", "")])).unwrap();
    assert_eq!((contents.images[0].tags.len(), contents.problems.len()), (1, 0));

    let contents =
        read(Format::Folders, &mut files(&[("train/fork/a.jpg", ""), ("b.jpg", ""), ("notes.txt", "")]))
            .unwrap();
    assert_eq!(contents.images.len(), 2);
    assert_eq!(contents.tags[0].name, "fork");
}

#[test]
fn an_archive_of_another_format_is_refused() {
    for format in [Format::Coco, Format::Yolo, Format::AzureMl] {
        assert!(read(format, &mut files(&[("a.jpg", "")])).is_err(), "{format:?}");
    }
    assert!("tfrecord".parse::<Format>().unwrap_err().hint.unwrap().contains("coco"));
}

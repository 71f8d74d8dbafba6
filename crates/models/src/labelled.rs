//! A project's labelled images as `habeas_dataset` writes them, in a dataset of their own or within a person's archive.
//!
//! Memory: 24 bytes for each image. Images that are deleted meanwhile are left out of what follows.

use habeas_core::kinds::{Image, ImageDoc, ProjectDoc, Tag};
use habeas_core::node::Relation;
use habeas_core::{ErrorKind, Id, Node, Result};
use habeas_dataset::{Head, Images, Region};
use habeas_learn::imaging;
use habeas_store::{Page, Store, Tx};
use tokio::runtime::Handle;

/// Images opened at a time.
const PAGE: usize = 200;

/// The classes of a project, and their ids by the numbers that a dataset gives them.
pub fn classes(tx: &mut Tx<'_>, project: &Node<ProjectDoc>) -> Result<(Head, Vec<Id>)> {
    let tags = tx.children::<Tag>(project.id, Page::ALL)?;
    let classification = project.doc.classification_type.as_deref();
    let head = Head {
        detection: classification.is_none(),
        multiclass: classification == Some("Multiclass"),
        tags: tags
            .iter()
            .map(|tag| habeas_dataset::Tag {
                name: tag.doc.name.clone(),
                description: tag.doc.description.clone(),
                tag_type: tag.doc.tag_type,
            })
            .collect(),
    };
    Ok((head, tags.into_iter().map(|tag| tag.id).collect()))
}

/// An image of the workspace, and its tags.
#[derive(Debug)]
pub struct Labelled {
    /// The image.
    pub node: Node<ImageDoc>,
    tags: Vec<Id>,
}

/// Images of a project as the writer of a dataset wants to see them. Used on a thread that may block.
#[derive(Debug)]
pub struct LabelledImages {
    store: Store,
    runtime: Handle,
    tags: Vec<Id>,
    /// With width and height in pixels, upright.
    images: Vec<(Id, u32, u32)>,
}

impl LabelledImages {
    /// None yet; `tags` are those of [`classes`].
    pub fn new(store: Store, runtime: Handle, tags: Vec<Id>) -> LabelledImages {
        LabelledImages { store, runtime, tags, images: Vec::new() }
    }

    /// The image, if it is in the workspace.
    pub fn find(&self, id: Id) -> Result<Option<Labelled>> {
        self.runtime.block_on(self.store.read(move |tx| found(tx, id)))
    }

    /// Its bytes; none when they were deleted since.
    pub fn bytes(&self, image: &Labelled) -> Result<Option<Vec<u8>>> {
        match self.runtime.block_on(self.store.blobs().get(&image.node.doc.original)) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some),
        }
    }

    /// Adds an image, whose size in pixels stands in its file only: what is to be written of it.
    pub fn add(&mut self, image: &Labelled, bytes: &[u8]) -> habeas_dataset::Image {
        let doc = &image.node.doc;
        let (width, height) = imaging::dimensions(bytes).unwrap_or((doc.width, doc.height));
        self.images.push((image.node.id, width, height));
        self.described(image, width, height)
    }

    fn described(&self, image: &Labelled, width: u32, height: u32) -> habeas_dataset::Image {
        let Labelled { node, tags } = image;
        let number = |tag: &Id| self.tags.iter().position(|known| known == tag);
        let regions: Vec<Region> = node
            .doc
            .regions
            .iter()
            .filter_map(|region| {
                Some(Region {
                    tag: number(&region.tag)?,
                    left: region.left,
                    top: region.top,
                    width: region.width,
                    height: region.height,
                })
            })
            .collect();
        let mut tags: Vec<usize> = tags.iter().filter_map(number).collect();
        tags.extend(regions.iter().map(|region| region.tag));
        tags.sort_unstable();
        tags.dedup();
        habeas_dataset::Image {
            file: format!("{}.{}", node.id, Image::extension(&node.doc.original.media_type)),
            name: node.doc.file_name.clone(),
            width,
            height,
            tags,
            regions,
            metadata: node.doc.metadata.clone(),
        }
    }
}

/// An image and its tags.
fn found(tx: &mut Tx<'_>, id: Id) -> Result<Option<Labelled>> {
    let Some(node) = tx.get::<Image>(id)? else { return Ok(None) };
    let tags = tx.targets(id, Relation::Tagged)?.into_iter().map(|(tag, _)| tag).collect();
    Ok(Some(Labelled { node, tags }))
}

impl Images for LabelledImages {
    fn each(&mut self, visit: &mut dyn FnMut(u64, &habeas_dataset::Image) -> Result<()>) -> Result<()> {
        let mut number = 0;
        for images in self.images.chunks(PAGE) {
            let ids: Vec<Id> = images.iter().map(|(id, _, _)| *id).collect();
            let read = move |tx: &mut Tx<'_>| ids.iter().map(|id| found(tx, *id)).collect::<Result<Vec<_>>>();
            let page = self.runtime.block_on(self.store.read(read))?;
            for (image, (_, width, height)) in page.into_iter().zip(images) {
                if let Some(image) = image {
                    visit(number, &self.described(&image, *width, *height))?;
                }
                number += 1;
            }
        }
        Ok(())
    }
}

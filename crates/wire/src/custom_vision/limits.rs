//! Limits of the API: Microsoft's numbers by default, quotas off. Every refusal names the limit.

use habeas_core::kinds::PREDICTION_DAYS;

/// The limits in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one training image.
    pub image_bytes: u64,
    /// Bytes of an image that a prediction is asked for.
    pub prediction_image_bytes: u64,
    /// Days that predictions and suggestions are kept; 0 to keep none.
    pub prediction_days: u32,
    /// Predictions that one request may delete.
    pub predictions_per_request: usize,
    /// Images for which one request may ask for suggestions.
    pub images_per_suggestion: usize,
    /// Images in one upload.
    pub images_per_batch: usize,
    /// Tags that one request may name.
    pub tags_per_request: usize,
    /// Images that one request may name.
    pub images_per_request: usize,
    /// Images of which one request may remove tags.
    pub images_per_untagging: usize,
    /// Regions that one request may name.
    pub regions_per_request: usize,
    /// Tags on one image.
    pub tags_per_image: usize,
    /// Regions on one image.
    pub regions_per_image: usize,
    /// The key of an image's metadata that names the persons whom it shows.
    pub depicts_key: String,
    /// Pairs of metadata on one image.
    pub metadata_pairs: usize,
    /// Characters of a metadata key.
    pub metadata_key: usize,
    /// Characters of a metadata value.
    pub metadata_value: usize,
    /// Characters of the name of a project or tag.
    pub name: usize,
    /// Characters of the description of a project or tag.
    pub description: usize,
    /// Items on a page.
    pub page: u64,
    /// Projects of an account; none for no limit.
    pub projects_per_account: Option<u64>,
    /// Images of a project; none for no limit.
    pub images_per_project: Option<u64>,
    /// Tags of a project; none for no limit.
    pub tags_per_project: Option<u64>,
    /// Bytes of a dataset's archive.
    pub dataset_bytes: u64,
    /// Files in a dataset's archive.
    pub dataset_files: u64,
    /// Limits of decoding.
    pub decoding: habeas_learn::imaging::Limits,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            image_bytes: 6 * 1024 * 1024,
            prediction_image_bytes: 4 * 1024 * 1024,
            prediction_days: PREDICTION_DAYS,
            predictions_per_request: 64,
            images_per_suggestion: 64,
            images_per_batch: 64,
            tags_per_request: 20,
            images_per_request: 256,
            images_per_untagging: 64,
            regions_per_request: 64,
            tags_per_image: 100,
            regions_per_image: 300,
            depicts_key: "depicts".to_owned(),
            metadata_pairs: 10,
            metadata_key: 128,
            metadata_value: 256,
            name: 256,
            description: 4096,
            page: 256,
            projects_per_account: None,
            images_per_project: None,
            tags_per_project: None,
            dataset_bytes: 100 << 30,
            dataset_files: 500_000,
            decoding: habeas_learn::imaging::Limits::default(),
        }
    }
}

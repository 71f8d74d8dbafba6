//! The sample images of `data/custom-vision`, compiled in; see the README there for their source and licence.

/// A sample image.
pub(crate) struct Sample {
    /// Its file name.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) tag: &'static str,
    /// Where it shows it: left, top, width, height in fractions; none for images to be classified.
    pub(crate) region: Option<[f64; 4]>,
    /// The file.
    pub(crate) bytes: &'static [u8],
}

macro_rules! sample {
    ($path:literal, $name:literal, $tag:literal, $region:expr) => {
        Sample {
            name: $name,
            tag: $tag,
            region: $region,
            bytes: include_bytes!(concat!("../../../data/custom-vision/", $path)),
        }
    };
}

/// All 62.
#[rustfmt::skip]
#[expect(clippy::unreadable_literal, reason = "boxes as they were published")]
pub(crate) const IMAGES: &[Sample] = &[
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_1.jpg", "hemlock_1.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_10.jpg", "hemlock_10.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_2.jpg", "hemlock_2.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_3.jpg", "hemlock_3.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_4.jpg", "hemlock_4.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_5.jpg", "hemlock_5.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_6.jpg", "hemlock_6.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_7.jpg", "hemlock_7.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_8.jpg", "hemlock_8.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Hemlock/hemlock_9.jpg", "hemlock_9.jpg", "Hemlock", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_1.jpg", "japanese_cherry_1.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_10.jpg", "japanese_cherry_10.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_2.jpg", "japanese_cherry_2.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_3.jpg", "japanese_cherry_3.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_4.jpg", "japanese_cherry_4.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_5.jpg", "japanese_cherry_5.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_6.jpg", "japanese_cherry_6.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_7.jpg", "japanese_cherry_7.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_8.jpg", "japanese_cherry_8.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Japanese_Cherry/japanese_cherry_9.jpg", "japanese_cherry_9.jpg", "Japanese_Cherry", None),
    sample!("CustomVision/ImageClassification/Images/Test/test_image.jpg", "test_image.jpg", "Hemlock", None),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_1.jpg", "fork_1.jpg", "fork", Some([0.145833328, 0.3509314, 0.5894608, 0.238562092])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_10.jpg", "fork_10.jpg", "fork", Some([0.05269608, 0.282303959, 0.8088235, 0.452614367])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_11.jpg", "fork_11.jpg", "fork", Some([0.05759804, 0.0894935, 0.9007353, 0.3251634])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_12.jpg", "fork_12.jpg", "fork", Some([0.3345588, 0.07315363, 0.375, 0.9150327])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_13.jpg", "fork_13.jpg", "fork", Some([0.269607842, 0.194068655, 0.4093137, 0.6732026])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_14.jpg", "fork_14.jpg", "fork", Some([0.143382356, 0.218578458, 0.7977941, 0.295751631])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_15.jpg", "fork_15.jpg", "fork", Some([0.19240196, 0.0633497, 0.5710784, 0.8398692])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_16.jpg", "fork_16.jpg", "fork", Some([0.140931368, 0.480016381, 0.6838235, 0.240196079])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_17.jpg", "fork_17.jpg", "fork", Some([0.305147052, 0.2512582, 0.4791667, 0.5408496])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_18.jpg", "fork_18.jpg", "fork", Some([0.234068632, 0.445702642, 0.6127451, 0.344771236])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_19.jpg", "fork_19.jpg", "fork", Some([0.219362751, 0.141781077, 0.5919118, 0.6683006])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_2.jpg", "fork_2.jpg", "fork", Some([0.294117659, 0.216944471, 0.534313738, 0.5980392])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_20.jpg", "fork_20.jpg", "fork", Some([0.180147052, 0.239820287, 0.6887255, 0.235294119])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_3.jpg", "fork_3.jpg", "fork", Some([0.09191177, 0.0682516545, 0.757352948, 0.6143791])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_4.jpg", "fork_4.jpg", "fork", Some([0.254901975, 0.185898721, 0.5232843, 0.594771266])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_5.jpg", "fork_5.jpg", "fork", Some([0.2365196, 0.128709182, 0.5845588, 0.71405226])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_6.jpg", "fork_6.jpg", "fork", Some([0.115196079, 0.133611143, 0.676470637, 0.6993464])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_7.jpg", "fork_7.jpg", "fork", Some([0.164215669, 0.31008172, 0.767156839, 0.410130739])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_8.jpg", "fork_8.jpg", "fork", Some([0.118872553, 0.318251669, 0.817401946, 0.225490168])),
    sample!("CustomVision/ObjectDetection/Images/fork/fork_9.jpg", "fork_9.jpg", "fork", Some([0.18259804, 0.2136765, 0.6335784, 0.643790841])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_1.jpg", "scissors_1.jpg", "scissors", Some([0.4007353, 0.194068655, 0.259803921, 0.6617647])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_10.jpg", "scissors_10.jpg", "scissors", Some([0.204656869, 0.120539248, 0.5245098, 0.743464053])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_11.jpg", "scissors_11.jpg", "scissors", Some([0.05514706, 0.159754932, 0.799019635, 0.730392158])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_12.jpg", "scissors_12.jpg", "scissors", Some([0.265931368, 0.169558853, 0.5061275, 0.606209159])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_13.jpg", "scissors_13.jpg", "scissors", Some([0.241421565, 0.184264734, 0.448529422, 0.6830065])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_14.jpg", "scissors_14.jpg", "scissors", Some([0.05759804, 0.05027781, 0.75, 0.882352948])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_15.jpg", "scissors_15.jpg", "scissors", Some([0.191176474, 0.169558853, 0.6936275, 0.6748366])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_16.jpg", "scissors_16.jpg", "scissors", Some([0.1004902, 0.279036, 0.6911765, 0.477124184])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_17.jpg", "scissors_17.jpg", "scissors", Some([0.2720588, 0.131977156, 0.4987745, 0.6911765])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_18.jpg", "scissors_18.jpg", "scissors", Some([0.180147052, 0.112369314, 0.6262255, 0.6666667])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_19.jpg", "scissors_19.jpg", "scissors", Some([0.333333343, 0.0274019931, 0.443627447, 0.852941155])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_2.jpg", "scissors_2.jpg", "scissors", Some([0.426470578, 0.185898721, 0.172794119, 0.5539216])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_20.jpg", "scissors_20.jpg", "scissors", Some([0.158088237, 0.04047389, 0.6691176, 0.843137264])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_3.jpg", "scissors_3.jpg", "scissors", Some([0.289215684, 0.259428144, 0.403186262, 0.421568632])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_4.jpg", "scissors_4.jpg", "scissors", Some([0.343137264, 0.105833367, 0.332107842, 0.8055556])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_5.jpg", "scissors_5.jpg", "scissors", Some([0.3125, 0.09766343, 0.435049027, 0.71405226])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_6.jpg", "scissors_6.jpg", "scissors", Some([0.379901975, 0.24308826, 0.32107842, 0.5718954])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_7.jpg", "scissors_7.jpg", "scissors", Some([0.341911763, 0.20714055, 0.3137255, 0.6356209])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_8.jpg", "scissors_8.jpg", "scissors", Some([0.231617644, 0.08459154, 0.504901946, 0.8480392])),
    sample!("CustomVision/ObjectDetection/Images/scissors/scissors_9.jpg", "scissors_9.jpg", "scissors", Some([0.170343131, 0.332957536, 0.767156839, 0.403594762])),
    sample!("CustomVision/ObjectDetection/Images/test/test_image.jpg", "test_image.jpg", "fork", Some([0.1, 0.26, 0.64, 0.54])),
];

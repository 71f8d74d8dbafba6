//! The members of services in requests.

use super::fields::{Field, Shape, optional, required};

const COMPUTE: &[Field] = &[optional("id", Shape::Text), optional("type", Shape::Text)];

const SCALING: &[Field] = &[
    optional("autoscaleEnabled", Shape::Flag),
    optional("minReplicas", Shape::Whole(0, 10_000)),
    optional("maxReplicas", Shape::Whole(0, 10_000)),
    optional("targetUtilization", Shape::Whole(0, 100)),
    optional("refreshPeriodInSeconds", Shape::Whole(0, 86_400)),
];

const COLLECTION: &[Field] =
    &[optional("storageEnabled", Shape::Flag), optional("eventHubEnabled", Shape::Flag)];

/// The command line of 2017 sends memory as a text, `1G`.
const RESERVATION: &[Field] = &[optional("cpu", Shape::Number), optional("memory", Shape::Long)];

const RESOURCES: &[Field] = &[
    optional("cpu", Shape::Number),
    optional("cpuLimit", Shape::Number),
    optional("memoryInGB", Shape::Number),
    optional("memoryInGBLimit", Shape::Number),
    optional("gpu", Shape::Number),
    optional("fpga", Shape::Number),
];

const LIVENESS: &[Field] = &[
    optional("periodSeconds", Shape::Whole(0, 86_400)),
    optional("initialDelaySeconds", Shape::Whole(0, 86_400)),
    optional("timeoutSeconds", Shape::Whole(0, 86_400)),
    optional("successThreshold", Shape::Whole(0, 10_000)),
    optional("failureThreshold", Shape::Whole(0, 10_000)),
];

const KEYS: &[Field] = &[optional("primaryKey", Shape::Text), optional("secondaryKey", Shape::Text)];

/// What of a service can be changed. Certificates and their keys are taken and dropped: the server has its own, and keeps nobody's secrets
/// that it does not need.
pub(super) const CHANGEABLE: &[Field] = &[
    optional("description", Shape::Text),
    optional("tags", Shape::Texts),
    optional("kvTags", Shape::Map),
    optional("properties", Shape::Map),
    optional("imageId", Shape::Text),
    optional("modelId", Shape::Text),
    optional("environmentImageRequest", Shape::Long),
    optional("keys", Shape::Object(KEYS)),
    optional("computeType", Shape::Text),
    optional("computeName", Shape::Text),
    optional("numReplicas", Shape::Whole(0, 10_000)),
    optional("autoScaler", Shape::Object(SCALING)),
    optional("containerResourceReservation", Shape::Object(RESERVATION)),
    optional("containerResourceRequirements", Shape::Object(RESOURCES)),
    optional("dataCollection", Shape::Object(COLLECTION)),
    optional("livenessProbeRequirements", Shape::Object(LIVENESS)),
    optional("appInsightsEnabled", Shape::Flag),
    optional("maxConcurrentRequestsPerContainer", Shape::Whole(0, 1_000_000)),
    optional("maxQueueWaitMs", Shape::Whole(0, 86_400_000)),
    optional("scoringTimeoutMs", Shape::Whole(0, 86_400_000)),
    optional("isDefault", Shape::Flag),
    optional("trafficPercentile", Shape::Number),
    optional("type", Shape::Text),
    optional("authEnabled", Shape::Flag),
    optional("aadAuthEnabled", Shape::Flag),
    optional("sslEnabled", Shape::Flag),
    optional("sslCertificate", Shape::Long),
    optional("sslKey", Shape::Long),
    optional("cname", Shape::Text),
    optional("dnsNameLabel", Shape::Text),
    optional("namespace", Shape::Text),
    optional("location", Shape::Text),
    optional("vnetConfiguration", Shape::Long),
    optional("encryptionProperties", Shape::Long),
    optional("versions", Shape::Named(VERSION)),
];

/// What of a version of an endpoint can be changed. `azureml-core` calls its tags `tags` when it changes them, and `kvTags` when it makes it.
/// How it is asked is the endpoint's to say.
const VERSION: &[Field] = &[
    optional("description", Shape::Text),
    optional("kvTags", Shape::Map),
    optional("tags", Shape::Map),
    optional("properties", Shape::Map),
    optional("imageId", Shape::Text),
    optional("modelId", Shape::Text),
    optional("environmentImageRequest", Shape::Long),
    optional("computeName", Shape::Text),
    optional("numReplicas", Shape::Whole(0, 10_000)),
    optional("autoScaler", Shape::Object(SCALING)),
    optional("containerResourceRequirements", Shape::Object(RESOURCES)),
    optional("dataCollection", Shape::Object(COLLECTION)),
    optional("livenessProbeRequirements", Shape::Object(LIVENESS)),
    optional("appInsightsEnabled", Shape::Flag),
    optional("maxConcurrentRequestsPerContainer", Shape::Whole(0, 1_000_000)),
    optional("maxQueueWaitMs", Shape::Whole(0, 86_400_000)),
    optional("scoringTimeoutMs", Shape::Whole(0, 86_400_000)),
    optional("isDefault", Shape::Flag),
    optional("trafficPercentile", Shape::Number),
    optional("type", Shape::Text),
    optional("namespace", Shape::Text),
];

/// What is said once, when a service is made.
pub(super) const ONCE: &[Field] = &[
    required("name", Shape::Text),
    optional("overwrite", Shape::Flag),
    optional("computeResource", Shape::Object(COMPUTE)),
];

/// What is dropped: secrets that are not needed.
pub(super) const DROPPED: [&str; 2] = ["sslCertificate", "sslKey"];

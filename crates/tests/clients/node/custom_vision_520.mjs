// Drives every data operation through Microsoft's unmodified JavaScript client (5.2.0, training API 3.4-preview).
import { readFileSync, readdirSync } from "node:fs";
import { TrainingAPIClient } from "@azure/cognitiveservices-customvision-training";
import { ApiKeyCredentials } from "@azure/ms-rest-js";

const { HABEAS_TEST_ENDPOINT, HABEAS_TEST_KEY, HABEAS_TEST_OTHER_KEY, HABEAS_TEST_IMAGES } = process.env;
let passed = 0;
let failed = 0;

const client = (key) =>
  new TrainingAPIClient(new ApiKeyCredentials({ inHeader: { "Training-key": key } }), HABEAS_TEST_ENDPOINT);

function check(name, condition) {
  if (condition) {
    passed += 1;
  } else {
    failed += 1;
    console.log(`FAILED: ${name}`);
  }
}

async function refused(name, status, code, call) {
  try {
    await call();
    check(`${name}: not refused`, false);
  } catch (error) {
    check(`${name}: ${error.statusCode} ${error.code}`, error.statusCode === status && error.code === code);
  }
}

const trainer = client(HABEAS_TEST_KEY);
const domains = await trainer.getDomains();
const detection = domains.find((domain) => domain.type === "ObjectDetection");
check("the first detection domain", detection.name === "General");

const project = await trainer.createProject("Cutlery", { domainId: detection.id });
check("created", (await trainer.getProject(project.id)).name === "Cutlery");
check("listed", (await trainer.getProjects()).length === 1);
check("updated", (await trainer.updateProject(project.id, { name: "Forks", description: null, settings: project.settings })).name === "Forks");
await refused("another account's project", 404, "NotFoundProject", () => client(HABEAS_TEST_OTHER_KEY).getProject(project.id));
await refused("a wrong key", 401, "401", () => client("0".repeat(32)).getProjects());

const fork = await trainer.createTag(project.id, "fork");
await refused("a name twice", 400, "BadRequestTagNameNotUnique", () => trainer.createTag(project.id, "fork"));
const folder = `${HABEAS_TEST_IMAGES}/ObjectDetection/Images/fork`;
const files = readdirSync(folder).sort();
// As the quickstart does: all at once.
const uploads = await Promise.all(
  files.map((name) => {
    const regions = [{ tagId: fork.id, left: 0.1, top: 0.2, width: 0.5, height: 0.6 }];
    const images = [{ name, contents: readFileSync(`${folder}/${name}`), regions }];
    return trainer.createImagesFromFiles(project.id, { images });
  }),
);
check("20 uploads at once", uploads.every((summary) => summary.isBatchSuccessful && summary.images[0].status === "OK"));
const again = await trainer.createImagesFromData(project.id, readFileSync(`${folder}/${files[0]}`));
check("the same bytes", again.images[0].status === "OKDuplicate");
check("count", (await trainer.getImageCount(project.id)).body === 20);
check("tagged", (await trainer.getTaggedImageCount(project.id)).body === 20);
const images = await trainer.getImages(project.id, { take: 256, orderBy: "Oldest" });
check("images", images.length === 20 && images[0].regions.length === 1);
const updated = await trainer.updateImageMetadata(project.id, [images[0].id], { place: "kitchen" });
check("metadata", updated.isBatchSuccessful);
const found = await trainer.getImages(project.id, { filter: "place eq 'kitchen'" });
check("filter", found.length === 1 && found[0].id === images[0].id);
const made = await trainer.createImageRegions(project.id, {
  regions: [{ imageId: images[0].id, tagId: fork.id, left: 0.2, top: 0.2, width: 0.2, height: 0.2 }],
});
check("a region", made.created.length === 1);
await trainer.deleteImageRegions(project.id, [made.created[0].regionId]);
await trainer.deleteImageTags(project.id, [images[0].id], [fork.id]);
check("untagged", (await trainer.getUntaggedImages(project.id)).length === 1);
const tagged = await trainer.createImageTags(project.id, { tags: [{ imageId: images[0].id, tagId: fork.id }] });
check("tagged again", tagged.created.length === 1);
check("by id", (await trainer.getImagesByIds(project.id, { imageIds: [images[1].id] }))[0].id === images[1].id);
const bytes = Buffer.from(await (await fetch(images[1].originalImageUri)).arrayBuffer());
check("original bytes", files.some((name) => readFileSync(`${folder}/${name}`).equals(bytes)));
await trainer.deleteImages(project.id, { imageIds: [images[1].id] });
check("the address died", (await fetch(images[1].originalImageUri)).status === 404);
await trainer.deleteImages(project.id, { allImages: true, allIterations: true });
check("all deleted", (await trainer.getImageCount(project.id)).body === 0);
await refused("training on nothing", 400, "BadRequestDetectionTrainingValidationFailed", () => trainer.trainProject(project.id));
await trainer.deleteTag(project.id, fork.id);
await trainer.deleteProject(project.id);
await refused("a deleted project", 404, "NotFoundProject", () => trainer.getProject(project.id));

console.log(`custom vision 5.2.0: ${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);

// The sequence of calls of Microsoft's quickstart for classification, and the export that its guide goes on with.
import { readFileSync } from "node:fs";
import { PredictionAPIClient } from "@azure/cognitiveservices-customvision-prediction";
import { TrainingAPIClient } from "@azure/cognitiveservices-customvision-training";
import { ApiKeyCredentials } from "@azure/ms-rest-js";
import { CLASSES, ENDPOINT, KEY, PREDICTION_KEY, RESOURCE, check, finish, photos, trained, until } from "./driven.mjs";

const credentials = (name, key) => new ApiKeyCredentials({ inHeader: { [name]: key } });
const trainer = new TrainingAPIClient(credentials("Training-key", KEY), `${ENDPOINT}/`);
const predictor = new PredictionAPIClient(credentials("Prediction-key", PREDICTION_KEY), `${ENDPOINT}/`);

const project = await trainer.createProject("Sample Project");
const tags = [];
for (const name of ["Hemlock", "Japanese Cherry"]) {
  tags.push(await trainer.createTag(project.id, name));
}
// All at once, each in a request of its own.
const images = tags.flatMap((tag) => photos(`${CLASSES}/${tag.name.replace(" ", "_")}`).map((photo) => [photo.contents, { tagIds: [tag.id] }]));
const uploads = await Promise.all(images.map(([contents, options]) => trainer.createImagesFromData(project.id, contents, options)));
check("uploaded", uploads.every((summary) => summary.isBatchSuccessful));
// Anything but Training ends the wait.
const iteration = await trained(trainer, project.id, await trainer.trainProject(project.id));
check("completed", iteration.status === "Completed");
const measured = await trainer.getIterationPerformance(project.id, iteration.id);
check("measured by tag", measured.perTagPerformance.length === 2);
await trainer.publishIteration(project.id, iteration.id, "classifyModel", RESOURCE);
const test = readFileSync(`${CLASSES}/Test/test_image.jpg`);
const answer = await predictor.classifyImage(project.id, "classifyModel", test);
for (const said of answer.predictions.slice(0, 3)) {
  console.log(`\t${said.tagName}: ${(said.probability * 100).toFixed(2)}%`);
}
check("hemlock", answer.predictions[0].tagName === "Hemlock");

// Only models of a compact domain can be exported: the project is moved to one and trained again.
const compact = (await trainer.getDomains()).find((found) => found.exportable && found.type === "Classification");
await trainer.updateProject(project.id, { ...project, settings: { ...project.settings, domainId: compact.id } });
const small = await trained(trainer, project.id, await trainer.trainProject(project.id));
await trainer.exportIteration(project.id, small.id, "ONNX");
const done = await until(async () => (await trainer.getExports(project.id, small.id)).find((one) => one.status !== "Exporting"));
const archive = Buffer.from(await (await fetch(done.downloadUri)).arrayBuffer());
check("downloaded", done.status === "Done" && archive.subarray(0, 2).toString() === "PK");

await trainer.unpublishIteration(project.id, iteration.id);
await trainer.deleteProject(project.id);
check("ended well", (await trainer.getProjects()).length === 0);
finish("quickstart, classification");

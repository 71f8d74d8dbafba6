// The sequence of calls of Microsoft's quickstart for object detection. The Python program of this name goes on with an export.
import { readFileSync } from "node:fs";
import { PredictionAPIClient } from "@azure/cognitiveservices-customvision-prediction";
import { TrainingAPIClient } from "@azure/cognitiveservices-customvision-training";
import { ApiKeyCredentials } from "@azure/ms-rest-js";
import { ENDPOINT, KEY, OBJECTS, PREDICTION_KEY, RESOURCE, box, check, finish, photos, trained } from "./driven.mjs";

const credentials = (name, key) => new ApiKeyCredentials({ inHeader: { [name]: key } });
const trainer = new TrainingAPIClient(credentials("Training-key", KEY), `${ENDPOINT}/`);
const predictor = new PredictionAPIClient(credentials("Prediction-key", PREDICTION_KEY), `${ENDPOINT}/`);

// The first domain for detection, whatever its name.
const domain = (await trainer.getDomains()).find((found) => found.type === "ObjectDetection");
const project = await trainer.createProject("Sample Obj Detection Project", { domainId: domain.id });
const tags = [];
for (const name of ["fork", "scissors"]) {
  tags.push(await trainer.createTag(project.id, name));
}
// All at once, each in a request of its own.
const images = tags.flatMap((tag) => photos(`${OBJECTS}/${tag.name}`).map((photo) => ({ ...photo, regions: [{ tagId: tag.id, ...box(photo.name) }] })));
const uploads = await Promise.all(images.map((image) => trainer.createImagesFromFiles(project.id, { images: [image] })));
check("uploaded", uploads.every((summary) => summary.isBatchSuccessful));
// Anything but Training ends the wait.
const iteration = await trained(trainer, project.id, await trainer.trainProject(project.id));
check("completed", iteration.status === "Completed");
const measured = await trainer.getIterationPerformance(project.id, iteration.id);
check("measured by tag", measured.perTagPerformance.length === 2);
await trainer.publishIteration(project.id, iteration.id, "detectModel", RESOURCE);
const test = readFileSync(`${OBJECTS}/test/test_image.jpg`);
const answer = await predictor.detectImage(project.id, "detectModel", test);
for (const said of answer.predictions.slice(0, 3)) {
  console.log(`\t${said.tagName}: ${(said.probability * 100).toFixed(2)}%`);
}
check("a fork", answer.predictions[0].tagName === "fork");

await trainer.unpublishIteration(project.id, iteration.id);
await trainer.deleteProject(project.id);
check("ended well", (await trainer.getProjects()).length === 0);
finish("quickstart, detection");

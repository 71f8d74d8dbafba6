// Drives every operation of Microsoft's unmodified JavaScript clients: training 5.2.0 (API 3.4-preview), prediction 5.1.2 (API 3.1).
import { readFileSync, readdirSync } from "node:fs";
import { PredictionAPIClient } from "@azure/cognitiveservices-customvision-prediction";
import { TrainingAPIClient } from "@azure/cognitiveservices-customvision-training";
import { ApiKeyCredentials } from "@azure/ms-rest-js";
import {
  CLASSES,
  ENDPOINT,
  KEY,
  OBJECTS,
  OTHER_KEY,
  PREDICTION_KEY,
  RESOURCE,
  box,
  check,
  covered,
  farEnd,
  finish,
  photos,
  refused,
  trained,
  until,
  watch,
} from "./driven.mjs";

const training = (inHeader) => watch("training", new TrainingAPIClient(new ApiKeyCredentials({ inHeader }), ENDPOINT));
const prediction = (inHeader) => watch("prediction", new PredictionAPIClient(new ApiKeyCredentials({ inHeader }), ENDPOINT));

const other = training({ "Training-key": OTHER_KEY });
const trainer = training({ "Training-key": KEY });
const predictor = prediction({ "Prediction-key": PREDICTION_KEY });

// Projects, tags, images and regions.
async function labelling() {
  const domains = await trainer.getDomains();
  const detection = domains.find((domain) => domain.type === "ObjectDetection");
  check("the first detection domain", detection.name === "General");

  const project = await trainer.createProject("Cutlery", { domainId: detection.id });
  check("created", (await trainer.getProject(project.id)).name === "Cutlery");
  check("listed", (await trainer.getProjects()).length === 1);
  check("updated", (await trainer.updateProject(project.id, { name: "Forks", description: null, settings: project.settings })).name === "Forks");
  await refused("another account's project", 404, "NotFoundProject", () => other.getProject(project.id));
  await refused("a wrong key", 401, "401", () => training({ "Training-key": "0".repeat(32) }).getProjects());

  const fork = await trainer.createTag(project.id, "fork");
  await refused("a name twice", 400, "BadRequestTagNameNotUnique", () => trainer.createTag(project.id, "fork"));
  const folder = `${OBJECTS}/fork`;
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
}

// A project with two tags of ten photos each in a compact domain, whose models can be exported.
async function leaves(from) {
  const domains = await trainer.getDomains();
  const compact = domains.find((domain) => domain.type === "Classification" && domain.name === "General (compact)");
  check("one domain", (await trainer.getDomain(compact.id)).exportablePlatforms.join() === "ONNX");
  const options = { notificationQueueUri: `${from.address}/told` };
  const project = await trainer.createProject("Leaves", { domainId: compact.id, classificationType: "Multiclass", options });
  check("connected", (await from.next("ConnectionTest")).Content.projectId === project.id);
  const tags = [];
  for (const name of ["Hemlock", "Japanese_Cherry"]) {
    const tag = await trainer.createTag(project.id, name);
    const images = photos(`${CLASSES}/${name}`).map((photo) => ({ url: `${from.address}/${photo.name}` }));
    const made = await trainer.createImagesFromUrls(project.id, { images, tagIds: [tag.id] });
    check("images from addresses", made.isBatchSuccessful && made.images[0].sourceUrl === images[0].url);
    tags.push(tag);
  }
  const described = await trainer.updateTag(project.id, tags[0].id, { ...tags[0], description: "a conifer" });
  check("described", described.description === "a conifer");
  check("tags", (await trainer.getTag(project.id, tags[0].id)).imageCount === 10 && (await trainer.getTags(project.id)).length === 2);
  return { project, tags };
}

// A classifier: trained, measured, asked in every way, exported, and copied with its project.
async function classifying() {
  const test = readFileSync(`${CLASSES}/Test/test_image.jpg`);
  const all = [...photos(`${CLASSES}/Hemlock`), ...photos(`${CLASSES}/Japanese_Cherry`), { name: "test.jpg", contents: test }];
  const from = await farEnd(Object.fromEntries(all.map((photo) => [`/${photo.name}`, photo.contents])));
  const url = { url: `${from.address}/test.jpg` };
  const { project, tags } = await leaves(from);
  const [hemlock, cherry] = tags;

  let iteration = await trainer.trainProject(project.id);
  check("at once", iteration.status === "Training" && iteration.name === "Iteration 1");
  await refused("twice at once", 400, "BadRequestTrainingAlreadyInProgress", () => trainer.trainProject(project.id));
  iteration = await trained(trainer, project.id, iteration);
  check("trained", iteration.status === "Completed" && iteration.exportableTo.join() === "ONNX");
  const told = (await from.next("Training")).Content;
  check("told of it", told.iterationId === iteration.id && told.trainingStatus === "TrainingCompleted");
  await refused("nothing changed", 400, "BadRequestTrainingNotNeeded", () => trainer.trainProject(project.id));
  const trainingParameters = { selectedTags: tags.map((tag) => tag.id), customBaseModelInfo: { projectId: project.id, iterationId: iteration.id } };
  const options = { trainingType: "Advanced", reservedBudgetInHours: 1, forceTrain: true, trainingParameters };
  const second = await trained(trainer, project.id, await trainer.trainProject(project.id, options));
  check("forced", second.status === "Completed" && second.customBaseModelInfo.iterationId === iteration.id);
  check("listed", (await trainer.getIterations(project.id)).length === 2);
  check("renamed", (await trainer.updateIteration(project.id, second.id, { name: "second" })).name === "second");
  await trainer.deleteIteration(project.id, second.id);
  await refused("deleted", 404, "NotFoundIteration", () => trainer.getIteration(project.id, second.id));

  const measured = await trainer.getIterationPerformance(project.id, iteration.id, { threshold: 0.5, overlapThreshold: 0.3 });
  check("measured", measured.perTagPerformance.length === 2 && measured.averagePrecision > 0.5);
  const evaluated = await trainer.getImagePerformances(project.id, iteration.id, { tagIds: [hemlock.id], take: 5, skip: 5 });
  check("evaluated", evaluated.length === 5 && evaluated[0].tags[0].tagName === "Hemlock");
  check("how many", (await trainer.getImagePerformanceCount(project.id, iteration.id)).body === 20);

  check("published", (await trainer.publishIteration(project.id, iteration.id, "leaves", RESOURCE)).body === true);
  const answers = [
    await predictor.classifyImage(project.id, "leaves", test, { application: "garden" }),
    await predictor.classifyImageUrl(project.id, "leaves", url),
    await predictor.classifyImageWithNoStore(project.id, "leaves", test),
    await predictor.classifyImageUrlWithNoStore(project.id, "leaves", url),
    await trainer.quickTestImage(project.id, test, { iterationId: iteration.id }),
    await trainer.quickTestImageUrl(project.id, url, { store: false }),
  ];
  const said = answers.map((answer) => JSON.stringify(answer.predictions));
  check("answers agree", said.every((text) => text === said[0]));
  check("a twig of hemlock", answers[0].predictions[0].tagName === "Hemlock" && answers[0].predictions[0].probability > 0.5);
  await refused("an unknown name", 404, "NotFoundIteration", () => predictor.classifyImage(project.id, "trees", test));
  await refused("detected", 400, "BadRequestNotSupported", () => predictor.detectImage(project.id, "leaves", test));
  await refused("no image", 400, "BadRequestImageFormat", () => predictor.classifyImage(project.id, "leaves", Buffer.from("no image")));

  const stored = await trainer.queryPredictions(project.id, { orderBy: "Oldest" });
  check("stored", stored.results.map((one) => one.id).join() === [0, 1, 4].map((number) => answers[number].id).join());
  const taken = { images: [{ id: answers[0].id, tagIds: [hemlock.id] }] };
  check("a training image now", (await trainer.createImagesFromPredictions(project.id, taken)).isBatchSuccessful);
  await trainer.deletePrediction(project.id, [answers[1].id, answers[4].id]);
  check("all gone", (await trainer.queryPredictions(project.id, {})).results.length === 0);

  const unsure = (await trainer.createImagesFromData(project.id, readFileSync(`${OBJECTS}/test/test_image.jpg`))).images[0].image;
  const [suggested] = await trainer.suggestTagsAndRegions(project.id, iteration.id, [unsure.id]);
  check("a suggestion", suggested.id === unsure.id && suggested.predictions.length === 2);
  const wanted = { tagIds: [hemlock.id, cherry.id], threshold: 0.5 };
  const found = await trainer.querySuggestedImages(project.id, iteration.id, { ...wanted, maxCount: 5, sortBy: "UncertaintyAscending" });
  check("found again", found.results.length === 1 && found.results[0].id === unsure.id);
  const counts = await trainer.querySuggestedImageCount(project.id, iteration.id, wanted);
  check("counted", counts[hemlock.id] + counts[cherry.id] === 1);
  check("untagged", (await trainer.getUntaggedImageCount(project.id)).body === 1);
  check("by tag", (await trainer.getTaggedImages(project.id, { tagIds: [hemlock.id], take: 256 })).length === 11);
  const path = unsure.originalImageUri.split("/blobs/")[1].split("?")[0];
  const pieces = [];
  for await (const piece of (await trainer.getArtifact(project.id, path)).readableStreamBody) {
    pieces.push(piece);
  }
  check("artifact", Buffer.concat(pieces).equals(readFileSync(`${OBJECTS}/test/test_image.jpg`)));

  await refused("an export nobody can write", 400, "BadRequestProjectUnsupportedExportPlatform", () => trainer.exportIteration(project.id, iteration.id, "DockerFile"));
  check("ordered", (await trainer.exportIteration(project.id, iteration.id, "ONNX")).status === "Exporting");
  const done = await until(async () => (await trainer.getExports(project.id, iteration.id)).find((one) => one.status !== "Exporting"));
  check("exported", done.status === "Done" && (await fetch(done.downloadUri)).status === 200);
  check("told of the export", (await from.next("Export")).Content.exportStatus === "ExportCompleted");

  const offered = await trainer.exportProject(project.id);
  check("offered", offered.imageCount === 22 && offered.tagCount === 2 && offered.iterationCount === 1);
  const begun = await other.importProject(offered.token, { name: "Leaves, copied" });
  check("importing", begun.status === "Importing");
  const copy = await until(async () => {
    const shown = await other.getProject(begun.id);
    return shown.status === "Importing" ? undefined : shown;
  });
  check("imported", copy.status === "Succeeded" && (await other.getImageCount(copy.id)).body === 22);
  await other.deleteProject(copy.id);

  await trainer.unpublishIteration(project.id, iteration.id);
  await refused("unpublished", 404, "NotFoundIteration", () => predictor.classifyImage(project.id, "leaves", test));
  await trainer.deleteProject(project.id);
}

// A detector: asked in every way.
async function detecting() {
  const test = readFileSync(`${OBJECTS}/test/test_image.jpg`);
  const from = await farEnd({ "/test.jpg": test });
  const url = { url: `${from.address}/test.jpg` };
  const detection = (await trainer.getDomains()).find((domain) => domain.type === "ObjectDetection");
  const project = await trainer.createProject("Cutlery", { domainId: detection.id });
  const images = [];
  for (const name of ["fork", "scissors"]) {
    const tag = await trainer.createTag(project.id, name);
    images.push(...photos(`${OBJECTS}/${name}`).map((photo) => ({ ...photo, regions: [{ tagId: tag.id, ...box(photo.name) }] })));
  }
  const made = await trainer.createImagesFromFiles(project.id, { images });
  check("40 drawn", made.isBatchSuccessful && made.images.length === 40);
  const proposed = await trainer.getImageRegionProposals(project.id, made.images[0].image.id);
  check("proposals", proposed.proposals[0].boundingBox.width > 0);
  const iteration = await trained(trainer, project.id, await trainer.trainProject(project.id));
  check("trained", iteration.status === "Completed");
  await trainer.publishIteration(project.id, iteration.id, "cutlery", RESOURCE, { overwrite: true });
  const answers = [
    await predictor.detectImage(project.id, "cutlery", test),
    await predictor.detectImageUrl(project.id, "cutlery", url),
    await predictor.detectImageWithNoStore(project.id, "cutlery", test),
    await predictor.detectImageUrlWithNoStore(project.id, "cutlery", url),
  ];
  for (const answer of answers) {
    check("a fork", answer.predictions[0].tagName === "fork" && answer.predictions[0].boundingBox.width > 0.2);
  }
  await trainer.unpublishIteration(project.id, iteration.id);
  await trainer.deleteProject(project.id);
}

// What members of an organisation may do by their role.
async function roles() {
  const { HABEAS_TEST_ORGANISATION_KEY: key } = process.env;
  const member = (role) => training({ Authorization: `Bearer ${process.env[`HABEAS_TEST_TOKEN_${role}`]}` });
  const [labeler, deployer, reader] = ["LABELER", "DEPLOYMENT", "READER"].map(member);
  const owner = training({ "Training-key": key });
  const project = await owner.createProject("Park");
  check("seen by members", (await reader.getProjects()).some((seen) => seen.id === project.id));
  const tag = await labeler.createTag(project.id, "oak");
  const code = "ForbiddenUserInsufficientCapability";
  await refused("labelling by the deployment member", 403, code, () => deployer.createTag(project.id, "elm"));
  await refused("training by the labeler", 403, code, () => labeler.trainProject(project.id));
  await refused("publishing by the labeler", 403, code, () => labeler.publishIteration(project.id, tag.id, "x", RESOURCE));
  await refused("publishing what is not there", 404, "NotFoundIteration", () => deployer.publishIteration(project.id, tag.id, "x", RESOURCE));
  await refused("deleting by the trainer", 403, code, () => member("TRAINER").deleteProject(project.id));
  await member("CONTRIBUTOR").deleteProject(project.id);
}

await labelling();
await classifying();
await detecting();
await roles();
covered();
finish("custom vision 5.2.0 and 5.1.2");

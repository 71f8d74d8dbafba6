"""Drives every operation of an earlier release of Microsoft's unmodified Python client, whichever is installed: 0.1.0 to 3.0.0.

They speak training API 1.2, 2.0, 2.1, 2.2, 3.0, 3.2 and 3.3, and prediction API 1.1, 2.0, 3.0 and 3.1.
"""

import io
import os
import zipfile
from importlib.metadata import version
from urllib.request import urlopen

from azure.cognitiveservices.vision.customvision import prediction, training
from azure.cognitiveservices.vision.customvision.training import models
from driven import (
    CLASSES,
    ENDPOINT,
    KEY,
    OBJECTS,
    OTHER_KEY,
    PREDICTION_KEY,
    RESOURCE,
    FarEnd,
    Operations,
    boxes,
    check,
    finish,
    refused,
    trained,
    until,
)
from msrest.authentication import ApiKeyCredentials

TEXT = version("azure-cognitiveservices-vision-customvision")
RELEASE = tuple(int(part) for part in TEXT.split("."))
NAMED, BATCHED = RELEASE >= (1, 0, 0), RELEASE >= (3, 0, 0)
operations = Operations()


def clients(key, prediction_key):
    """The clients of a training and a prediction key, as this release makes them."""
    if RELEASE < (0, 4, 0):
        of_training = {(0, 1, 0): "v1.2", (0, 2, 0): "v2.0", (0, 3, 0): "v2.1"}[RELEASE]
        of_prediction = "v1.1" if RELEASE == (0, 1, 0) else "v2.0"
        from azure.cognitiveservices.vision.customvision.prediction.prediction_endpoint import PredictionEndpoint
        from azure.cognitiveservices.vision.customvision.training.training_api import TrainingApi

        trainer = TrainingApi(key, base_url=f"{ENDPOINT}/customvision/{of_training}/Training")
        predictor = PredictionEndpoint(prediction_key, base_url=f"{ENDPOINT}/customvision/{of_prediction}/Prediction")
    elif RELEASE < (2, 0, 0):
        trainer = training.CustomVisionTrainingClient(key, ENDPOINT)
        predictor = prediction.CustomVisionPredictionClient(prediction_key, ENDPOINT)
    else:
        headers = {"Training-key": key}, {"Prediction-key": prediction_key}
        training_key, asking_key = (ApiKeyCredentials(in_headers=header) for header in headers)
        trainer = training.CustomVisionTrainingClient(ENDPOINT, training_key)
        predictor = prediction.CustomVisionPredictionClient(ENDPOINT, asking_key)
    return operations.watch("training", trainer), operations.watch("prediction", predictor)


trainer, predictor = clients(KEY, PREDICTION_KEY)
other, stranger = clients(OTHER_KEY, OTHER_KEY)


def create(kind, project, images, tags):
    """Images from files, addresses or predictions, in the way of this release."""
    call = getattr(trainer, f"create_images_from_{kind}")
    if not BATCHED:
        return call(project, images=images, tag_ids=tags)
    batch = {"files": "ImageFileCreateBatch", "urls": "ImageUrlCreateBatch", "predictions": "ImageIdCreateBatch"}[kind]
    return call(project, getattr(models, batch)(images=images, tag_ids=tags))


def tags_of(project, **options):
    answer = trainer.get_tags(project, **options)
    return answer.tags if RELEASE == (0, 1, 0) else answer


def name_of(said):
    return said.tag if RELEASE == (0, 1, 0) else said.tag_name


def account():
    info = trainer.get_account_info()
    check("the person", info.email == os.environ["HABEAS_TEST_EMAIL"])
    check("the key", info.keys.training_keys.primary_key == KEY and info.keys.prediction_keys.primary_key == PREDICTION_KEY)
    check("the quotas", info.quotas.projects.used == 0 and info.quotas.projects.time_until_reset is None)


def labelling():
    """Projects, tags and images; a project with two tags of ten photos each, in a compact domain, comes out."""
    domain = next(domain for domain in trainer.get_domains() if domain.name == "General (compact)")
    check("a domain", trainer.get_domain(domain.id).exportable)
    project = trainer.create_project("Old", description="of the park", domain_id=domain.id)
    check("listed", [found.id for found in trainer.get_projects()] == [project.id])
    project = trainer.get_project(project.id)
    project.description = "of the woods"
    if RELEASE >= (0, 3, 0):
        project.settings.classification_type = "Multiclass"
    check("updated", trainer.update_project(project.id, project).description == "of the woods")
    refused("another account's project", 404, "NotFoundProject", lambda: other.get_project(project.id))
    tags = {name: trainer.create_tag(project.id, name) for name in ("Hemlock", "Japanese_Cherry")}
    hemlock, cherry = tags.values()
    refused("a name twice", 400, "BadRequestTagNameNotUnique", lambda: trainer.create_tag(project.id, "Hemlock"))
    if RELEASE < (0, 4, 0):
        told = trainer.update_tag(project.id, hemlock.id, name="Hemlock", description="a conifer")
    else:
        hemlock.description = "a conifer"
        told = trainer.update_tag(project.id, hemlock.id, hemlock)
    check("described", told.description == "a conifer" == trainer.get_tag(project.id, hemlock.id).description)
    spare = trainer.create_tag(project.id, "spare")
    trainer.delete_tag(project.id, spare.id)

    photos = {name: sorted((CLASSES / name).iterdir()) for name in tags}
    entries = [models.ImageFileCreateEntry(name=path.name, contents=path.read_bytes()) for path in photos["Hemlock"]]
    made = create("files", project.id, entries, [hemlock.id])
    check("from files", made.is_batch_successful and len(made.images) == 10)
    far = FarEnd({f"/{path.name}": path.read_bytes() for path in photos["Japanese_Cherry"]})
    entries = [models.ImageUrlCreateEntry(url=f"{far.address}/{path.name}") for path in photos["Japanese_Cherry"]]
    made = create("urls", project.id, entries, [cherry.id])
    check("from addresses", made.is_batch_successful and made.images[0].source_url == entries[0].url)
    partial = create("files", project.id, [models.ImageFileCreateEntry(name="bad", contents=b"no image")], None)
    check("partial", not partial.is_batch_successful and partial.images[0].status == "ErrorImageFormat")
    bytes_ = (OBJECTS / "fork/fork_1.jpg").read_bytes()
    fork = trainer.create_images_from_data(project.id, bytes_, tag_ids=[hemlock.id]).images[0].image
    shown = fork.image_uri if RELEASE < (0, 4, 0) else fork.resized_image_uri
    check("an address", urlopen(shown).read(3) == b"\xff\xd8\xff")
    trainer.delete_image_tags(project.id, [fork.id], [hemlock.id])
    check("untagged", [image.id for image in trainer.get_untagged_images(project.id)] == [fork.id])
    tagging = trainer.post_image_tags if RELEASE == (0, 1, 0) else trainer.create_image_tags
    entry = models.ImageTagCreateEntry(image_id=fork.id, tag_id=cherry.id)
    check("tagged", len(tagging(project.id, tags=[entry]).created) == 1 and len(tagging(project.id, tags=[entry]).duplicated) == 1)
    check("by tag", len(trainer.get_tagged_images(project.id, tag_ids=[cherry.id])) == 11)
    check("counted", [tag.image_count for tag in tags_of(project.id)] == [10, 11])
    if RELEASE >= (0, 2, 0):
        check("tagged count", trainer.get_tagged_image_count(project.id) == 21)
        check("untagged count", trainer.get_untagged_image_count(project.id) == 0)
        check("by id", trainer.get_images_by_ids(project.id, image_ids=[fork.id])[0].tags[0].tag_name == "Japanese_Cherry")
    else:
        answer = trainer.get_tags(project.id)
        check("totals", (answer.total_tagged_images, answer.total_untagged_images) == (21, 0))
        check("used", trainer.get_account_info().quotas.per_project[0].images.used == 21)
    if BATCHED:
        check("count", trainer.get_image_count(project.id, tagging_status="Tagged") == 21)
        check("metadata", trainer.update_image_metadata(project.id, [fork.id], {"who": "me"}).is_batch_successful)
        check("filtered", [image.id for image in trainer.get_images(project.id, filter="who eq 'me'")] == [fork.id])
        path = fork.original_image_uri.split("/blobs/")[1].split("?")[0]
        check("artifact", b"".join(trainer.get_artifact(project.id, path)) == bytes_)
    trainer.delete_images(project.id, [fork.id])
    return project, hemlock, cherry


def learning(project, hemlock, cherry):
    """Trained, measured, asked, and exported."""
    test = (CLASSES / "Test/test_image.jpg").read_bytes()
    far = FarEnd({"/test.jpg": test})
    address = f"{far.address}/test.jpg"
    if RELEASE == (0, 1, 0):
        listed = [(one.id, one.status, one.trained_at) for one in trainer.get_iterations(project.id)]
        check("the workspace", listed == [(project.current_iteration_id, "New", None)])
        refused("it deleted", 400, "BadRequestWorkspaceNotDeletable", lambda: trainer.delete_iteration(project.id, listed[0][0]))
    iteration = trainer.train_project(project.id)
    check("at once", iteration.status == "Training")
    iteration = trained(trainer, project.id, iteration)
    check("trained", iteration.status == "Completed" and iteration.exportable)
    check("listed", iteration.id in [one.id for one in trainer.get_iterations(project.id)])
    refused("nothing changed", 400, "BadRequestTrainingNotNeeded", lambda: trainer.train_project(project.id))
    measured = trainer.get_iteration_performance(project.id, iteration.id, 0.5)
    check("measured", {tag.name for tag in measured.per_tag_performance} == {"Hemlock", "Japanese_Cherry"} and measured.recall > 0.5)
    check("its tags", [tag.image_count for tag in tags_of(project.id, iteration_id=iteration.id)] == [10, 10])
    if RELEASE >= (0, 2, 0):
        evaluated = trainer.get_image_performances(project.id, iteration.id, take=100)
        check("evaluated", len(evaluated) == 20 == trainer.get_image_performance_count(project.id, iteration.id))

    if NAMED:
        check("renamed", trainer.update_iteration(project.id, iteration.id, "first").name == "first")
        check("published", trainer.publish_iteration(project.id, iteration.id, "old", RESOURCE) is True)
        answers = [
            predictor.classify_image(project.id, "old", test),
            predictor.classify_image_url(project.id, "old", address),
            predictor.classify_image_with_no_store(project.id, "old", test),
            predictor.classify_image_url_with_no_store(project.id, "old", address),
        ]
        refused("another account's model", 404, "NotFoundProject", lambda: stranger.classify_image(project.id, "old", test))
    else:
        refused("no default", 404, "NotFoundProjectDefaultIteration", lambda: predictor.predict_image(project.id, test))
        told = trainer.update_iteration(project.id, iteration.id, name="first", is_default=True)
        check("the default", told.name == "first" and trainer.get_iteration(project.id, iteration.id).is_default)
        answers = [
            predictor.predict_image(project.id, test, application="garden"),
            predictor.predict_image_url(project.id, url=address, iteration_id=iteration.id),
            predictor.predict_image_with_no_store(project.id, test),
            predictor.predict_image_url_with_no_store(project.id, url=address),
        ]
        refused("another account's model", 404, "NotFoundProject", lambda: stranger.predict_image(project.id, test))
    answers.append(trainer.quick_test_image(project.id, test, iteration_id=iteration.id))
    answers.append(trainer.quick_test_image_url(project.id, url=address))
    found = [[(name_of(said), said.probability) for said in answer.predictions] for answer in answers]
    check("answers agree", all(one == found[0] for one in found))
    check("a twig of hemlock", found[0][0][0] == "Hemlock" and found[0][0][1] > 0.5)
    ask = trainer.query_prediction_results if RELEASE == (0, 1, 0) else trainer.query_predictions
    stored = ask(project.id, models.PredictionQueryToken(order_by="Oldest", max_count=10)).results
    check("stored", [one.id for one in stored] == [answers[number].id for number in (0, 1, 4, 5)])
    made = create("predictions", project.id, [models.ImageIdCreateEntry(id=answers[0].id)], [hemlock.id])
    check("a training image now", made.is_batch_successful)
    trainer.delete_prediction(project.id, [one.id for one in stored[1:]])
    check("all gone", not ask(project.id, models.PredictionQueryToken()).results)

    refused("an export nobody can write", 400, "BadRequestProjectUnsupportedExportPlatform", lambda: trainer.export_iteration(project.id, iteration.id, "CoreML"))
    trainer.export_iteration(project.id, iteration.id, "ONNX")
    (export,) = until(lambda found: found[0].status != "Exporting", lambda: trainer.get_exports(project.id, iteration.id))
    check("exported", export.status == "Done")
    with zipfile.ZipFile(io.BytesIO(urlopen(export.download_uri).read())) as archive:
        check("a model", "model.onnx" in archive.namelist())

    if RELEASE >= (2, 0, 0):
        image = trainer.create_images_from_data(project.id, (OBJECTS / "test/test_image.jpg").read_bytes()).images[0].image
        (suggested,) = trainer.suggest_tags_and_regions(project.id, iteration.id, [image.id])
        query = models.SuggestedTagAndRegionQueryToken(tag_ids=[suggested.predictions[0].tag_id], threshold=0.1, max_count=5)
        found = trainer.query_suggested_images(project.id, iteration.id, query)
        check("suggested", [one.id for one in found.results] == [image.id])
        count = trainer.query_suggested_image_count(project.id, iteration.id, tag_ids=[hemlock.id, cherry.id], threshold=0.1)
        check("counted", set(count) == {hemlock.id, cherry.id})
        offered = trainer.export_project(project.id)
        copy = other.import_project(offered.token)
        copy = until(lambda found: found.status != "Importing", lambda: other.get_project(copy.id))
        check("copied", copy.status == "Succeeded" and other.get_tagged_image_count(copy.id) == 21)
        other.delete_project(copy.id)
    if NAMED:
        refused("deleted while published", 400, "BadRequestIterationIsPublished", lambda: trainer.delete_iteration(project.id, iteration.id))
        trainer.unpublish_iteration(project.id, iteration.id)
    trainer.delete_iteration(project.id, iteration.id)
    trainer.delete_project(project.id)
    refused("a deleted project", 404, "NotFoundProject", lambda: trainer.get_project(project.id))


def detecting():
    """A detector, which there is since training API 2.0."""
    test = (OBJECTS / "test/test_image.jpg").read_bytes()
    far = FarEnd({"/test.jpg": test})
    detection = next(domain for domain in trainer.get_domains() if domain.type == "ObjectDetection")
    project = trainer.create_project("Old cutlery", domain_id=detection.id)
    drawn, entries = boxes(), []
    for name in ("fork", "scissors"):
        tag = trainer.create_tag(project.id, name)
        for path in sorted((OBJECTS / name).iterdir())[:15]:
            region = models.Region(tag_id=tag.id, **drawn[path.stem])
            entries.append(models.ImageFileCreateEntry(name=path.name, contents=path.read_bytes(), regions=[region]))
    made = create("files", project.id, entries, None)
    check("drawn", made.is_batch_successful and len(made.images[0].image.regions) == 1)
    one = made.images[0].image.id
    region = models.ImageRegionCreateEntry(image_id=one, tag_id=tag.id, left=0.1, top=0.2, width=0.3, height=0.4)
    created = trainer.create_image_regions(project.id, regions=[region]).created
    check("a region", len(created) == 1 and created[0].tag_name == "scissors")
    trainer.delete_image_regions(project.id, [created[0].region_id])
    check("proposals", trainer.get_image_region_proposals(project.id, one).proposals)
    if RELEASE >= (0, 4, 0):
        detected(project, test, far)
    trainer.delete_project(project.id)


def detected(project, test, far):
    """Trained and asked. The first releases do it by the same calls as 0.4.0."""
    iteration = trained(trainer, project.id, trainer.train_project(project.id))
    check("trained", iteration.status == "Completed" and not iteration.exportable)
    if NAMED:
        trainer.publish_iteration(project.id, iteration.id, "cutlery", RESOURCE)
        answers = [
            predictor.detect_image(project.id, "cutlery", test),
            predictor.detect_image_url(project.id, "cutlery", f"{far.address}/test.jpg"),
            predictor.detect_image_with_no_store(project.id, "cutlery", test),
            predictor.detect_image_url_with_no_store(project.id, "cutlery", f"{far.address}/test.jpg"),
        ]
        trainer.unpublish_iteration(project.id, iteration.id)
    else:
        answers = [predictor.predict_image(project.id, test, iteration_id=iteration.id)]
    for answer in answers:
        check("a fork", answer.predictions[0].tag_name == "fork" and answer.predictions[0].bounding_box.width > 0.2)


if RELEASE == (0, 1, 0):
    account()
learning(*labelling())
if RELEASE >= (0, 2, 0):
    detecting()
operations.covered()
finish(f"custom vision {TEXT}")

"""Asking, exporting and copying models, through clients of training API 3.4-preview and prediction API 3.1."""

import io
import json
import zipfile
from urllib.error import HTTPError
from urllib.request import urlopen

from azure.cognitiveservices.vision.customvision.training.models import (
    ImageFileCreateBatch,
    ImageFileCreateEntry,
    ImageIdCreateBatch,
    ImageIdCreateEntry,
    ImageUrlCreateBatch,
    ImageUrlCreateEntry,
    PredictionQueryTag,
    PredictionQueryToken,
    Region,
    SuggestedTagAndRegionQueryToken,
)
from driven import CLASSES, OBJECTS, RESOURCE, FarEnd, boxes, check, refused, trained, until


def compact(trainer, kind):
    """The smallest domain of a kind, whose models can be exported."""
    return next(domain for domain in trainer.get_domains() if domain.type == kind and domain.name == "General (compact)")


def classify(trainer, predictor, stranger, other):
    """A classifier: asked in every way, exported, and copied with its project. `other` is the client of another account."""
    test = (CLASSES / "Test/test_image.jpg").read_bytes()
    photos = {f"/{name}/{path.name}": path.read_bytes() for name in ("Hemlock", "Japanese_Cherry") for path in (CLASSES / name).iterdir()}
    far = FarEnd({**photos, "/test.jpg": test, "/page": b"no image"})
    domain = compact(trainer, "Classification")
    check("exportable", domain.exportable and domain.exportable_platforms == ["ONNX"])
    project = trainer.create_project(
        "Leaves",
        domain_id=domain.id,
        classification_type="Multiclass",
        target_export_platforms=["ONNX"],
        notification_queue_uri=f"{far.address}/told",
    )
    check("connected", far.next("ConnectionTest")["Content"]["projectId"] == project.id)
    tags = {name: trainer.create_tag(project.id, name) for name in ("Hemlock", "Japanese_Cherry")}
    entries = [ImageUrlCreateEntry(url=far.address + path, tag_ids=[tags[path.split("/")[1]].id]) for path in sorted(photos)]
    fetched = trainer.create_images_from_urls(project.id, ImageUrlCreateBatch(images=entries))
    check("images from addresses", fetched.is_batch_successful and fetched.images[0].source_url == entries[0].url)
    missing = ImageUrlCreateBatch(images=[ImageUrlCreateEntry(url=f"{far.address}/{path}") for path in ("none", "page")])
    statuses = [image.status for image in trainer.create_images_from_urls(project.id, missing).images]
    check(f"addresses without an image: {statuses}", statuses == ["ErrorSource", "ErrorImageFormat"])
    refused("asked untrained", 404, "NotFoundIteration", lambda: predictor.classify_image(project.id, "leaves", test))

    iteration = trained(trainer, project.id, trainer.train_project(project.id))
    check("trained", iteration.status == "Completed" and iteration.exportable and iteration.exportable_to == ["ONNX"])
    told = far.next("Training")["Content"]
    check("told of it", (told["iterationId"], told["trainingStatus"]) == (iteration.id, "TrainingCompleted"))
    trainer.publish_iteration(project.id, iteration.id, "leaves", RESOURCE)

    answers = [
        predictor.classify_image(project.id, "leaves", test, application="garden"),
        predictor.classify_image_url(project.id, "leaves", f"{far.address}/test.jpg"),
        predictor.classify_image_with_no_store(project.id, "leaves", io.BytesIO(test)),
        predictor.classify_image_url_with_no_store(project.id, "leaves", f"{far.address}/test.jpg"),
        trainer.quick_test_image(project.id, test, iteration_id=iteration.id),
        trainer.quick_test_image_url(project.id, f"{far.address}/test.jpg"),
        trainer.quick_test_image(project.id, test, store=False),
    ]
    said = [[one.as_dict() for one in answer.predictions] for answer in answers]
    check(f"answers agree: {said}", all(one == said[0] for one in said))
    first = answers[0].predictions[0]
    check("a twig of hemlock", (first.tag_name, first.tag_type) == ("Hemlock", "Regular") and first.probability > 0.5)
    check("they sum to 1", abs(sum(said.probability for said in answers[0].predictions) - 1) < 1e-6)
    refused("an unknown name", 404, "NotFoundIteration", lambda: predictor.classify_image(project.id, "trees", test))
    refused("another account's model", 404, "NotFoundProject", lambda: stranger.classify_image(project.id, "leaves", test))
    refused("detected", 400, "BadRequestNotSupported", lambda: predictor.detect_image(project.id, "leaves", test))
    refused("no image", 400, "BadRequestImageFormat", lambda: predictor.classify_image(project.id, "leaves", b"no image"))
    refused("no address", 400, "BadRequestImageUrl", lambda: predictor.classify_image_url(project.id, "leaves", "leaf.jpg"))

    stored = trainer.query_predictions(project.id, PredictionQueryToken(order_by="Oldest", max_count=3))
    check("the stored ones", [one.id for one in stored.results] == [answers[number].id for number in (0, 1, 4)])
    rest = trainer.query_predictions(project.id, stored.token)
    check("the next page", [one.id for one in rest.results] == [answers[5].id] and not rest.token.continuation)
    check("its image", urlopen(stored.results[0].original_image_uri).read() == test)
    sure = PredictionQueryToken(tags=[PredictionQueryTag(id=tags["Japanese_Cherry"].id, min_threshold=0.5, max_threshold=1)])
    check("by threshold", not trainer.query_predictions(project.id, sure).results)
    garden = trainer.query_predictions(project.id, PredictionQueryToken(application="garden"))
    check("by application", [one.id for one in garden.results] == [answers[0].id])
    taken = ImageIdCreateBatch(images=[ImageIdCreateEntry(id=answers[0].id, tag_ids=[tags["Hemlock"].id])])
    made = trainer.create_images_from_predictions(project.id, taken)
    check("a training image now", made.is_batch_successful and trainer.get_tagged_image_count(project.id) == 21)
    check("gone from the predictions", trainer.create_images_from_predictions(project.id, taken).images[0].status == "ErrorSource")
    trainer.delete_prediction(project.id, [answers[number].id for number in (1, 4, 5)])
    check("all gone", not trainer.query_predictions(project.id, PredictionQueryToken()).results)

    unsure = trainer.create_images_from_data(project.id, (OBJECTS / "test/test_image.jpg").read_bytes()).images[0].image
    suggested = trainer.suggest_tags_and_regions(project.id, iteration.id, [unsure.id])
    check("a suggestion", suggested[0].id == unsure.id and abs(1 - suggested[0].predictions[0].probability - suggested[0].prediction_uncertainty) < 1e-6)
    wanted = [tag.id for tag in tags.values()]
    query = SuggestedTagAndRegionQueryToken(tag_ids=wanted, threshold=0.5, max_count=10, sort_by="UncertaintyAscending")
    found = trainer.query_suggested_images(project.id, iteration.id, query)
    check("found again", [one.id for one in found.results] == [unsure.id] and urlopen(found.results[0].thumbnail_uri).status == 200)
    count = trainer.query_suggested_image_count(project.id, iteration.id, tag_ids=wanted, threshold=0.5)
    check("counted", sum(count.values()) == 1)

    refused("an export nobody can write", 400, "BadRequestProjectUnsupportedExportPlatform", lambda: trainer.export_iteration(project.id, iteration.id, "TensorFlow"))
    check("ordered", trainer.export_iteration(project.id, iteration.id, "ONNX").status == "Exporting")
    refused("ordered twice", 400, "BadRequestExportAlreadyInProgress", lambda: trainer.export_iteration(project.id, iteration.id, "ONNX"))
    (export,) = until(lambda found: found[0].status != "Exporting", lambda: trainer.get_exports(project.id, iteration.id))
    told = far.next("Export")["Content"]
    check("told of the export", (export.status, told["exportStatus"]) == ("Done", "ExportCompleted"))
    with zipfile.ZipFile(io.BytesIO(urlopen(export.download_uri).read())) as archive:
        labels = archive.read("labels.txt").decode().split()
        card = json.loads(archive.read("model-card.json"))
        check("a model", {"model.onnx", "MODEL-CARD.md"} < set(archive.namelist()))
    check(f"its labels: {labels}", labels == list(tags) and card)

    offered = trainer.export_project(project.id)
    counts = (offered.iteration_count, offered.image_count, offered.tag_count, offered.region_count)
    check(f"offered: {counts}", counts == (1, 22, 2, 0))
    refused("a forged token", 400, "BadRequestInvalidImportToken", lambda: other.import_project(f"{offered.token}x"))
    copy = other.import_project(offered.token, name="Leaves, copied")
    check("importing", (copy.status, copy.name) == ("Importing", "Leaves, copied"))
    copy = until(lambda found: found.status != "Importing", lambda: other.get_project(copy.id))
    check("imported", copy.status == "Succeeded" and other.get_image_count(copy.id) == 22)
    (copied,) = until(lambda found: found[0].status != "Training", lambda: other.get_iterations(copy.id))
    answer = other.quick_test_image(copy.id, test, iteration_id=copied.id, store=False)
    # The copies of the images have other ids, and with them the figures are added up in another order.
    pairs = zip(answer.predictions, answers[0].predictions, strict=True)
    check("the same model", all(abs(copied.probability - said.probability) < 1e-6 for copied, said in pairs))

    image = trainer.get_tagged_images(project.id, tag_ids=[tags["Hemlock"].id], order_by="Oldest", take=1)[0]
    trainer.delete_images(project.id, [image.id], all_iterations=True)
    check("exports of before are gone", not trainer.get_exports(project.id, iteration.id))
    try:
        urlopen(export.download_uri)
        check("the address is revoked", False)
    except HTTPError as error:
        check("the address is revoked", error.code == 410)
    check("erased from the copy", other.get_image_count(copy.id) == 21)
    check("still answering", predictor.classify_image_with_no_store(project.id, "leaves", test).predictions[0].tag_name == "Hemlock")
    trainer.unpublish_iteration(project.id, iteration.id)
    refused("unpublished", 404, "NotFoundIteration", lambda: predictor.classify_image(project.id, "leaves", test))
    trainer.delete_project(project.id)
    other.delete_project(copy.id)


def detect(trainer, predictor):
    """A detector: asked in every way."""
    test = (OBJECTS / "test/test_image.jpg").read_bytes()
    far = FarEnd({"/test.jpg": test})
    project = trainer.create_project("Cutlery", domain_id=compact(trainer, "ObjectDetection").id)
    drawn = boxes()
    entries = []
    for name in ("fork", "scissors"):
        tag = trainer.create_tag(project.id, name)
        for path in sorted((OBJECTS / name).iterdir()):
            entries.append(ImageFileCreateEntry(name=path.name, contents=path.read_bytes(), regions=[Region(tag_id=tag.id, **drawn[path.stem])]))
    uploaded = trainer.create_images_from_files(project.id, ImageFileCreateBatch(images=entries))
    check("40 drawn", uploaded.is_batch_successful and len(uploaded.images) == 40)
    iteration = trained(trainer, project.id, trainer.train_project(project.id))
    check("trained", iteration.status == "Completed")
    performance = trainer.get_iteration_performance(project.id, iteration.id, threshold=0.3, overlap_threshold=0.3)
    check(f"precise: {performance.average_precision}", performance.average_precision > 0.6)
    trainer.publish_iteration(project.id, iteration.id, "cutlery", RESOURCE)
    answers = [
        predictor.detect_image(project.id, "cutlery", test),
        predictor.detect_image_url(project.id, "cutlery", f"{far.address}/test.jpg"),
        predictor.detect_image_with_no_store(project.id, "cutlery", test),
        predictor.detect_image_url_with_no_store(project.id, "cutlery", f"{far.address}/test.jpg"),
        trainer.quick_test_image(project.id, test, store=False),
    ]
    said = [[one.as_dict() for one in answer.predictions] for answer in answers]
    check(f"answers agree: {said}", all(one == said[0] for one in said))
    first = answers[0].predictions[0]
    check("a fork", first.tag_name == "fork" and first.bounding_box.width > 0.2)
    proposed = trainer.get_image_region_proposals(project.id, uploaded.images[0].image.id)
    check("proposals", proposed.proposals and proposed.proposals[0].bounding_box.width > 0)
    (evaluated,) = trainer.get_image_performances(project.id, iteration.id, take=1)
    check("evaluated", evaluated.regions and evaluated.predictions[0].bounding_box is not None)
    unsure = trainer.create_images_from_data(project.id, test).images[0].image
    (suggested,) = trainer.suggest_tags_and_regions(project.id, iteration.id, [unsure.id])
    check("a suggested region", suggested.predictions[0].bounding_box is not None)
    trainer.export_iteration(project.id, iteration.id, "ONNX")
    (export,) = until(lambda found: found[0].status != "Exporting", lambda: trainer.get_exports(project.id, iteration.id))
    check("exported", export.status == "Done")
    trainer.unpublish_iteration(project.id, iteration.id)
    trainer.delete_project(project.id)

"""Training, performance, publishing and snapshots, through a client of training API 3.4-preview."""

from urllib.request import urlopen

from azure.cognitiveservices.vision.customvision.training.models import (
    CustomBaseModelInfo,
    ImageFileCreateBatch,
    ImageFileCreateEntry,
)
from driven import CLASSES, RESOURCE, check, refused, trained


def walk(trainer):
    project = trainer.create_project("Trees", classification_type="Multiclass")
    tags = {name: trainer.create_tag(project.id, name) for name in ("Hemlock", "Japanese_Cherry")}
    entries = [
        ImageFileCreateEntry(name=path.name, contents=path.read_bytes(), tag_ids=[tag.id])
        for name, tag in tags.items()
        for path in sorted((CLASSES / name).iterdir())
    ]
    test = CLASSES / "Test/test_image.jpg"
    entries.append(ImageFileCreateEntry(name=test.name, contents=test.read_bytes()))
    uploaded = trainer.create_images_from_files(project.id, ImageFileCreateBatch(images=entries))
    check("uploaded", uploaded.is_batch_successful)
    hemlock, cherry = tags.values()

    iteration = trainer.train_project(project.id, notification_email_address="owner@example.org")
    check("at once", iteration.status == "Training" and iteration.name == "Iteration 1" and iteration.trained_at is None)
    refused("twice at once", 400, "BadRequestTrainingAlreadyInProgress", lambda: trainer.train_project(project.id))
    iteration = trained(trainer, project.id, iteration)
    check("trained", iteration.status == "Completed" and iteration.trained_at is not None)
    check("what it is", (iteration.project_id, iteration.training_type) == (project.id, "Regular"))
    check("minutes", iteration.training_time_in_minutes >= 1)
    check("listed", [other.id for other in trainer.get_iterations(project.id)] == [iteration.id])
    refused("nothing changed", 400, "BadRequestTrainingNotNeeded", lambda: trainer.train_project(project.id))
    forced = trainer.train_project(project.id, training_type="Advanced", force_train=True, reserved_budget_in_hours=1)
    forced = trained(trainer, project.id, forced)
    check("forced", forced.status == "Completed" and (forced.training_type, forced.reserved_budget_in_hours) == ("Advanced", 1))
    check("renamed", trainer.update_iteration(project.id, forced.id, "second").name == "second")
    base = CustomBaseModelInfo(project_id=project.id, iteration_id=iteration.id)
    tuned = trainer.train_project(project.id, custom_base_model_info=base, force_train=True)
    check("its base", tuned.custom_base_model_info.iteration_id == iteration.id)
    check("tuned", trained(trainer, project.id, tuned).status == "Completed")
    subset = trainer.train_project(project.id, selected_tags=[hemlock.id, cherry.id], force_train=True)
    trainer.delete_iteration(project.id, subset.id)
    refused("a cancelled training", 404, "NotFoundIteration", lambda: trainer.get_iteration(project.id, subset.id))

    performance = trainer.get_iteration_performance(project.id, iteration.id, threshold=0.5, overlap_threshold=0.3)
    check("performance", {tag.name for tag in performance.per_tag_performance} == set(tags))
    check("precision", 0 <= performance.precision <= 1 and 0 <= performance.average_precision <= 1)
    evaluated = trainer.get_image_performances(project.id, iteration.id, take=256)
    check("evaluated", len(evaluated) == 20 == trainer.get_image_performance_count(project.id, iteration.id))
    check("its predictions", all(abs(sum(p.probability for p in image.predictions) - 1) < 1e-6 for image in evaluated))
    check("its address", urlopen(evaluated[0].image_uri).read(3) == b"\xff\xd8\xff")
    of_hemlock = trainer.get_image_performances(project.id, iteration.id, tag_ids=[hemlock.id], order_by="Oldest", take=5, skip=5)
    check("by tag", len(of_hemlock) == 5 and of_hemlock[0].tags[0].tag_name == "Hemlock")
    check("count by tag", trainer.get_image_performance_count(project.id, iteration.id, tag_ids=[hemlock.id]) == 10)

    check("published", trainer.publish_iteration(project.id, iteration.id, "trees", RESOURCE) is True)
    shown = trainer.get_iteration(project.id, iteration.id)
    check("under its name", (shown.publish_name, shown.original_publish_resource_id) == ("trees", RESOURCE))
    publish = lambda: trainer.publish_iteration(project.id, iteration.id, "trees", RESOURCE)
    refused("published twice", 400, "BadRequestIterationIsPublished", publish)
    publish = lambda: trainer.publish_iteration(project.id, forced.id, "trees", RESOURCE)
    refused("a name twice", 400, "BadRequestInvalidPublishName", publish)
    check("moved", trainer.publish_iteration(project.id, forced.id, "trees", RESOURCE, overwrite=True) is True)
    refused("deleted while published", 400, "BadRequestIterationIsPublished", lambda: trainer.delete_project(project.id))

    first = trainer.get_tagged_images(project.id, tag_ids=[hemlock.id], order_by="Oldest", take=1)[0]
    hemlock.name = "Tsuga"
    trainer.update_tag(project.id, hemlock.id, hemlock)
    trainer.delete_images(project.id, [first.id])
    check("left the workspace", trainer.get_tagged_image_count(project.id) == 19)
    check("still in the iteration", trainer.get_tagged_image_count(project.id, iteration_id=iteration.id) == 20)
    check("names of then", {tag.name for tag in trainer.get_tags(project.id, iteration_id=iteration.id)} == set(tags))
    then = trainer.get_images_by_ids(project.id, [first.id], iteration_id=iteration.id)
    check("its tag of then", then[0].tags[0].tag_name == "Hemlock" and len(urlopen(then[0].original_image_uri).read()) > 0)
    trainer.delete_images(project.id, [first.id], all_iterations=True)
    check("gone from it too", trainer.get_tagged_image_count(project.id, iteration_id=iteration.id) == 19)
    check("still trained", trainer.get_iteration(project.id, iteration.id).status == "Completed")
    check("unlearned", trainer.get_image_performance_count(project.id, iteration.id) == 19)

    trainer.unpublish_iteration(project.id, forced.id)
    unpublish = lambda: trainer.unpublish_iteration(project.id, forced.id)
    refused("unpublished twice", 400, "BadRequestIterationNotPublished", unpublish)
    trainer.delete_iteration(project.id, forced.id)
    trainer.delete_project(project.id)

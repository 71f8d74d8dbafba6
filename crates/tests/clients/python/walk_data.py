"""Projects, tags, images and regions, through a client of training API 3.4-preview."""

import uuid
from urllib.error import HTTPError
from urllib.request import urlopen

from azure.cognitiveservices.vision.customvision.training.models import (
    ImageFileCreateBatch,
    ImageFileCreateEntry,
    ImageRegionCreateEntry,
    ImageTagCreateEntry,
    Region,
)
from driven import CLASSES, OBJECTS, check, refused


def walk(trainer, other, stranger):
    """With the client of an account, of another one, and of one whose key is wrong."""
    domains = trainer.get_domains()
    check("18 domains", len(domains) == 18)
    detection = next(domain for domain in domains if domain.type == "ObjectDetection" and domain.name == "General")
    check("one domain", trainer.get_domain(detection.id).name == "General")

    project = trainer.create_project("Trees", description="of the park", classification_type="Multilabel")
    check("created", project.name == "Trees" and project.settings.classification_type == "Multilabel")
    check("listed", [other.id for other in trainer.get_projects()] == [project.id])
    project = trainer.get_project(project.id)
    project.description = "of the woods"
    check("updated", trainer.update_project(project.id, project).description == "of the woods")
    refused("another account's project", 404, "NotFoundProject", lambda: other.get_project(project.id))
    refused("a wrong key", 401, "401", lambda: stranger.get_projects())

    hemlock = trainer.create_tag(project.id, "Hemlock")
    cherry = trainer.create_tag(project.id, "Japanese Cherry", description="blossoms")
    refused("a tag's name twice", 400, "BadRequestTagNameNotUnique", lambda: trainer.create_tag(project.id, "Hemlock"))
    check("a tag sent back", trainer.update_tag(project.id, hemlock.id, trainer.get_tag(project.id, hemlock.id)).name == "Hemlock")
    negative = trainer.create_tag(project.id, "none", type="Negative")
    refused("two negative tags", 400, "BadRequestMultipleNegativeTag", lambda: trainer.create_tag(project.id, "x", type="Negative"))
    check("tags", [tag.name for tag in trainer.get_tags(project.id)] == ["Hemlock", "Japanese Cherry", "none"])

    files = [(path, hemlock.id) for path in sorted((CLASSES / "Hemlock").iterdir())]
    files += [(path, cherry.id) for path in sorted((CLASSES / "Japanese_Cherry").iterdir())]
    entries = [ImageFileCreateEntry(name=path.name, contents=path.read_bytes(), tag_ids=[tag]) for path, tag in files]
    summary = trainer.create_images_from_files(project.id, ImageFileCreateBatch(images=entries))
    check("20 images from files", summary.is_batch_successful and len(summary.images) == 20)
    test_image = CLASSES / "Test/test_image.jpg"
    summary = trainer.create_images_from_data(project.id, test_image.read_bytes())
    check("bytes", summary.is_batch_successful and summary.images[0].status == "OK")
    with test_image.open("rb") as file:
        again = trainer.create_images_from_data(project.id, file, tag_ids=[hemlock.id])
    check("the same bytes", again.images[0].status == "OKDuplicate" and again.images[0].image.id == summary.images[0].image.id)
    bad = ImageFileCreateEntry(name="bad", contents=b"no image")
    mixed = trainer.create_images_from_files(project.id, ImageFileCreateBatch(images=[bad, entries[0]]))
    check("partial", not mixed.is_batch_successful and [image.status for image in mixed.images] == ["ErrorImageFormat", "OKDuplicate"])
    many = ImageFileCreateBatch(images=[bad] * 65)
    refused("65 images", 400, "BadRequestImageExceededCount", lambda: trainer.create_images_from_files(project.id, many))

    check("count", trainer.get_image_count(project.id) == 21)
    check("tagged", trainer.get_tagged_image_count(project.id) == 21)
    check("by tag", len(trainer.get_tagged_images(project.id, tag_ids=[cherry.id], take=256)) == 10)
    pages = [image.id for skip in (0, 8, 16) for image in trainer.get_images(project.id, take=8, skip=skip, order_by="Oldest")]
    check("paging", len(set(pages)) == 21)
    newest = [image.id for image in trainer.get_images(project.id, take=256)]
    check("ordering", newest == pages[::-1])
    one = trainer.get_images_by_ids(project.id, image_ids=[pages[0]])[0]
    check("by id", one.id == pages[0] and one.tags[0].tag_name in ("Hemlock", "Japanese Cherry"))
    check("sizes", max(one.width, one.height) <= 1600 and min(one.width, one.height) <= 900)
    updated = trainer.update_image_metadata(project.id, [one.id], {"who": "it's me", "place": "park"})
    check("metadata", updated.is_batch_successful and updated.images[0].metadata["place"] == "park")
    unknown = trainer.update_image_metadata(project.id, [str(uuid.uuid4())], {"a": "b"})
    check("metadata of nothing", unknown.images[0].status == "ErrorImageNotFound")
    found = trainer.get_images(project.id, filter="metadata=who eq 'it''s me' and place ne 'sea'")
    check("filter", [image.id for image in found] == [one.id])
    check("filtered count", trainer.get_image_count(project.id, filter="place eq 'park'") == 1)
    trainer.delete_image_tags(project.id, [one.id], [one.tags[0].tag_id])
    check("untagged", [image.id for image in trainer.get_untagged_images(project.id)] == [one.id])
    check("untagged count", trainer.get_untagged_image_count(project.id) == 1)
    entry = ImageTagCreateEntry(image_id=one.id, tag_id=cherry.id)
    check("tagging", len(trainer.create_image_tags(project.id, [entry]).created) == 1)
    check("tagging again", len(trainer.create_image_tags(project.id, [entry]).duplicated) == 1)
    mix = [ImageTagCreateEntry(image_id=one.id, tag_id=negative.id)]
    refused("negative with regular", 400, "BadRequestNegativeAndRegularTagOnSameImage", lambda: trainer.create_image_tags(project.id, mix))

    original = next(path for path, _ in files if path.read_bytes() == urlopen(one.original_image_uri).read())
    check("original bytes", original.exists())
    for uri in (one.resized_image_uri, one.thumbnail_uri):
        check("a copy", urlopen(uri).read(3) == b"\xff\xd8\xff")
    path = one.original_image_uri.split("/blobs/")[1].split("?")[0]
    artifact = b"".join(trainer.get_artifact(project.id, path))
    check("artifact", artifact == original.read_bytes())
    trainer.delete_images(project.id, image_ids=[one.id])
    try:
        urlopen(one.original_image_uri)
        check("the address died", False)
    except HTTPError as error:
        check("the address died", error.code == 404)
    refused("no ids", 400, "BadRequestRequiredParamIsNull", lambda: trainer.delete_images(project.id))
    trainer.delete_images(project.id, image_ids=[pages[1]], all_iterations=True)
    trainer.delete_images(project.id, all_images=True, all_iterations=True)
    check("all deleted", trainer.get_image_count(project.id) == 0)
    refused("training on nothing", 400, "BadRequestClassificationTrainingValidationFailed", lambda: trainer.train_project(project.id))
    trainer.delete_tag(project.id, cherry.id)
    check("two tags left", len(trainer.get_tags(project.id)) == 2)
    trainer.delete_project(project.id)
    refused("a deleted project", 404, "NotFoundProject", lambda: trainer.get_project(project.id))

    project = trainer.create_project("Cutlery", domain_id=detection.id)
    tags = {name: trainer.create_tag(project.id, name) for name in ("fork", "scissors")}
    entries = []
    for name, tag in tags.items():
        for path in sorted((OBJECTS / name).iterdir()):
            box = Region(tag_id=tag.id, left=0.1, top=0.2, width=0.5, height=0.6)
            entries.append(ImageFileCreateEntry(name=path.name, contents=path.read_bytes(), regions=[box]))
    test = OBJECTS / "test/test_image.jpg"
    entries.append(ImageFileCreateEntry(name=test.name, contents=test.read_bytes()))
    summary = trainer.create_images_from_files(project.id, ImageFileCreateBatch(images=entries))
    check("41 images with regions", summary.is_batch_successful and len(summary.images) == 41)
    check("drawn", len(summary.images[0].image.regions) == 1 and trainer.get_tag(project.id, tags["fork"].id).image_count == 20)
    box = {"image_id": summary.images[40].image.id, "tag_id": tags["fork"].id, "left": 0.1, "top": 0.26, "width": 0.64, "height": 0.54}
    made = trainer.create_image_regions(project.id, [ImageRegionCreateEntry(**box)])
    check("a region", len(made.created) == 1 and made.created[0].tag_name == "fork")
    trainer.delete_image_regions(project.id, [made.created[0].region_id])
    check("without it", trainer.get_untagged_image_count(project.id) == 1)
    trainer.delete_project(project.id)

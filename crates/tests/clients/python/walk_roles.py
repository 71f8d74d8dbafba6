"""What members of an organisation may do by their role, through clients of training API 3.4-preview and prediction API 3.1."""

from azure.cognitiveservices.vision.customvision.training.models import ImageFileCreateBatch, ImageFileCreateEntry
from driven import CLASSES, RESOURCE, check, refused, trained
from walk_models import compact

ROLES = ("contributor", "trainer", "labeler", "deployment", "reader")


def walk(owner, members):
    """With the client of the organisation's key, and for each role the member's training and prediction clients."""
    project = owner.create_project("Garden", domain_id=compact(owner, "Classification").id, classification_type="Multiclass")
    test = (CLASSES / "Test/test_image.jpg").read_bytes()
    labeler, trainer, deployment = (members[role][0] for role in ("labeler", "trainer", "deployment"))
    for role, (training, _) in members.items():
        check(f"seen by the {role}", project.id in [seen.id for seen in training.get_projects()])

    tags = {name: labeler.create_tag(project.id, name) for name in ("Hemlock", "Japanese_Cherry")}
    entries = [
        ImageFileCreateEntry(name=path.name, contents=path.read_bytes(), tag_ids=[tag.id])
        for name, tag in tags.items()
        for path in sorted((CLASSES / name).iterdir())
    ]
    uploaded = labeler.create_images_from_files(project.id, ImageFileCreateBatch(images=entries))
    check("labelled", uploaded.is_batch_successful)
    iteration = trained(trainer, project.id, trainer.train_project(project.id))
    check("trained", iteration.status == "Completed")
    check("published", deployment.publish_iteration(project.id, iteration.id, "garden", RESOURCE))
    check("exported", deployment.export_iteration(project.id, iteration.id, "ONNX").status == "Exporting")
    image = uploaded.images[0].image.id

    needs = {
        "train": ({"contributor", "trainer"}, lambda api, _: api.train_project(project.id, force_train=True)),
        "rename": ({"contributor", "trainer"}, lambda api, _: api.update_iteration(project.id, iteration.id, "first")),
        "hand on": ({"contributor", "trainer"}, lambda api, _: api.export_project(project.id)),
        "erase": ({"contributor", "trainer"}, lambda api, _: api.delete_images(project.id, [image], all_iterations=True)),
        "tag": ({"contributor", "trainer", "labeler"}, lambda api, _: api.update_tag(project.id, tags["Hemlock"].id, tags["Hemlock"])),
        "upload": ({"contributor", "trainer", "labeler"}, lambda api, _: api.create_images_from_data(project.id, test)),
        "publish": (
            {"contributor", "trainer", "deployment"},
            lambda api, _: api.publish_iteration(project.id, iteration.id, "garden", RESOURCE, overwrite=True),
        ),
        "ask": ({"contributor", "trainer", "labeler", "deployment"}, lambda _, api: api.classify_image_with_no_store(project.id, "garden", test)),
        "test": ({"contributor", "trainer", "labeler", "deployment"}, lambda api, _: api.quick_test_image(project.id, test, store=False)),
        "read": (set(ROLES), lambda api, _: api.get_iteration_performance(project.id, iteration.id)),
        "delete": ({"contributor"}, lambda api, _: api.delete_project(project.id)),
    }
    for what, (allowed, call) in needs.items():
        for role in reversed(ROLES):
            if role not in allowed:
                refused(f"{what} by the {role}", 403, "ForbiddenUserInsufficientCapability", lambda: call(*members[role]))
    for role in ("labeler", "deployment", "trainer"):
        for what in ("ask", "test", "read", "tag", "upload", "publish", "rename", "hand on", "erase"):
            allowed, call = needs[what]
            if role in allowed and what != "publish":
                try:
                    call(*members[role])
                    check(f"{what} by the {role}", True)
                except Exception as error:
                    check(f"{what} by the {role}: {error}", False)
    deployment.unpublish_iteration(project.id, iteration.id)
    check("deleted by the contributor", members["contributor"][0].delete_project(project.id) is None)

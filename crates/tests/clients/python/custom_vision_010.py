"""Drives account info and the data operations of 1.2 through Microsoft's unmodified Python client 0.1.0."""

import os
import sys
from pathlib import Path

from azure.cognitiveservices.vision.customvision.training import training_api
from msrest.exceptions import HttpOperationError

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
IMAGES = Path(os.environ["HABEAS_TEST_IMAGES"])
passed = failed = 0


def check(name, condition):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {name}")


api = training_api.TrainingApi(os.environ["HABEAS_TEST_KEY"], base_url=f"{ENDPOINT}/customvision/v1.2/Training")
account = api.get_account_info()
check("the person", account.email == os.environ["HABEAS_TEST_EMAIL"])
check("the key", account.keys.training_keys.primary_key == os.environ["HABEAS_TEST_KEY"])
check("the quotas", account.quotas.projects.used == 0 and account.quotas.projects.time_until_reset is None)
project = api.create_project("Old")
check("listed", [other.name for other in api.get_projects()] == ["Old"])
tag = api.create_tag(project.id, "red")
image = (IMAGES / "ObjectDetection/Images/fork/fork_1.jpg").read_bytes()
summary = api.create_images_from_data(project.id, image, tag_ids=[tag.id])
check("an image", summary.is_batch_successful and summary.images[0].status == "OK")
tags = api.get_tags(project.id)
check("counts", (tags.total_tagged_images, tags.total_untagged_images, tags.tags[0].image_count) == (1, 0, 1))
images = api.get_tagged_images(project.id)
check("an address", images[0].image_uri.startswith("http"))
iterations = api.get_iterations(project.id)
check("the workspace", [(one.id, one.status, one.trained_at) for one in iterations] == [(project.current_iteration_id, "New", None)])
check("by itself", api.get_iteration(project.id, project.current_iteration_id).status == "New")
check("its tags", api.get_tags(project.id, iteration_id=project.current_iteration_id).total_tagged_images == 1)
for name, call in [
    ("too few images", lambda: api.train_project(project.id)),
    ("the workspace deleted", lambda: api.delete_iteration(project.id, project.current_iteration_id)),
]:
    try:
        call()
        check(name, False)
    except HttpOperationError as error:
        check(name, error.response.status_code == 400)
api.delete_images(project.id, [images[0].id])
check("used", api.get_account_info().quotas.per_project[0].tags.used == 1)
api.delete_project(project.id)
print(f"custom vision 0.1.0: {passed} passed, {failed} failed")
sys.exit(1 if failed else 0)

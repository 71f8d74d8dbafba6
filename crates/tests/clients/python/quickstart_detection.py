"""The sequence of calls of Microsoft's quickstart for object detection, and the export that its guide goes on with."""

import io
import uuid
import zipfile
from urllib.request import urlopen

from azure.cognitiveservices.vision.customvision.prediction import CustomVisionPredictionClient
from azure.cognitiveservices.vision.customvision.training import CustomVisionTrainingClient
from azure.cognitiveservices.vision.customvision.training.models import ImageFileCreateBatch, ImageFileCreateEntry, Region
from driven import ENDPOINT, KEY, OBJECTS, PREDICTION_KEY, RESOURCE, boxes, check, finish, until
from msrest.authentication import ApiKeyCredentials

trainer = CustomVisionTrainingClient(f"{ENDPOINT}/", ApiKeyCredentials(in_headers={"Training-key": KEY}))
predictor = CustomVisionPredictionClient(f"{ENDPOINT}/", ApiKeyCredentials(in_headers={"Prediction-key": PREDICTION_KEY}))


def train():
    iteration = trainer.train_project(project.id)
    return until(lambda found: found.status == "Completed", lambda: trainer.get_iteration(project.id, iteration.id))


domain = next(domain for domain in trainer.get_domains() if domain.type == "ObjectDetection" and domain.name == "General")
project = trainer.create_project(str(uuid.uuid4()), domain_id=domain.id)
tags = {name: trainer.create_tag(project.id, name).id for name in ("fork", "scissors")}
entries = []
for stem, box in boxes().items():
    name = stem.rsplit("_", 1)[0]
    contents = (OBJECTS / name / f"{stem}.jpg").read_bytes()
    entries.append(ImageFileCreateEntry(name=stem, contents=contents, regions=[Region(tag_id=tags[name], **box)]))
check("uploaded", trainer.create_images_from_files(project.id, ImageFileCreateBatch(images=entries)).is_batch_successful)
iteration = train()
measured = trainer.get_iteration_performance(project.id, iteration.id, threshold=0.3)
check("measured by tag", sorted(tag.name for tag in measured.per_tag_performance) == ["fork", "scissors"])
trainer.publish_iteration(project.id, iteration.id, "detectModel", RESOURCE)
with (OBJECTS / "test/test_image.jpg").open("rb") as file:
    answer = predictor.detect_image(project.id, "detectModel", file)
for said in answer.predictions[:3]:
    box = said.bounding_box
    print(f"\t{said.tag_name}: {said.probability * 100:.2f}% at {box.left:.2f}, {box.top:.2f}, {box.width:.2f}, {box.height:.2f}")
check("a fork", answer.predictions[0].tag_name == "fork")

project.settings.domain_id = next(found.id for found in trainer.get_domains() if found.exportable and found.type == "ObjectDetection")
project = trainer.update_project(project.id, project)
compact = train()
trainer.export_iteration(project.id, compact.id, "ONNX")
(export,) = until(lambda found: found[0].status == "Done", lambda: trainer.get_exports(project.id, compact.id))
with zipfile.ZipFile(io.BytesIO(urlopen(export.download_uri).read())) as archive:
    check("downloaded", archive.testzip() is None and "model.onnx" in archive.namelist())

trainer.unpublish_iteration(project.id, iteration.id)
trainer.delete_project(project.id)
check("ended well", not trainer.get_projects())
finish("quickstart, detection")

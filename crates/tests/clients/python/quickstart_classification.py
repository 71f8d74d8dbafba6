"""The sequence of calls of Microsoft's quickstart for classification, and the export that its guide goes on with."""

import io
import uuid
import zipfile
from urllib.request import urlopen

from azure.cognitiveservices.vision.customvision.prediction import CustomVisionPredictionClient
from azure.cognitiveservices.vision.customvision.training import CustomVisionTrainingClient
from azure.cognitiveservices.vision.customvision.training.models import ImageFileCreateBatch, ImageFileCreateEntry
from driven import CLASSES, ENDPOINT, KEY, PREDICTION_KEY, RESOURCE, check, finish, until
from msrest.authentication import ApiKeyCredentials

# The quickstart's endpoint ends in a slash.
trainer = CustomVisionTrainingClient(f"{ENDPOINT}/", ApiKeyCredentials(in_headers={"Training-key": KEY}))
predictor = CustomVisionPredictionClient(f"{ENDPOINT}/", ApiKeyCredentials(in_headers={"Prediction-key": PREDICTION_KEY}))


def train():
    iteration = trainer.train_project(project.id)
    # Anything but Completed is waited for.
    return until(lambda found: found.status == "Completed", lambda: trainer.get_iteration(project.id, iteration.id))


project = trainer.create_project(str(uuid.uuid4()))
entries = []
for name, folder in (("Hemlock", "Hemlock"), ("Japanese Cherry", "Japanese_Cherry")):
    tag = trainer.create_tag(project.id, name)
    for number in range(1, 11):
        file = f"{folder.lower()}_{number}.jpg"
        entries.append(ImageFileCreateEntry(name=file, contents=(CLASSES / folder / file).read_bytes(), tag_ids=[tag.id]))
check("uploaded", trainer.create_images_from_files(project.id, ImageFileCreateBatch(images=entries)).is_batch_successful)
iteration = train()
measured = trainer.get_iteration_performance(project.id, iteration.id)
check("measured by tag", sorted(tag.name for tag in measured.per_tag_performance) == ["Hemlock", "Japanese Cherry"])
trainer.publish_iteration(project.id, iteration.id, "classifyModel", RESOURCE)
answer = predictor.classify_image(project.id, "classifyModel", (CLASSES / "Test/test_image.jpg").read_bytes())
for said in answer.predictions:
    print(f"\t{said.tag_name}: {said.probability * 100:.2f}%")
check("hemlock", answer.predictions[0].tag_name == "Hemlock")

# Only models of a compact domain can be exported: the project is moved to one and trained again.
project.settings.domain_id = next(domain.id for domain in trainer.get_domains() if domain.exportable)
project = trainer.update_project(project.id, project)
compact = train()
trainer.export_iteration(project.id, compact.id, "ONNX")
(export,) = until(lambda found: found[0].status == "Done", lambda: trainer.get_exports(project.id, compact.id))
with zipfile.ZipFile(io.BytesIO(urlopen(export.download_uri).read())) as archive:
    check("downloaded", archive.testzip() is None and "model.onnx" in archive.namelist())

trainer.unpublish_iteration(project.id, iteration.id)
trainer.delete_project(project.id)
check("ended well", not trainer.get_projects())
finish("quickstart, classification")

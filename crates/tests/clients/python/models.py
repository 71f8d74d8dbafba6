"""Trains on a running server and checks its models from outside: exported graphs in ONNX Runtime against the server's answers, and the
person's archive against `docs/verify_model.py` and `habeas model verify`, each with controls that must fail.
"""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import onnx
import onnxruntime
from PIL import Image

ENDPOINT = os.environ["HABEAS_TEST_ENDPOINT"]
KEY = os.environ["HABEAS_TEST_KEY"]
EMAIL = os.environ["HABEAS_TEST_EMAIL"]
IMAGES = Path(os.environ["HABEAS_TEST_IMAGES"])
BINARY = os.environ["HABEAS_TEST_BINARY"]
FOLDER = Path(os.environ["HABEAS_TEST_FOLDER"])
VERIFY = os.environ["HABEAS_TEST_VERIFY"]
TOLERANCE = 1e-5


def call(method, path, body=None, kind="application/json", service="v3.4-preview/training"):
    data = json.dumps(body).encode() if kind == "application/json" and body is not None else body
    headers = {"training-key": KEY, "prediction-key": KEY, "content-type": kind}
    with urlopen(Request(f"{ENDPOINT}/customvision/{service}{path}", data, headers, method=method)) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def photos(folder):
    return {path.stem: path.read_bytes() for path in sorted((IMAGES / folder).iterdir())}


def upload(project, images):
    """Images as (bytes, tag ids, regions)."""
    entries = [
        {"name": str(number), "contents": base64.b64encode(content).decode(), "tagIds": tags, "regions": regions}
        for number, (content, tags, regions) in enumerate(images)
    ]
    made = call("POST", f"/projects/{project}/images/files", {"images": entries})
    assert made["isBatchSuccessful"], made


def wait(path, key, busy):
    while True:
        found = call("GET", path)
        found = found[0] if isinstance(found, list) else found
        if found[key] != busy:
            return found
        time.sleep(0.2)


def train(project, query=""):
    begun = call("POST", f"/projects/{project}/train{query}")
    iteration = wait(f"/projects/{project}/iterations/{begun['id']}", "status", "Training")
    assert iteration["status"] == "Completed", iteration
    return iteration


def exported(project, iteration):
    """Publishes an iteration; the session of its exported graph, its labels and its card."""
    path = f"/projects/{project}/iterations/{iteration['id']}"
    call("POST", f"{path}/publish?publishName=tested&predictionId=x")
    call("POST", f"{path}/export?platform=ONNX")
    export = wait(f"{path}/export", "status", "Exporting")
    assert export["status"] == "Done", export
    with urlopen(export["downloadUri"]) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    model = archive.read("model.onnx")
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(model).metadata_props}
    assert metadata["Image.BitmapPixelFormat"] == "Bgr8", metadata
    assert metadata["Image.NominalPixelRange"] == "NominalRange_0_255", metadata
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session, archive.read("labels.txt").decode().splitlines(), json.loads(archive.read("model-card.json"))


def resized(content, side):
    """The image as the model reads it, and the same pixels as a file without loss."""
    pixels = Image.open(io.BytesIO(content)).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    pixels.save(file, "PNG")
    bgr = np.asarray(pixels, np.float32)[:, :, ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(bgr), file.getvalue()


def predicted(project, task, png):
    path = f"/{project}/{task}/iterations/tested/image/nostore"
    return call("POST", path, png, "application/octet-stream", "v3.1/prediction")["predictions"]


def classifier(classification_type):
    query = f"name={classification_type}&classificationType={classification_type}"
    project = call("POST", f"/projects?{query}&domainId=0732100f-1a38-4e49-a514-c9b44c697ab5")["id"]
    make = lambda name: call("POST", f"/projects/{project}/tags?name={name}")["id"]
    hemlock, cherry = photos("ImageClassification/Images/Hemlock"), photos("ImageClassification/Images/Japanese_Cherry")
    tags = [make("hemlock"), make("cherry")]
    images = [(content, tags[:1], []) for content in hemlock.values()] + [(content, tags[1:], []) for content in cherry.values()]
    if classification_type == "Multilabel":
        evergreen = make("evergreen")
        images = [(content, [*given, evergreen] if given == tags[:1] else given, regions) for content, given, regions in images]
    upload(project, images)
    iteration = train(project)
    session, labels, card = exported(project, iteration)
    assert [given.name for given in session.get_inputs()] == ["data"]
    worst = 0.0
    for content, _, _ in images[::3]:
        pixels, png = resized(content, card["input"]["width"])
        (here,) = session.run(None, {"data": pixels})
        there = {said["tagName"]: said["probability"] for said in predicted(project, "classify", png)}
        worst = max(worst, abs(here[0] - [there[label] for label in labels]).max())
    assert worst < TOLERANCE, worst
    print(f"{classification_type}: probabilities in ONNX Runtime differ from the server's by at most {worst:.1e}")
    # A control: one level more in one channel is another image.
    pixels[0, 0] = np.minimum(pixels[0, 0] + 1, 255)
    (other,) = session.run(None, {"data": pixels})
    assert abs(other - here).max() > worst, "the comparison cannot fail"
    # For the proofs below.
    train(project, "?trainingType=Advanced")


def detector():
    project = call("POST", "/projects?name=tools&domainId=a27d5ca5-bb19-49d8-a70a-fec086c47f5b")["id"]
    sides = json.loads((IMAGES / "ObjectDetection/regions.json").read_text())
    images = []
    for kind in ("fork", "scissors"):
        tag = call("POST", f"/projects/{project}/tags?name={kind}")["id"]
        for name, content in photos(f"ObjectDetection/Images/{kind}").items():
            box = dict(zip(("left", "top", "width", "height"), sides[name]["left_top_width_height"], strict=True))
            images.append((content, [], [{"tagId": tag, **box}]))
    upload(project, images)
    session, labels, card = exported(project, train(project))
    names = [output.name for output in session.get_outputs()]
    assert set(names) == {"detected_boxes", "detected_classes", "detected_scores"}, names
    worst = 0.0
    for content, _, _ in images[::8]:
        pixels, png = resized(content, card["input"]["width"])
        found = dict(zip(names, session.run(names, {"image_tensor": pixels}), strict=True))
        here = np.column_stack([found["detected_classes"][0], found["detected_scores"][0], found["detected_boxes"][0]])
        there = []
        for said in predicted(project, "detect", png):
            box = said["boundingBox"]
            edges = [box["left"], box["top"], box["left"] + box["width"], box["top"] + box["height"]]
            there.append([labels.index(said["tagName"]), said["probability"], *edges])
        assert len(here) == len(there) > 0, (len(here), len(there))
        # Detections that are equally probable may come in another order.
        for detection in there:
            differences = abs(here - detection).max(axis=1)
            worst = max(worst, differences.min())
            here = np.delete(here, differences.argmin(), axis=0)
    assert worst < TOLERANCE, worst
    print(f"detector: probabilities and boxes in ONNX Runtime differ from the server's by at most {worst:.1e}")


def proofs():
    """What both programs say of the archive, whole and with one thing changed."""
    archive = FOLDER / "archive.zip"
    data = os.environ["HABEAS_TEST_DATA"]
    subprocess.run([BINARY, "export", "--person", EMAIL, "--output", archive, "--data", data], check=True, stdout=subprocess.DEVNULL)
    for program in ([BINARY, "model", "verify", archive], [sys.executable, VERIFY, archive]):
        print(subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout, end="")

    root = FOLDER / "archive"
    zipfile.ZipFile(archive).extractall(root)
    trained = root.glob("custom-vision/projects/*/iterations/*/iteration.json")
    iteration = next(path for path in trained if json.loads(path.read_bytes())["model"]["extractor"] == "phi-v1")
    row = next(iteration.parents[2].glob("images/*.phi-v1.bin"))
    snapshot = iteration.with_name("training-set.json")

    def label(content):
        images = json.loads(content)
        next(image for image in images["images"] if image["tags"])["tags"] = []
        return json.dumps(images).encode()

    changes = {
        row: lambda content: bytes([content[0] ^ 1]) + content[1:],
        snapshot: label,
        iteration: lambda content: content.replace(b'"sumsDigest": "', b'"sumsDigest": "0'),
        iteration.with_name("weights.bin"): lambda content: content[:-60] + bytes([content[-60] ^ 64]) + content[-59:],
    }
    for path, change in changes.items():
        content = path.read_bytes()
        path.write_bytes(change(content))
        name = iteration.parent.name
        here = subprocess.run([BINARY, "model", "verify", root, "--iteration", name], capture_output=True, text=True)
        there = subprocess.run([sys.executable, VERIFY, root, name], capture_output=True, text=True)
        assert here.returncode == 6 and "NOT VERIFIED" in here.stdout, (path.name, here)
        assert there.returncode == 1 and "NOT VERIFIED" in there.stderr, (path.name, there)
        path.write_bytes(content)
    print(f"{len(changes)} changes of the archive were noticed by both programs")


shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.mkdir(parents=True)
classifier("Multiclass")
classifier("Multilabel")
detector()
proofs()

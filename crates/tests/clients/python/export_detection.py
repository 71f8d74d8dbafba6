"""Holds an exported detector against the server's answers, with ONNX Runtime and the ONNX checker.

Arguments: the model, and a JSON list of {"pixels": red, green, blue of 192x192 pixels, row by row, "detections": [{"class", "probability",
"box": [left, top, right, bottom]}], most probable first}. Needs `onnx`, `onnxruntime` and `numpy`.
"""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime

SIDE = 192
TOLERANCE = 1e-5

path, expected = map(pathlib.Path, sys.argv[1:])
model = onnx.load(path)
onnx.checker.check_model(model, full_check=True)
metadata = {entry.key: entry.value for entry in model.metadata_props}
assert metadata["Image.BitmapPixelFormat"] == "Bgr8", metadata
assert metadata["Image.NominalPixelRange"] == "NominalRange_0_255", metadata

session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
(given,) = session.get_inputs()
assert given.shape == [1, 3, SIDE, SIDE] and given.type == "tensor(float)", (given.shape, given.type)
names = [output.name for output in session.get_outputs()]
assert set(names) == {"detected_boxes", "detected_classes", "detected_scores"}, names


def numbers(label, score, box):
    return [float(label), float(score), *map(float, box)]


worst = 0.0
images = json.loads(expected.read_text())
assert images
for number, image in enumerate(images):
    rgb = numpy.array(image["pixels"], numpy.float32).reshape(SIDE, SIDE, 3)
    bgr = numpy.ascontiguousarray(rgb[None, :, :, ::-1].transpose(0, 3, 1, 2))
    found = dict(zip(names, session.run(names, {given.name: bgr}), strict=True))
    boxes, labels, scores = (found[name] for name in ("detected_boxes", "detected_classes", "detected_scores"))
    count = len(image["detections"])
    assert (boxes.shape, labels.shape, scores.shape) == ((1, count, 4), (1, count), (1, count)), (number, boxes.shape, count)
    assert (numpy.diff(scores[0]) <= 0).all(), number
    # Detections that are equally probable may come in another order.
    left = numpy.array([numbers(*detection) for detection in zip(labels[0], scores[0], boxes[0], strict=True)]).reshape(count, 6)
    for detection in image["detections"]:
        server = numbers(detection["class"], detection["probability"], detection["box"])
        differences = abs(left - server).max(axis=1)
        nearest = differences.argmin()
        worst = max(worst, differences[nearest])
        assert worst < TOLERANCE, (number, detection, left[nearest])
        left = numpy.delete(left, nearest, axis=0)
print(f"{len(images)} images: probabilities and boxes differ by at most {worst:.1e}")

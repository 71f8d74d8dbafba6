#!/usr/bin/env python3
"""Trains the models in a person's archive again: verify_model.py ARCHIVE [ITERATION_ID]. Python 3 and NumPy, nothing of the server's.

ARCHIVE is the ZIP that `habeas export` wrote, or a folder into which it was unpacked. For each trained iteration the exact integer sums are
made again from the stored rows and labels; their SHA-256 must be the recorded one. Then the weights are solved from them, and must be those
of `weights.bin` within 1e-9 (a detector's are stored with 32 bits: within that and the last of them). Exit code 1 when something differs.
"""

import hashlib
import json
import pathlib
import sys
import uuid
import zipfile

import numpy as np

TOLERANCE = 1e-9
SCALE = 16384.0
CELLS, PARTS, FOLDS = 24, 3, 5


class Archive:
    def __init__(self, path):
        self.root = pathlib.Path(path)
        self.zip = None if self.root.is_dir() else zipfile.ZipFile(self.root)
        files = (file.relative_to(self.root).as_posix() for file in self.root.rglob("*") if file.is_file())
        self.paths = self.zip.namelist() if self.zip else list(files)
        self.by_name = {path.rsplit("/", 1)[-1]: path for path in self.paths if "/images/" in path}

    def read(self, path):
        return self.zip.read(path) if self.zip else (self.root / path).read_bytes()

    def features(self, image, extractor):
        name = f"{image}.{extractor}.bin"
        if name not in self.by_name:
            raise SystemExit(f"NOT VERIFIED: {name} is not in the archive")
        return self.read(self.by_name[name])


class Reader:
    """Little-endian numbers, one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, kind, count=1):
        values = np.frombuffer(self.data, np.dtype(kind).newbyteorder("<"), count, self.at)
        self.at += values.nbytes
        return values

    def ids(self, count):
        return [int.from_bytes(self.take("u1", 16).tobytes(), "little") for _ in range(count)]


def number(identifier):
    return uuid.UUID(identifier).int


def triangle(matrix):
    """The lower triangle, row by row."""
    return matrix[np.tril_indices(len(matrix))]


def integers(*arrays):
    """Signed 64-bit little-endian. What comes as floating point is whole and below 2^53."""
    return b"".join(np.asarray(array).astype("<i8").tobytes() for array in arrays)


def solve(products, features, count, target_products, target_sums, penalty):
    """Weights and bias of a ridge regression whose bias is not penalised, from sums. One column a target."""
    centred = products - np.outer(features, features) / count
    sides = target_products - np.outer(features, target_sums) / count
    lam = penalty(np.trace(centred))
    weights = np.linalg.solve(centred + lam * np.eye(len(centred)), sides)
    return weights, (target_sums - features @ weights) / count


# Classifiers.


def choose_ratio(centred, gram, targets, blocks):
    """Of 10^(k/4), k = -14..2, the multiple of the rows' mean squared length with the least squared held-out error: every image is
    judged by the model that did not see its rows, in closed form."""
    count = len(targets)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0)
    dual = len(gram) == count
    z = vectors if dual else centred @ vectors
    sides = vectors.T @ (targets - targets.mean(0) if dual else centred.T @ targets)
    best = None
    for ratio in [10 ** (k / 4) for k in range(-14, 3)]:
        lam = ratio * np.trace(gram) / count
        gains = (values if dual else 1) / (values + lam)
        errors = targets - targets.mean(0) - z @ (gains[:, None] * sides)
        total = 0.0
        for block in blocks:
            hat = (z[block] * gains) @ z[block].T + 1 / count
            total += (np.linalg.solve(np.eye(len(hat)) - hat, errors[block]) ** 2).sum()
        if best is None or total < best[0]:
            best = (total, ratio)
    return best[1]


def classifier(archive, iteration, images, weights):
    reader = Reader(weights)
    assert reader.take("u1", 4).tobytes() == b"HCL1"
    tags = reader.ids(reader.take("u4")[0])
    views = reader.take("u1", reader.take("u1")[0]).tolist()
    dimension = int(reader.take("u4")[0])
    ratio, lam = reader.take("f8", 2)
    stored = reader.take("f8", len(tags) * (1 + dimension)).reshape(len(tags), -1)
    assert tags == [number(tag["id"]) for tag in iteration["tags"]]
    rows, labels = [], []
    for identifier, image in images:
        found = np.frombuffer(archive.features(identifier, iteration["model"]["extractor"]), "<i2").reshape(-1, dimension)
        carried = {number(tag) for tag, _ in image["tags"]}
        for view in views:
            rows.append(found[view])
            labels.append([tag in carried for tag in tags])
    rows, labels = np.array(rows, float), np.array(labels, float)
    count = len(rows)
    # Floating point is exact here: all sums are whole numbers below 2^53.
    dual = count <= dimension
    products = rows @ rows.T if dual else rows.T @ rows
    features, tagged = rows.sum(0), labels.T @ rows
    digest = hashlib.sha256(integers([count, dimension, len(tags)], labels.sum(0), features, tagged, triangle(products))).hexdigest()

    targets = 2 * labels - 1
    centred = rows - rows.mean(0)
    gram = centred @ centred.T if dual else centred.T @ centred
    blocks = [slice(start, start + len(views)) for start in range(0, count, len(views))]
    chosen = choose_ratio(centred, gram, targets, blocks)
    assert chosen == ratio, f"lambda is {ratio} of the mean squared length, but {chosen} does better"
    expected = chosen * np.trace(gram) / count
    assert abs(lam - expected) <= TOLERANCE * expected, (lam, expected)
    system, ridge = gram + expected * np.eye(len(gram)), targets - targets.mean(0)
    solved = centred.T @ np.linalg.solve(system, ridge) if dual else np.linalg.solve(system, centred.T @ ridge)
    bias = targets.mean(0) - rows.mean(0) @ solved
    difference = max(abs(solved.T * SCALE - stored[:, 1:]).max(), abs(bias - stored[:, 0]).max())
    return digest, difference


# Detectors. All from maps to whole numbers is in 32-bit floating point, in the order in which the server does it.

F = np.float32


def interval(start, end):
    """The cells of a mean over start..end, and what each weighs."""
    start, end = max(start, 0.0), min(end, float(CELLS))
    first, last = int(np.floor(start)), min(int(np.ceil(end)), CELLS)
    covered = [max(min(cell + 1.0, end) - max(float(cell), start), 0.0) for cell in range(first, last)]
    total = sum(covered)
    return [(first + at, F(weight / total)) for at, weight in enumerate(covered)]


def axis(size, divisor):
    starts = list(range(0, CELLS - size + 1, max(size // divisor, 1)))
    if starts[-1] != CELLS - size:
        starts.append(CELLS - size)
    part = size / PARTS
    parts = [interval(start + index * part, start + (index + 1) * part) for start in starts for index in range(PARTS)]
    return size, starts, parts, [interval(start - 0.25 * size, start + size + 0.25 * size) for start in starts]


def mean(intervals, cells):
    """Weighted means over the first axis of `cells`, one for each interval."""
    out = np.zeros((len(intervals), *cells.shape[1:]), F)
    for target, parts in zip(out, intervals, strict=True):
        for cell, weight in parts:
            target += weight * cells[cell]
    return out


class Grid:
    def __init__(self, reader):
        start = reader.at
        self.sizes = reader.take("u1", reader.take("u1")[0]).tolist()
        self.aspect = int(reader.take("u4")[0])
        divisor = int(reader.take("u1")[0])
        self.channels = int(reader.take("u2")[0])
        self.stored = reader.data[start : reader.at]
        axes = [axis(size, divisor) for size in self.sizes]
        fits = lambda wide, high: max(wide[0], high[0]) * 10 <= self.aspect * min(wide[0], high[0])
        self.shapes = [(wide, high) for wide in axes for high in axes if fits(wide, high)]
        boxes = [(x, y, x + wide[0], y + high[0]) for wide, high in self.shapes for y in high[1] for x in wide[1]]
        self.boxes = np.array(boxes, F)

    def rows(self, maps):
        """The quantised features of all anchors, one row an anchor."""
        cells = maps.reshape(self.channels, CELLS, CELLS).transpose(2, 1, 0)
        found = []
        for wide, high in self.shapes:
            # Along each row of cells first, then down the columns; (part, row of cells, channel) each.
            parts, contexts = mean(wide[2], cells), mean(wide[3], cells)
            parts = mean(high[2], parts.transpose(1, 0, 2)).reshape(len(high[1]), PARTS, len(wide[1]), PARTS, -1)
            contexts = mean(high[3], contexts.transpose(1, 0, 2))
            features = parts.transpose(0, 2, 1, 3, 4).reshape(len(high[1]), len(wide[1]), PARTS * PARTS, -1)
            found.append(np.concatenate([features, contexts[:, :, None]], 2).reshape(len(high[1]) * len(wide[1]), -1))
        features = np.concatenate(found)
        sizes = abs(features)
        whole = sizes.shape[1] // 16 * 16
        lanes, rest, square = np.zeros((len(sizes), 16), F), np.zeros(len(sizes), F), np.zeros(len(sizes), F)
        for at in range(0, whole, 16):
            lanes += sizes[:, at : at + 16]
        for lane in lanes.T:
            square += lane
        for value in sizes[:, whole:].T:
            rest += value
        scale = F(1) / (np.sqrt(square + rest) + F(1e-9))
        return np.rint(np.copysign(np.sqrt(sizes), features) * scale[:, None] * F(SCALE)).astype(np.int16)

    def overlaps(self, box):
        """Overlap of each anchor with a box, in 256ths."""
        left, top, right, bottom = self.boxes.T
        width = np.maximum(np.minimum(right, box[2]) - np.maximum(left, box[0]), F(0))
        height = np.maximum(np.minimum(bottom, box[3]) - np.maximum(top, box[1]), F(0))
        shared = width * height
        union = (right - left) * (bottom - top) + (box[2] - box[0]) * (box[3] - box[1]) - shared
        return np.rint(np.where(union > 0, shared / union, F(0)) * F(256)).astype(int)


def centre_form(boxes):
    left, top, right, bottom = np.asarray(boxes, float).T
    return [value.astype(F) for value in ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)]


def fold_of(image):
    mask = 2**64 - 1

    def mix(value):
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & mask
        return value ^ (value >> 31)

    return mix(mix(image >> 64) ^ (image & mask)) % FOLDS


class Sums:
    def __init__(self, dimension):
        self.counts = np.zeros(3, np.int64)
        self.moves = np.zeros(4, np.int64)
        self.products, self.positive_products = (np.zeros((dimension, dimension), np.int64) for _ in range(2))
        self.features, self.positive_features = (np.zeros(dimension, np.int64) for _ in range(2))
        self.move_products = np.zeros((4, dimension), np.int64)
        self.tags = {}

    def add(self, grid, rows, objects):
        """One image. `objects` are (tag, box in cells), in order."""
        exact = rows.astype(float)
        steps = [grid.overlaps(box) for _, box in objects]
        best = np.max(steps, 0) if steps else np.zeros(len(rows), int)
        positive = best >= 128
        chosen = np.array([box for _, box in objects])[np.argmax(steps, 0)[positive]] if positive.any() else np.zeros((0, 4))
        from_x, from_y, from_width, from_height = centre_form(grid.boxes[positive])
        to_x, to_y, to_width, to_height = centre_form(chosen)
        logarithm = lambda value: np.log(value.astype(float)).astype(F)
        moves = [(to_x - from_x) / from_width, (to_y - from_y) / from_height]
        moves += [logarithm(to_width / from_width), logarithm(to_height / from_height)]
        moves = np.rint(np.array(moves, F) * F(1024)).astype(np.int64)
        whole = lambda values: values.astype(np.int64)
        self.counts += [1, len(rows), positive.sum()]
        self.moves += moves.sum(1)
        self.products += whole(exact.T @ exact)
        self.positive_products += whole(exact[positive].T @ exact[positive])
        self.features += whole(exact.sum(0))
        self.positive_features += whole(exact[positive].sum(0))
        self.move_products += whole(moves @ exact[positive])
        for tag in {tag for tag, _ in objects}:
            of_tag = np.max([overlap for overlap, (other, _) in zip(steps, objects, strict=True) if other == tag], 0)
            target = np.clip(of_tag - 77, 0, 102)
            add = [[1, target.sum(), target[positive].sum()], whole(target @ exact), whole(target[positive] @ exact[positive])]
            old = self.tags.get(tag, [0, 0, 0])
            self.tags[tag] = [np.add(a, b) for a, b in zip(old, add, strict=True)]

    def stored(self):
        yield integers(self.counts, self.moves, triangle(self.products), triangle(self.positive_products))
        yield integers(self.features, self.positive_features, self.move_products)
        yield len(self.tags).to_bytes(4, "little")
        for tag, sums in sorted(self.tags.items()):
            yield tag.to_bytes(16, "little") + integers(*sums)


def detector(archive, iteration, images, weights):
    reader = Reader(weights)
    assert reader.take("u1", 4).tobytes() == b"HDD1"
    grid = Grid(reader)
    dimension = grid.channels * (PARTS * PARTS + 1)
    reader.take("u8")
    stored = {}
    for _ in range(reader.take("u4")[0]):
        (tag,) = reader.ids(1)
        reader.take("f4", 2)
        stored[tag] = reader.take("f4", 1 + dimension)
    stored_moves = reader.take("f4", 4 * (1 + dimension)).reshape(4, -1)
    known = {number(tag["id"]) for tag in iteration["tags"]}
    folds = [Sums(dimension) for _ in range(FOLDS)]
    for identifier, image in images:
        objects = []
        for region in image["regions"]:
            sides = [region[side] for side in ("left", "top", "width", "height")]
            edges = [sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3]]
            box = np.array([min(max(edge * CELLS, 0.0), float(CELLS)) for edge in edges], F)
            if number(region["tag"]) in known:
                objects.append((number(region["tag"]), box))
        objects.sort(key=lambda object: (object[0], object[1].view("u4").tolist()))
        maps = np.frombuffer(archive.features(identifier, iteration["model"]["extractor"]), "<f4")
        folds[fold_of(number(identifier))].add(grid, grid.rows(maps), objects)
    digest = hashlib.sha256(b"HDS1" + grid.stored)
    for sums in folds:
        for part in sums.stored():
            digest.update(part)

    add = lambda name: sum(getattr(sums, name) for sums in folds).astype(float)
    _, count, positives = add("counts")
    extra = np.rint(min(0.05 / max(positives / count, 1e-4), 30.0))
    tags = sorted({tag for sums in folds for tag in sums.tags})
    assert tags == list(stored)
    of_tags = [sum(np.concatenate([np.atleast_1d(part) for part in sums.tags[tag]]) for sums in folds if tag in sums.tags) for tag in tags]
    targets = np.array([(sums[1] + extra * sums[2]) / 102 for sums in of_tags])
    sides = np.array([(sums[3 : 3 + dimension] + extra * sums[3 + dimension :]) / 102 for sums in of_tags]).T
    products, features = add("products") + extra * add("positive_products"), add("features") + extra * add("positive_features")
    solved, bias = solve(products, features, count + extra * positives, sides, targets, lambda trace: 0.05 * trace / dimension)
    pairs = [(np.append(bias[at], solved[:, at] * SCALE), stored[tag]) for at, tag in enumerate(tags)]
    solved, bias = solve(
        *(add("positive_products"), add("positive_features"), positives),
        *(add("move_products").T / 1024, add("moves") / 1024, lambda trace: trace / dimension),
    )
    pairs += [(np.append(bias[at], solved[:, at] * SCALE), stored_moves[at]) for at in range(4)]
    return digest.hexdigest(), max((abs(mine - theirs) - abs(theirs) * 2.0**-24).max() for mine, theirs in pairs)


def verify(archive, path):
    iteration = json.loads(archive.read(path))
    folder, model = path.removesuffix("iteration.json"), iteration["model"]
    learned = set(iteration["learnedFrom"])
    snapshot = json.loads(archive.read(f"{folder}training-set.json"))["images"]
    images = sorted(((image["id"], image) for image in snapshot if image["id"] in learned), key=lambda pair: number(pair[0]))
    assert len(images) == len(learned) == model["images"], "images are missing"
    train = classifier if iteration["classificationType"] else detector
    digest, difference = train(archive, iteration, images, archive.read(f"{folder}weights.bin"))
    assert digest == model["sumsDigest"], f"the sums' digest is {digest}, not {model['sumsDigest']}"
    assert difference <= TOLERANCE, f"weights differ by {difference:.1e}"
    print(f"OK  {iteration['id']}  {len(images)} images  sums {digest}  weights differ by at most {max(difference, 0):.1e}")


def main():
    archive = Archive(sys.argv[1])
    wanted = sys.argv[2] if len(sys.argv) > 2 else None
    paths = [path for path in archive.paths if "/iterations/" in path and path.endswith("/iteration.json")]
    trained = [path for path in paths if json.loads(archive.read(path))["model"] and (not wanted or f"/{wanted}/" in path)]
    if not trained:
        raise SystemExit("there is no trained iteration in the archive")
    try:
        for path in sorted(trained):
            verify(archive, path)
    except AssertionError as error:
        raise SystemExit(f"NOT VERIFIED: {path}: {error}") from error


if __name__ == "__main__":
    main()

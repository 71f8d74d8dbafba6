"""Makes the feature extractor phi-v1 from nothing: phi_v1.py FOLDER writes `phi_v1.onnx`, and `phi_v1_features.f32`, what it gives for three
reference images (`phi_v1_images.rgb`). Takes some seconds.

Input `x` (N, 3, 224, 224), red, green, blue of 0 to 1; output (N, 5424): a Fisher vector of dense colour RootSIFT, 3072 numbers, and two-layer
scattering, 2352. Its only fitted constants are a PCA and a Gaussian mixture of descriptors of 150 procedural images. With the versions in
`crates/tests/clients/python/requirements-models.txt` the files come out byte for byte as they are committed; a fit that gives others would be
another extractor, with another name and new rows for every image.
"""

import os
import sys
from pathlib import Path

# Sums of another number of threads may differ in the last bit. Read when NumPy is loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import onnx
from dead_leaves import dead_leaves, kmeans
from graph import Graph, run

SIZE = 224
ORIENTATIONS = 8
COMPONENTS, DIMENSIONS = 32, 48
FISHER_WEIGHT = 0.7071
OPPONENT = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]], np.float32) / np.sqrt([[3], [2], [6]]).astype(np.float32)


def scalar(value):
    return np.full((1,), value, np.float32)


def normalised(graph, x):
    """Divides rows by their length."""
    squares = graph("ReduceSum", graph("Mul", x, x), graph.ints(1), keepdims=1)
    return graph("Div", x, graph("Sqrt", graph("Add", squares, scalar(1e-6))))


def pool(graph, x, kernel, stride):
    return graph("AveragePool", x, kernel_shape=[kernel] * 2, strides=[stride] * 2)


def front(graph, x="x"):
    """224 to 112 pixels: opponent colours and means of 2 x 2 pixels in one convolution."""
    weights = np.repeat(np.repeat(OPPONENT.reshape(3, 3, 1, 1) / 4, 2, 2), 2, 3)
    return graph("Conv", x, weights, strides=[2, 2])


def filter_bank():
    """16 filters of 7 x 7: real and imaginary part of 8 oriented Morlet wavelets, in turn."""
    steps = np.arange(7) - 3
    x, y = np.meshgrid(steps, steps)
    filters = []
    for orientation in range(ORIENTATIONS):
        angle = np.pi * orientation / ORIENTATIONS
        along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        window = np.exp(-(along**2 + 0.25 * across**2) / 2)
        window /= window.sum()
        wave = np.exp(1j * 0.6 * np.pi * along)
        wavelet = window * (wave - (window * wave).sum())
        filters += [wavelet.real, wavelet.imag]
    return np.array(filters, np.float32)


def modulus(graph, x, filters, channels):
    """Filters each of `channels` maps with the bank, and takes the moduli: 8 maps for each."""
    parts = graph("Conv", x, np.concatenate([filters] * channels)[:, None], pads=[3] * 4, group=channels)
    moduli = channels * ORIENTATIONS
    squares = graph("Conv", graph("Mul", parts, parts), np.ones((moduli, 2, 1, 1)), group=moduli)
    return graph("Sqrt", graph("Add", squares, scalar(1e-7)))


def scattering(graph, colours):
    """Eight blocks of length 1: first and second order at three scales, the first order at the fourth, mean colours."""
    filters, blocks, current = filter_bank(), [], colours
    for scale, stride in enumerate([24, 12, 6, 3]):
        size = 112 >> scale
        first = modulus(graph, current, filters, 3)
        pooled = pool(graph, first, size - 3 * stride, stride)
        blocks.append(normalised(graph, graph("Sqrt", graph("Flatten", pooled))))
        if scale < 3:
            intensity = graph("Slice", first, graph.ints(0), graph.ints(ORIENTATIONS), graph.ints(1))
            second = modulus(graph, pool(graph, intensity, 2, 2), filters, ORIENTATIONS)
            pooled = pool(graph, second, size // 4, size // 4)
            blocks.append(normalised(graph, graph("Sqrt", graph("Flatten", pooled))))
            current = pool(graph, current, 2, 2)
    blocks.append(normalised(graph, graph("Flatten", pool(graph, colours, 28, 28))))
    return blocks


def descriptors(graph, colours, halved, pca=None):
    """Dense RootSIFT (4 x 4 cells of 8 unsigned orientations) and 12 mean colours at every fourth pixel; reduced, if `pca` is given."""
    if halved:
        colours = pool(graph, colours, 2, 2)
    differences = np.zeros((2, 3, 3, 3), np.float32)
    differences[0, 0, 1] = [-0.5, 0, 0.5]
    differences[1, 0, :, 1] = [-0.5, 0, 0.5]
    gradient = graph("Conv", colours, differences, pads=[1] * 4)
    angles = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS
    directions = np.stack([np.cos(angles), np.sin(angles)], 1).reshape(ORIENTATIONS, 2, 1, 1)
    turned = graph("Conv", gradient, directions)
    squares = graph("ReduceSum", graph("Mul", gradient, gradient), graph.ints(1), keepdims=1)
    length = graph("Sqrt", graph("Add", squares, scalar(1e-6)))
    cells = pool(graph, graph("Div", graph("Mul", turned, turned), length), 4, 4)
    unfold = np.zeros((ORIENTATIONS * 16, 1, 4, 4), np.float32)
    for orientation in range(ORIENTATIONS):
        for cell in range(16):
            unfold[orientation * 16 + cell, 0, cell // 4, cell % 4] = 1
    roots = graph("Conv", graph("Sqrt", graph("Add", cells, scalar(1e-7))), unfold, group=ORIENTATIONS)
    sums = graph("Conv", cells, np.ones((1, ORIENTATIONS, 4, 4)))
    found = graph("Div", roots, graph("Sqrt", graph("Add", sums, scalar(0.02))))
    quadrants = np.zeros((12, 1, 4, 4), np.float32)
    for colour in range(3):
        for quadrant in range(4):
            top, left = (quadrant // 2) * 2, (quadrant % 2) * 2
            quadrants[colour * 4 + quadrant, 0, top : top + 2, left : left + 2] = 0.25
    means = graph("Conv", pool(graph, colours, 4, 4), quadrants, group=3)
    found = graph("Concat", found, means, axis=1)
    if pca is not None:
        mean, axes = pca
        found = graph("Conv", found, axes.reshape(*axes.shape, 1, 1), -(axes @ mean))
    return found


def fisher(graph, maps, dimensions, mixture):
    """The Fisher vector over all places of all maps together (Perronnin et al. 2010): signed roots, length 1."""
    weights, means, variances = [np.asarray(part, np.float64) for part in mixture]
    z = graph("Concat", *[graph("Reshape", found, graph.ints(0, dimensions, -1)) for found in maps], axis=2)
    both = graph("Concat", z, graph("Mul", z, z), axis=1)
    bias = np.log(weights) - 0.5 * np.log(variances).sum(1) - 0.5 * (means * means / variances).sum(1)
    linear = np.concatenate([means / variances, -0.5 / variances], 1)[None]
    shares = graph("Softmax", graph("Add", graph("MatMul", linear, both), bias[None, :, None]), axis=1)
    sums = graph("MatMul", shares, graph("Transpose", both, perm=[0, 2, 1]))
    zeroth = graph("ReduceSum", shares, graph.ints(2), keepdims=1)
    total = graph("ReduceSum", zeroth, graph.ints(1), keepdims=1)
    first = graph("Slice", sums, graph.ints(0), graph.ints(dimensions), graph.ints(2))
    second = graph("Slice", sums, graph.ints(dimensions), graph.ints(2 * dimensions), graph.ints(2))
    of_means = graph("Mul", graph("Sub", first, graph("Mul", zeroth, means[None])), (1 / np.sqrt(variances * weights[:, None]))[None])
    of_means = graph("Div", of_means, total)
    centred = graph("Sub", second, graph("Mul", first, 2 * means[None]))
    of_variances = graph("Add", centred, graph("Mul", zeroth, (means * means - variances)[None]))
    of_variances = graph("Mul", of_variances, (1 / variances / np.sqrt(2 * weights)[:, None])[None])
    of_variances = graph("Div", of_variances, total)
    vector = graph("Flatten", graph("Concat", of_means, of_variances, axis=1))
    return normalised(graph, graph("Mul", graph("Sign", vector), graph("Sqrt", graph("Abs", vector))))


def phi(pca, mixture):
    """The model."""
    graph = Graph(("N", 3, SIZE, SIZE))
    colours = front(graph)
    maps = [descriptors(graph, colours, halved, pca) for halved in (False, True)]
    vector = fisher(graph, maps, len(pca[1]), mixture)
    blocks = [graph("Mul", vector, scalar(FISHER_WEIGHT)), *scattering(graph, colours)]
    return graph.model(graph("Concat", *blocks, axis=1))


def fit(images, limit=16000, per_image=40, seed=0):
    """PCA and diagonal Gaussian mixture of descriptors of images: k-means, then 15 EM steps, with variances of at least 5 % of the whole."""
    rng, samples = np.random.default_rng(seed), []
    for halved in (False, True):
        graph = Graph(("N", 3, SIZE, SIZE))
        output = graph("Transpose", descriptors(graph, front(graph), halved), perm=[0, 2, 3, 1])
        found = run(graph.model(output, ("N", "h", "w", "c")), images)
        found = found.reshape(len(found), -1, found.shape[-1])
        drawn = [of_image[rng.choice(len(of_image), min(per_image, len(of_image)), replace=False)] for of_image in found]
        samples.append(np.concatenate(drawn))
    samples = np.concatenate(samples)
    samples = samples[rng.permutation(len(samples))[:limit]]
    mean = samples.mean(0)
    _, vectors = np.linalg.eigh(np.cov((samples - mean).T))
    axes = vectors[:, ::-1][:, :DIMENSIONS].T
    points = ((samples - mean) @ axes.T).astype(np.float64)
    return (mean, axes), fit_mixture(points, seed)


def fit_mixture(points, seed):
    means = kmeans(points, COMPONENTS, 8, seed)
    nearest = ((means**2).sum(1) - 2 * points @ means.T).argmin(1)
    clusters = [points[nearest == index] for index in range(COMPONENTS)]
    variances = np.array([cluster.var(0) if len(cluster) > 2 else points.var(0) for cluster in clusters]) + 1e-4
    weights = np.bincount(nearest, minlength=COMPONENTS) / len(points) + 1e-4
    weights /= weights.sum()
    floor = points.var(0) * 0.05
    for _ in range(15):
        squares = (means * means / variances).sum(1) + (points**2) @ (1 / variances).T - 2 * points @ (means / variances).T
        logarithms = np.log(weights) - 0.5 * np.log(variances).sum(1) - 0.5 * squares
        logarithms -= logarithms.max(1, keepdims=True)
        shares = np.exp(logarithms)
        shares /= shares.sum(1, keepdims=True)
        sums = shares.sum(0) + 1e-9
        weights = sums / sums.sum()
        means = (shares.T @ points) / sums[:, None]
        variances = np.maximum((shares.T @ points**2) / sums[:, None] - means**2, floor)
    return weights, means, variances


def reference_images():
    """Gradients, a checkerboard of 16 pixels, noise."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    gradients = np.stack([x, y, (x * y) % 256], -1).astype(np.uint8)
    board = (((x // 16 + y // 16) % 2)[..., None] * np.array([200, 90, 40]) + 20).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    return np.stack([gradients, board, noise])


def main():
    folder = Path(sys.argv[1])
    pca, mixture = fit(dead_leaves(150, SIZE, 1))
    # 32 bits of them are what the extractor has.
    pca, mixture = ([np.ascontiguousarray(part, np.float32) for part in parts] for parts in (pca, mixture))
    model = phi(pca, mixture)
    onnx.save(model, folder / "phi_v1.onnx")
    images = reference_images()
    (folder / "phi_v1_images.rgb").write_bytes(images.tobytes())
    (folder / "phi_v1_features.f32").write_bytes(run(model, images).astype("<f4").tobytes())


if __name__ == "__main__":
    main()

"""Procedural images ("dead leaves") and k-means.

An image is overlapping random discs and polygons with power-law sizes in a random palette, under coloured noise with a random spectrum; half of
them are blurred. So what is fitted to them holds no photograph, no person and nobody's licence.
"""

import numpy as np
from PIL import Image, ImageDraw


def dead_leaves(count, size, seed):
    """`count` images, 8 bits, (count, size, size, 3). The order of the random numbers is part of the result."""
    rng = np.random.default_rng(seed)
    vertical, horizontal = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    inverse_frequency = 1 / np.maximum(np.sqrt(vertical**2 + horizontal**2), 1 / size)
    images = []
    for _ in range(count):
        image = _leaves(rng, size)
        spectrum = np.fft.rfft2(rng.standard_normal((3, size, size))) * inverse_frequency ** rng.uniform(0.3, 1.5)
        noise = np.fft.irfft2(spectrum, s=(size, size))
        noise /= noise.std((1, 2), keepdims=True)
        noise = noise.mean(0) + 0.3 * noise
        image = image * rng.uniform(0.6, 1) + rng.uniform(0, 0.2) + rng.uniform(0.01, 0.12) * noise.transpose(1, 2, 0)
        image = np.clip(image, 0, 1)
        if rng.random() < 0.5:
            half = Image.fromarray((image * 255).astype(np.uint8)).resize((size // 2, size // 2), Image.BILINEAR)
            image = np.asarray(half.resize((size, size), Image.BILINEAR), np.float32) / 255
        images.append((image * 255).astype(np.uint8))
    return np.array(images)


def _leaves(rng, size):
    image = Image.new("RGB", (size, size))
    draw = ImageDraw.Draw(image)
    palette = rng.uniform(0, 255, (rng.integers(3, 9), 3))
    for _ in range(rng.integers(60, 300)):
        radius = min(6 / rng.uniform(0.02, 1) ** 0.8, size * 0.8) * 0.6
        x, y = rng.uniform(-10, size + 10, 2)
        colour = np.clip(palette[rng.integers(len(palette))] + rng.normal(0, 25, 3), 0, 255)
        colour = tuple(int(value) for value in colour)
        is_ellipse = rng.integers(3) == 0
        corners = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        aspect, turn = rng.uniform(0.25, 1), rng.uniform(0, np.pi)
        if is_ellipse:
            draw.ellipse([x - radius, y - radius * aspect, x + radius, y + radius * aspect], fill=colour)
        else:
            along, across = radius * np.cos(corners), radius * aspect * np.sin(corners)
            right = x + along * np.cos(turn) - across * np.sin(turn)
            down = y + along * np.sin(turn) + across * np.cos(turn)
            draw.polygon(list(zip(right, down, strict=True)), fill=colour)
    return np.asarray(image, np.float32) / 255


def kmeans(points, count, iterations, seed):
    """The centres of `count` clusters of points."""
    rng = np.random.default_rng(seed)
    centres = points[rng.choice(len(points), count, replace=False)].copy()
    for _ in range(iterations):
        nearest = (points @ centres.T - 0.5 * (centres * centres).sum(1)).argmax(1)
        for index in range(count):
            mine = nearest == index
            centres[index] = points[mine].mean(0) if mine.any() else points[rng.integers(len(points))]
    return centres

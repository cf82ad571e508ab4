"""Procedural textures rich in corners at several scales, as functions of a random generator and a side in pixels."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

Pattern = Callable[[np.random.Generator, int], np.ndarray]


def noise(rng: np.random.Generator, side: int, coarsest: int = 4, octaves: int = 6, gain: float = 0.6) -> np.ndarray:
    """Smooth noise (side, side) float32 of mean 0 and standard deviation 1, with octaves from ``coarsest`` cells."""
    total = np.zeros((coarsest, coarsest), np.float32)
    for octave in range(octaves):
        cells = min(coarsest * 2**octave, side)
        total = cv2.resize(total, (cells, cells), interpolation=cv2.INTER_CUBIC)
        total += gain**octave * rng.standard_normal((cells, cells), dtype=np.float32)
    total = cv2.resize(total, (side, side), interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / total.std()


def plaster(rng: np.random.Generator, side: int) -> np.ndarray:
    """A painted wall with stains, specks and fine cracks: few strong features."""
    paint = _color(rng, 0.15, 0.75)
    image = _tint(paint, 9.0 * noise(rng, side, 3, 8, 0.75))
    for _ in range(90):
        _blot(image, rng, side, (0.003, 0.015), paint * rng.uniform(0.6, 1.15))
    for _ in range(8):
        _crack(image, rng, side)
    return _grain(image, rng, 3.0)


def planks(rng: np.random.Generator, side: int) -> np.ndarray:
    """A wooden floor: boards of different shade with grain along them, knots and joints."""
    boards, base = 10, _color(rng, 0.55, 0.6, hue=rng.uniform(0.05, 0.11))
    image = np.empty((side, side, 3), np.float32)
    edges = np.linspace(0, side, boards + 1).astype(int)
    streaks = cv2.resize(noise(rng, side, 8, 6, 0.8), (side * 4, side), interpolation=cv2.INTER_LINEAR)[:, :side]
    for top, bottom in pairwise(edges):
        joints = np.sort(rng.integers(0, side, 3))
        for left, right in pairwise([0, *joints, side]):
            shade = base * rng.uniform(0.7, 1.2) + rng.normal(0, 6, 3)
            image[top:bottom, left:right] = (
                shade + 14.0 * np.roll(streaks, int(rng.integers(side)), 0)[top:bottom, left:right, None]
            )
            image[top:bottom, max(right - 2, left) : right] *= 0.45
        image[max(bottom - 2, top) : bottom] *= 0.45
    for _ in range(40):
        _blot(image, rng, side, (0.003, 0.009), base * 0.45)
    return _grain(image, rng, 4.0)


def bricks(rng: np.random.Generator, side: int) -> np.ndarray:
    """A brick wall, every brick of its own colour, with chips and mortar."""
    rows, columns = 16, 6
    mortar, base = _color(rng, 0.1, 0.65), _color(rng, 0.6, 0.6, hue=rng.uniform(0.0, 0.08))
    image = np.tile(mortar, (side, side, 1)).astype(np.float32)
    height, width, joint = side / rows, side / columns, max(side // 170, 1)
    for row in range(rows):
        shift = (row % 2) * width / 2
        for column in range(-1, columns + 1):
            x0, x1 = int(column * width + shift) + joint, int((column + 1) * width + shift) - joint
            y0, y1 = int(row * height) + joint, int((row + 1) * height) - joint
            if x1 > 0 and x0 < side:
                image[y0:y1, max(x0, 0) : x1] = base * rng.uniform(0.55, 1.3) + rng.normal(0, 8, 3)
    image += 9.0 * noise(rng, side, 16, 6, 0.8)[..., None]
    for _ in range(120):
        _blot(image, rng, side, (0.003, 0.012), mortar * rng.uniform(0.5, 1.1))
    return _grain(image, rng, 5.0)


def tiles(rng: np.random.Generator, side: int) -> np.ndarray:
    """Square tiles in a few colours, some with a motif, worn."""
    count = 8
    hue = rng.random()
    palette = [_color(rng, 0.3, rng.uniform(0.35, 0.85), hue + rng.normal(0, 0.1)) for _ in range(4)]
    image = np.tile(_color(rng, 0.05, 0.5), (side, side, 1)).astype(np.float32)
    size, joint = side // count, max(side // 250, 1)
    for y in range(0, side, size):
        for x in range(0, side, size):
            color = palette[rng.integers(len(palette))] + rng.normal(0, 6, 3)
            image[y + joint : y + size - joint, x + joint : x + size - joint] = color
            if rng.random() < 0.6:
                center, reach = np.array([x, y]) + size / 2, size * rng.uniform(0.15, 0.4)
                _polygon(image, rng, center, reach, palette[rng.integers(len(palette))])
    image += 7.0 * noise(rng, side, 8, 7, 0.8)[..., None]
    return _grain(image, rng, 4.0)


def poster(rng: np.random.Generator, side: int) -> np.ndarray:
    """A print: polygons, discs and stripes under lines of writing of several sizes."""
    image = np.tile(_color(rng, 0.4, rng.uniform(0.3, 0.9)), (side, side, 1)).astype(np.float32)
    image += 12.0 * noise(rng, side, 2, 4)[..., None]
    for _ in range(18):
        _polygon(
            image,
            rng,
            rng.uniform(0, side, 2),
            side * rng.uniform(0.04, 0.25),
            _color(rng, 0.6, rng.uniform(0.15, 0.95)),
        )
    for _ in range(8):
        _blot(image, rng, side, (0.02, 0.09), _color(rng, 0.7, rng.uniform(0.2, 0.95)))
    for _ in range(14):
        _writing(image, rng, side, rng.uniform(0.02, 0.11))
    cv2.rectangle(image, (0, 0), (side - 1, side - 1), _color(rng, 0.2, 0.15).tolist(), max(side // 64, 1))
    return _grain(image, rng, 3.0)


def carpet(rng: np.random.Generator, side: int) -> np.ndarray:
    """A woven rug: many small polygons in a few colours over bands."""
    hue = rng.random()
    palette = [_color(rng, 0.45, rng.uniform(0.2, 0.75), hue + rng.normal(0, 0.07)) for _ in range(5)]
    image = np.empty((side, side, 3), np.float32)
    for band in np.array_split(np.arange(side), 12):
        image[band] = palette[rng.integers(len(palette))]
    for _ in range(260):
        _polygon(image, rng, rng.uniform(0, side, 2), side * rng.uniform(0.01, 0.05), palette[rng.integers(5)])
    image += 10.0 * noise(rng, side, 32, 5, 0.9)[..., None]
    return _grain(image, rng, 7.0)


def clutter(rng: np.random.Generator, side: int) -> np.ndarray:
    """Blotches of a few colours at all scales, as of printed cloth or stone: layers of thresholded noise."""
    hue = rng.random()
    image = np.tile(_color(rng, 0.3, 0.5, hue), (side, side, 1)).astype(np.float32)
    for coarsest in (5, 11, 23, 47, 90):
        mask = noise(rng, side, coarsest, 3, 0.5) > rng.uniform(0.8, 1.3)
        image[mask] = _color(rng, 0.35, rng.uniform(0.15, 0.95), hue + rng.normal(0, 0.12))
    return _grain(image + 6.0 * noise(rng, side, 16, 6, 0.8)[..., None], rng, 4.0)


def ground(rng: np.random.Generator, side: int) -> np.ndarray:
    """Earth with grass, gravel and stones."""
    earth, grass = _color(rng, 0.45, 0.45, hue=0.09), _color(rng, 0.5, 0.42, hue=rng.uniform(0.2, 0.3))
    fraction = np.clip(noise(rng, side, 4, 7, 0.75) + 0.5, 0, 1)[..., None]
    image = (earth * (1 - fraction) + grass * fraction).astype(np.float32) + 16.0 * noise(rng, side, 16, 7, 0.9)[
        ..., None
    ]
    for _ in range(500):
        _polygon(
            image,
            rng,
            rng.uniform(0, side, 2),
            side * rng.uniform(0.002, 0.012),
            _color(rng, 0.1, rng.uniform(0.25, 0.8)),
        )
    return _grain(image, rng, 6.0)


def facade(rng: np.random.Generator, side: int) -> np.ndarray:
    """The front of a house: storeys of windows with frames, sills, curtains and some balconies, worn."""
    storeys, bays = 4, 5
    wall = _color(rng, rng.uniform(0.08, 0.35), rng.uniform(0.5, 0.85), hue=rng.uniform(-0.05, 0.2))
    image = _tint(wall, 8.0 * noise(rng, side, 4, 8, 0.75))
    height, width = side / storeys, side / bays
    frame = _color(rng, 0.2, rng.choice([0.2, 0.9]))
    for storey in range(storeys):
        cv2.line(
            image, (0, int(storey * height)), (side, int(storey * height)), (wall * 0.7).tolist(), max(side // 120, 1)
        )
        for bay in range(bays):
            x0, x1 = int((bay + 0.22) * width), int((bay + 0.78) * width)
            y0, y1 = int((storey + 0.2) * height), int((storey + 0.8) * height)
            _window(image, rng, (x0, y0, x1, y1), frame)
    for _ in range(150):
        _blot(image, rng, side, (0.002, 0.012), wall * rng.uniform(0.55, 1.15))
    for _ in range(5):
        _writing(image, rng, side, rng.uniform(0.01, 0.03))
    return _grain(image, rng, 4.0)


def sky(rng: np.random.Generator, side: int) -> np.ndarray:
    """From zenith (top) to horizon (bottom): blue getting paler, with clouds."""
    height = np.linspace(0, 1, side)[:, None, None] ** 1.5
    blue = np.array([70, 120, 200]) * (1 - height) + np.array([190, 210, 235]) * height
    clouds = np.clip(noise(rng, side, 3, 7, 0.55) * 0.6 - 0.1, 0, 1)[..., None]
    return np.clip(blue * (1 - clouds) + np.array([245, 245, 248]) * clouds, 0, 255).astype(np.uint8)


PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern
    for pattern in (plaster, planks, bricks, tiles, poster, carpet, clutter, ground, facade, sky)
}


def _color(rng: np.random.Generator, saturation: float, value: float, hue: float | None = None) -> np.ndarray:
    hue = rng.random() if hue is None else hue
    return 255.0 * np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def _tint(color: np.ndarray, relief: np.ndarray) -> np.ndarray:
    return (color + relief[..., None]).astype(np.float32)


def _grain(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    fine = rng.standard_normal(image.shape[:2], dtype=np.float32)[..., None]
    return np.clip(image + strength * fine, 0, 255).astype(np.uint8)


def _blot(
    image: np.ndarray, rng: np.random.Generator, side: int, radii: tuple[float, float], color: np.ndarray
) -> None:
    center = tuple(int(value) for value in rng.integers(0, side, 2))
    axes = tuple(max(int(side * rng.uniform(*radii)), 1) for _ in range(2))
    cv2.ellipse(image, center, axes, rng.uniform(0, 180), 0, 360, color.tolist(), -1, cv2.LINE_8)


def _polygon(image: np.ndarray, rng: np.random.Generator, center: np.ndarray, reach: float, color: np.ndarray) -> None:
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
    radii = reach * rng.uniform(0.5, 1.0, len(angles))
    corners = center + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], color.tolist(), cv2.LINE_8)


def _crack(image: np.ndarray, rng: np.random.Generator, side: int) -> None:
    steps = rng.normal(0, side * 0.02, (12, 2)) + rng.normal(0, side * 0.012, 2)
    line = np.rint(rng.uniform(0, side, 2) + steps.cumsum(0)).astype(np.int32)
    cv2.polylines(image, [line], False, _color(rng, 0.1, 0.35).tolist(), max(side // 500, 1), cv2.LINE_8)


def _writing(image: np.ndarray, rng: np.random.Generator, side: int, height: float) -> None:
    """A line of made-up letters, each of a few strokes between the nodes of a 3 x 4 grid."""
    size = height * side
    place = rng.uniform(-0.1, 0.95, 2) * side
    color = _color(rng, 0.5, rng.choice([0.08, 0.95])).tolist()
    for letter in range(rng.integers(4, 16)):
        nodes = rng.integers(0, [3, 4], (rng.integers(3, 6), 2))
        strokes = place + (nodes * [0.25, 0.33] + [letter * 0.75, 0.0]) * size
        cv2.polylines(image, [np.rint(strokes).astype(np.int32)], False, color, max(round(size / 9), 1), cv2.LINE_8)


def _window(image: np.ndarray, rng: np.random.Generator, bounds: tuple[int, int, int, int], frame: np.ndarray) -> None:
    x0, y0, x1, y1 = bounds
    glass = _color(rng, 0.3, rng.uniform(0.1, 0.45))
    image[y0:y1, x0:x1] = glass
    if rng.random() < 0.6:
        drop = int((y1 - y0) * rng.uniform(0.2, 0.8))
        image[y0 : y0 + drop, x0:x1] = _color(rng, 0.25, rng.uniform(0.4, 0.9))
    line = max((x1 - x0) // 14, 1)
    cv2.rectangle(image, (x0, y0), (x1, y1), frame.tolist(), line)
    cv2.line(image, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), frame.tolist(), line)
    if rng.random() < 0.5:
        cv2.line(image, (x0, (y0 * 2 + y1) // 3), (x1, (y0 * 2 + y1) // 3), frame.tolist(), line)
    cv2.rectangle(image, (x0 - 2 * line, y1), (x1 + 2 * line, y1 + 2 * line), (frame * 0.8).tolist(), -1)

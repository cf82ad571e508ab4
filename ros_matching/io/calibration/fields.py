"""Values of calibration files, checked; and the keys that a reader has left unread."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ros_matching.errors import CalibrationError

_MAX_NUMBERS = 64  # in one key: calibrations contain 4x4 matrices and 14 coefficients
_MAX_SIDE = 1 << 16

# Names, in lower case, of settings that change the projection.
_SUSPICIOUS = re.compile(
    r"dist|coef|^[dk]_?(\d|l|r|left|right)?$|^[kp]c?_?\d$|^kc$|kappa|radial|tangent|fish_?eye|lens|warp|barrel|^s_?[1-4]$|^tau|^xi$|^alpha$"
    r"|^beta$|^omega$|fov|field_of_view|model|^(camera_?|projection_?)?type$|scal|resiz|binning|decimat|sampl(ed|ing)"
    r"|crop|^roi|^[xy]_?offset$|width|height|resolution|image_?size|imsize|^cols$|^rows$|skew|shear|mirror|poly|undistort|intrinsic"
    r"|focal|^f[xyuv]?$|^c[xyuv]$|^pp[xy]$|principal|^unit"
)
# Names of calibration targets and other sensors, whose sizes and models are no concern of the camera's.
_OTHER_THINGS = re.compile(
    r"board|pattern|square|grid|marker|tag|noise|imu|gyr|acc|distribut|(min|max)_?dist|dist(ance)?_(to|max|min)|focus_dist"
    r"|serial|_name$|^aabb_scale$|sensor_|version|topic|file|path|frame_id|comment|note|descr|covarian|std|sigma|error"
)
# Names of numbers in lists that are no coefficients: poses, times, figures of quality.
_HARMLESS_LISTS = re.compile(
    r"^t_|_t_|^t\d?$|^r\d?$|^[qefstp]$|^p\d$|^tbc$|^tlr$|extrinsic|rotat|transl|transform|pose|quat|position|rate|fps|time"
    r"|stamp|date|walk|bias|grav|baseline|overlap|rms|reproj|view|rect|proj|exposure|gain|bound|cent(er|roid)|^up$|var"
    r"|color|colour|rgb|point|aabb"
)
_MODEL_KEYS = {"model", "camera_model", "distortion_model", "lens_model", "projection_type", "model_type"}
# Words that name a lens in the values of other keys.
_LENS_WORDS = re.compile(
    r"fish|equi|omni|kannala|brandt|radtan|radial|tangential|plumb|brown|rational|polynom|mei\b|sphere|spherical|ucm"
    r"|unified|\bfov|atan|division|scaramuzza|ocam|distort|panoram|wide|theta"
)
_NEUTRAL_WORDS = {"", "none", "no", "off", "false", "pinhole", "perspective", "0", "[]", "uint16", "rectified"}
_FACTORS = re.compile(r"scal|resiz|binning|decimat|sampl|unit")


def numbers(origin: str, what: str, values: Any, count: int | None = None) -> np.ndarray:
    """The numbers of a value, flat: of a list, of a matrix ``{rows, cols, data}``, or of text with spaces between.

    Raises ``CalibrationError`` for other values, infinite ones, or another number than ``count``.
    """
    flat = np.array([_number(origin, what, cell) for cell in _cells(origin, what, values, 0)], dtype=np.float64)
    if not np.isfinite(flat).all():
        raise CalibrationError(f"{origin}: expected finite numbers for {what}, got {flat.tolist()}")
    if count is not None and flat.size != count:
        raise CalibrationError(f"{origin}: expected {count} numbers for {what}, got {flat.size}: {flat.tolist()}")
    return flat


def number(origin: str, what: str, value: Any) -> float:
    """The one number of a value."""
    return float(numbers(origin, what, value, 1)[0])


def image_size(origin: str, sides: Iterable[Any]) -> tuple[int, int] | None:
    """The image size (width, height) of its two sides, or ``None`` where both are absent."""
    sides = list(sides)
    if all(side is None for side in sides):
        return None
    values = numbers(origin, "the image width and height", [np.nan if side is None else side for side in sides], 2)
    if not all(side.is_integer() and 0 < side <= _MAX_SIDE for side in values.tolist()):
        raise CalibrationError(f"{origin}: expected a positive image width and height in pixels, got {values.tolist()}")
    return int(values[0]), int(values[1])


def shown(key: str) -> str:
    """A key for a message: as it is where it can be printed, cut to a line."""
    key = key if key.isprintable() else repr(key)
    return key if len(key) <= 80 else key[:77] + "..."


def short(value: Any) -> str:
    """A value for a message, cut to a line."""
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else _short_collection(value)
    return text if len(text) <= 100 else text[:97] + "..."


def refuse_unread(origin: str, content: Mapping[str, Any], read: Iterable[str], harmless: str = "") -> None:
    """Raise ``CalibrationError`` for a key that was not read and may change how rays become pixels.

    ``read`` are dotted keys; entries below them count as read. ``harmless`` is a pattern of further dotted keys that
    a format is known to hold.
    """
    read = tuple(read)
    for key, value in _leaves(content):
        if any(key == name or key.startswith(name + ".") for name in read):
            continue
        if harmless and re.search(harmless, key):
            continue
        if _may_matter(key.rsplit(".", 1)[-1], value):
            raise CalibrationError(
                f"{origin}: the key {shown(key)} ({short(value)}) may change the camera model and is not read in this "
                "kind of file; remove it, or give the calibration in a format of docs/calibrations.md"
            )


def _may_matter(name: str, value: Any) -> bool:
    """True if a leaf may be distortion, a camera model, an image size or a factor that is not 1."""
    name = name.lower()
    flat = _plain_numbers(value)
    if flat is None:
        text = "" if value is None or isinstance(value, (list, Mapping)) else str(value).strip().lower()
        if text in _NEUTRAL_WORDS or (name not in _MODEL_KEYS and not _LENS_WORDS.search(text)):
            return False
    elif not any(flat) or (_FACTORS.search(name) and all(number == 1 for number in flat)):
        return False
    if _OTHER_THINGS.search(name):
        return False
    if _SUSPICIOUS.search(name) and not (flat and len(flat) > 9 and _HARMLESS_LISTS.search(name)):
        return True
    has_fractions = flat is not None and any(not number.is_integer() for number in flat)
    return has_fractions and 2 <= len(flat) <= 14 and not _HARMLESS_LISTS.search(name)


def _leaves(content: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping) and "data" not in content and depth < 8:
        for key, value in content.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    else:
        yield prefix, content


def _plain_numbers(value: Any) -> list[float] | None:
    """The numbers of a leaf, or ``None`` if it is not made of numbers alone."""
    try:
        return numbers("", "", value).tolist()
    except CalibrationError:
        return None


def _cells(origin: str, what: str, values: Any, depth: int) -> Iterator[Any]:
    """Yield the scalars of a value in order, up to a limit."""
    if isinstance(values, Mapping) and "data" in values:
        values = values["data"]
    if isinstance(values, str):
        values = values.strip().strip("[]()").replace(",", " ").replace(";", " ").split()
    if values is None or depth > 3 or isinstance(values, Mapping):
        raise CalibrationError(f"{origin}: expected numbers for {what}, got {short(values)}")
    if hasattr(values, "tolist"):  # an array of NumPy or of a ROS message
        values = values.tolist()
    cells = values if isinstance(values, (list, tuple)) else [values]
    count = 0
    for cell in cells:
        for scalar in [cell] if not isinstance(cell, (list, tuple)) else _cells(origin, what, cell, depth + 1):
            count += 1
            if count > _MAX_NUMBERS:
                raise CalibrationError(f"{origin}: expected at most {_MAX_NUMBERS} numbers for {what}, got more")
            yield scalar


def _number(origin: str, what: str, cell: Any) -> float:
    if isinstance(cell, str):
        cell = {".nan": "nan", ".inf": "inf", "-.inf": "-inf"}.get(cell.strip().lower(), cell)
    try:
        if isinstance(cell, bool) or "_" in str(cell)[:64]:
            raise ValueError
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise CalibrationError(f"{origin}: expected numbers for {what}, got {short(cell)}") from None


def _short_collection(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping with the keys " + ", ".join(shown(str(key)) for key in list(value)[:6])
    if isinstance(value, (list, tuple)):
        items = ", ".join(repr(item) if isinstance(item, (str, int, float)) else "..." for item in value[:6])
        return f"[{items}{', ...' if len(value) > 6 else ''}]"
    return type(value).__name__

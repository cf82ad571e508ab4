"""``open_source``: any recording or rendered scene, by its path or name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ros_matching.errors import SourceError
from ros_matching.io.calibration import CalibrationChoice
from ros_matching.io.source import FrameSource, select_frames
from ros_matching.io.source_format import SourceFormat

_LOG = logging.getLogger(__name__)

SCENE_PREFIX = "scene:"
_CALIBRATION_DETAILS = ("cam", "off_center")
_SELECTION = {"start": int, "stop": int, "stride": int}


def true_or_false(text: str | bool) -> bool:
    """Return the boolean of ``true``, ``false``, ``1`` or ``0``; ``ValueError`` for other words."""
    return text == "true" if text in ("true", "false") else bool(int(text))


_OPTIONS = {
    "calibration": Path,
    "cam": str,
    "off_center": true_or_false,
    "depth_scale": float,
    "fps": float,
    "topic": str,
    "camera_info_topic": str,
    "ground_truth_topic": str,
    "imu_topic": str,
    "stereo": true_or_false,
    "register_depth": true_or_false,
}
_FORMER_NAMES = {"truth_topic": "ground_truth_topic"}
_FORMAT = "format"  # chooses the format itself


def open_source(
    spec: str | Path,
    *,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    calibration: str | Path | None = None,
    cam: str | None = None,
    off_center: bool | None = None,
    depth_scale: float | None = None,
    fps: float | None = None,
    topic: str | None = None,
    camera_info_topic: str | None = None,
    ground_truth_topic: str | None = None,
    imu_topic: str | None = None,
    stereo: bool | None = None,
    register_depth: bool | None = None,
    format: str | None = None,
) -> FrameSource:
    """Open a frame source.

    ``spec`` is the path of a recording, whose format is detected (docs/recordings.md lists them), or
    ``scene:NAME?key=value&...`` for a rendered scene. The other arguments may also be written behind a path,
    ``drive.mcap?topic=/camera/image&stride=2``, for where a source is given as one string. ``format`` names the format
    of a folder that could be of several.

    ``start``, ``stop`` and ``stride`` select frames as a slice does; frames keep the index they have in the recording.
    ``calibration`` replaces the recording's own; ``cam`` names one of several cameras in that file, and ``off_center``
    permits a principal point far from the centre where the file states no image size. ``depth_scale`` is the value of a
    metre in the depth images (1000 for millimetres). ``fps`` sets the rate where a format has no stamps, ``topic``
    chooses the images of a bag, ``camera_info_topic`` their calibration, ``ground_truth_topic`` the poses of the
    camera in it, and ``imu_topic`` its IMU. ``stereo`` adds the right camera's images to the frames of
    KITTI and EuRoC. ``register_depth`` uses an image folder's depth of a separate camera, assuming the pose of the
    colour camera.

    Raises ``SourceError`` when there is no such recording, it is broken, or it does not take an argument, and
    ``CalibrationError`` (a ``SourceError``) when its calibration is missing or does not fit.
    """
    given = {
        "calibration": calibration,
        "cam": cam,
        "off_center": off_center,
        "depth_scale": depth_scale,
        "fps": fps,
        "topic": topic,
        "camera_info_topic": camera_info_topic,
        "ground_truth_topic": ground_truth_topic,
        "imu_topic": imu_topic,
        "stereo": stereo,
        "register_depth": register_depth,
        _FORMAT: format,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if str(spec).startswith(SCENE_PREFIX):
        source = _open_scene(str(spec), options)
    else:
        path, query = _split(str(spec))
        selection = {name: query.pop(name) for name in _SELECTION if name in query}
        source = select_frames(_open_recording(path, query | options), **selection)
    return select_frames(source, start, stop, stride)


def _open_scene(spec: str, options: dict[str, Any]) -> FrameSource:
    if options:
        raise SourceError(f"{spec} takes its settings behind its name (?key=value&...), not {', '.join(options)}")
    from ros_matching.io.rendered import open_scene

    return open_scene(spec)


def _split(spec: str) -> tuple[Path, dict[str, Any]]:
    """The path of a spec and the arguments behind it; a file that is named like that goes first."""
    path, mark, query = spec.partition("?")
    if not mark or Path(spec).exists():
        return Path(spec).expanduser(), {}
    known = _SELECTION | _OPTIONS | {_FORMAT: str}
    values = {}
    for given, text in parse_qsl(query, keep_blank_values=True):
        name = _FORMER_NAMES.get(given, given)
        if name != given:
            _LOG.warning("%s: %s is deprecated; use %s", spec, given, name)
        if name not in known:
            raise SourceError(f"{spec}: a recording has no setting {name!r}; it has: {', '.join(known)}")
        values[name] = _converted(spec, name, text, known[name])
    return Path(path).expanduser(), values


def _converted(spec: str, name: str, text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError:
        raise SourceError(f"{spec}: expected {name} to be of type {convert.__name__}, got {text!r}") from None


def _open_recording(path: Path, options: dict[str, Any]) -> FrameSource:
    if not path.exists():
        hint = "; a sequence of images is given by its folder" if set(path.name) & set("%*") else ""
        raise SourceError(f"there is no file or folder {path}{hint}")
    found = _format_of(path, options.pop(_FORMAT, None))
    depth_scale = options.pop("depth_scale", None)
    arguments = _with_calibration_choice(path, found, {name: _OPTIONS[name](value) for name, value in options.items()})
    for name in arguments:
        if name not in found.options:
            raise SourceError(f"{path} ({found.name}) does not take {name}; it takes {', '.join(found.options)}")
    source = found.open(path, **arguments)
    if depth_scale is None:
        return source
    scaled = getattr(source, "with_depth_scale", None)
    if scaled is None:
        raise SourceError(f"{path} ({found.name}) does not take depth_scale: it has no depth images in files")
    return scaled(float(depth_scale))


def _with_calibration_choice(path: Path, found: SourceFormat, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with ``cam`` and ``off_center`` within ``calibration``, as formats take it."""
    details = {name: arguments.pop(name) for name in _CALIBRATION_DETAILS if name in arguments}
    if not details:
        return arguments
    if "calibration" not in arguments and not found.has_own_calibration_file:
        raise SourceError(f"{path} ({found.name}) takes {', '.join(details)} only with calibration=FILE")
    return arguments | {"calibration": CalibrationChoice(arguments.get("calibration"), **details)}


def _format_of(path: Path, name: str | None) -> SourceFormat:
    """The format with this name, or the only one that the path can be of."""
    if name is not None:
        known = {candidate.key: candidate for candidate in formats()}
        if name not in known:
            raise SourceError(f"{path}: there is no format {name!r}; there are: {', '.join(known)}")
        return known[name]
    candidates = matching_formats(path)
    if not candidates:
        looked_for = "".join(f"\n  {candidate.name}: {candidate.looks_for}" for candidate in formats())
        raise SourceError(f"{path} is of no known format. Looked for:{looked_for}\nFound: {_contents(path)}")
    if len(candidates) > 1:
        listed = "".join(f"\n  format={candidate.key} ({candidate.looks_for})" for candidate in candidates)
        raise SourceError(f"{path} can be of several formats; choose one of:{listed}")
    return candidates[0]


def matching_formats(path: Path) -> list[SourceFormat]:
    """The formats that a path can be of. The plain ones, which look for images alone, count where no other does."""
    try:
        found = [candidate for candidate in formats() if candidate.matches(path)]
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    return [candidate for candidate in found if not candidate.is_plain] or found


def formats() -> tuple[SourceFormat, ...]:
    """The known formats; imported here as OpenCV takes its time."""
    from ros_matching.io import bags, folder, video
    from ros_matching.io.layouts import LAYOUTS

    return (bags.FORMAT, *LAYOUTS, video.FORMAT, folder.FORMAT)


def _contents(path: Path, limit: int = 12) -> str:
    if not path.is_dir():
        return f"a file of {path.stat().st_size} bytes"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "an empty folder"

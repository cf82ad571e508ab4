"""Mutated files for property-based tests, and the permitted reactions of a reader."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io import open_source

LARGE = (2**63, 2**62, 2**40, 2**32 - 1, 2**31, 2**24, 0)


@st.composite
def mutated(draw, original: bytes) -> bytes:
    """The bytes of a file with some flipped, cut, repeated, removed, or replaced by large numbers."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        kind = draw(st.sampled_from(("flip", "number", "cut", "remove", "repeat", "noise")))
        at = draw(st.integers(0, len(data) - 1))
        length = draw(st.integers(1, min(400, len(data))))
        if kind == "flip":
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "number":
            number = draw(st.sampled_from(LARGE)).to_bytes(8, draw(st.sampled_from(("little", "big"))))
            data[at : at + 8] = number
        elif kind == "cut":
            del data[at:]
        elif kind == "remove":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        else:
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
    return bytes(data)


def read_all(path: Path, **options: object) -> int:
    """Read a recording as far as it goes, and return the number of its frames; -1 where it is refused."""
    try:
        source = open_source(path, **options)
        frames = list(source)
    except SourceError as error:
        if path.name not in str(error) and not isinstance(error, CalibrationError):  # of a size it does not fit
            raise AssertionError("the error does not name the file") from error
        return -1
    stamps = [frame.stamp_ns for frame in frames]
    assert stamps == sorted(set(stamps))
    for frame in frames:
        assert frame.image.shape == (source.camera.height, source.camera.width, 3)
    assert all(fault.reason for fault in source.faults)
    return len(frames)

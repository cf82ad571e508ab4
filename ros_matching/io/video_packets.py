"""Video packets decoded by PyAV: common to video files and video topics of bags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.errors import MissingDependencyError, SourceError

if TYPE_CHECKING:
    import av

MAX_PIXELS = 1 << 27  # of an image; a header may state more than fits into memory


def import_av() -> av:
    """The module of PyAV."""
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("reading videos needs PyAV; install it with: pip install av") from error
    # Errors come as exceptions. With any level the threads of FFmpeg take Python's lock to log. The thread that frees
    # their decoder holds that lock and waits for them: a deadlock.
    av.logging.set_level(None)
    return av


def make_context(codec: str) -> av.VideoCodecContext:
    """A decoder for packets that come without a container; raises ``SourceError`` for a codec that is not there."""
    av = import_av()
    try:
        context = av.CodecContext.create(codec, "r")
    except (ValueError, av.error.FFmpegError) as error:
        raise SourceError(f"PyAV has no decoder for {codec!r}") from error
    context.thread_count = 1  # one frame out for each packet in
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return context


class PacketDecoder:
    """Decodes the packets of one stream. Behind a damaged one, frames are refused until the next keyframe."""

    def __init__(self, context: av.VideoCodecContext) -> None:
        self._av = import_av()
        self._context = context
        self._needs_keyframe = False

    def decode(self, packet: av.Packet | None) -> Iterator[tuple[av.VideoFrame | None, str]]:
        """The frames that a packet completes (``None``: the end), with the reason if one is of no use."""
        try:
            frames = self._context.decode(packet)
        except self._av.error.EOFError:
            return
        except (self._av.error.FFmpegError, ValueError, MemoryError) as error:
            self._needs_keyframe = True
            yield None, f"it cannot be decoded ({getattr(error, 'strerror', None) or error})"
            return
        for frame in frames:
            if frame.is_corrupt:
                self._needs_keyframe = True
                yield frame, "its data are damaged"
            elif self._needs_keyframe and not frame.key_frame:
                yield frame, "it follows a damaged frame, and no keyframe lies between"
            else:
                self._needs_keyframe = False
                yield frame, ""


def rgb_of(frame: av.VideoFrame) -> np.ndarray:
    """The image of a frame as a player shows it, rotated according to its metadata: (H, W, 3) uint8 RGB."""
    image = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90)  # counterclockwise
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image

"""Damaged files of recordings, for a process whose memory is limited: nothing but a ``SourceError`` may come out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

IMAGES = (".png", ".jpg")
# Texts that files hold where a sensible value should be.
ODD = ["nan", "-inf", "1e308", "-1", "0", "99999999999999999999", "1e-300", "", "x", '"', "{", "]", ",", "\0", "#", "é"]
Mutation = Callable[[bytes, np.random.Generator], bytes]


def cut(content: bytes, random: np.random.Generator) -> bytes:
    return content[: random.integers(len(content) + 1)]


def flip(content: bytes, random: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(random.integers(1, 6)):
        if damaged:
            damaged[random.integers(len(damaged))] = random.integers(256)
    return bytes(damaged)


def replace_value(content: bytes, random: np.random.Generator) -> bytes:
    """Another text in the place of one number or word."""
    cells = content.decode(errors="surrogateescape").replace(",", " , ").replace("\n", " \n ").split(" ")
    for _ in range(random.integers(1, 4)):
        cells[random.integers(len(cells))] = ODD[random.integers(len(ODD))]
    return " ".join(cells).encode(errors="surrogateescape")


def repeat_lines(content: bytes, random: np.random.Generator) -> bytes:
    lines = content.split(b"\n")
    first, last = sorted(random.integers(len(lines) + 1, size=2))
    return b"\n".join(lines[:last] + lines[first:last] * int(random.integers(1, 4)) + lines[last:])


def shuffle_lines(content: bytes, random: np.random.Generator) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join(lines[row] for row in random.permutation(len(lines)))


def enlarge_numbers(content: bytes, random: np.random.Generator) -> bytes:
    """Eight bytes that a binary file may take for a count."""
    at = int(random.integers(len(content) + 1))
    return content[:at] + b"\xff\xff\xff\xff\xff\xff\xff\x7f"[: random.integers(1, 9)] + content[at + 8 :]


def noise(content: bytes, random: np.random.Generator) -> bytes:
    return random.bytes(int(random.integers(200)))


MUTATIONS: list[Mutation] = [
    cut, flip, replace_value, replace_value, repeat_lines, shuffle_lines, enlarge_numbers, noise
]  # fmt: skip


def sequences() -> dict[str, Callable[[Path], Path]]:
    """Writers of small recordings, by the name of their layout."""
    import capture_writers
    import layout_writers
    import test_dataset_formats
    from recordings import folder

    random = np.random.default_rng(0)
    k = np.array([[30.0, 0, 19.5], [0, 30.0, 15.5], [0, 0, 1]])
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = [0.0, 0.1, 0.3]
    images = random.integers(0, 256, (3, 32, 40, 3), dtype=np.uint8)
    sequence = layout_writers.Sequence(images, np.full((3, 32, 40), 2.0), poses, k)
    names = [
        "kitti_raw",
        "tutorial",
        "tartanair",
        "tartanair_v2",
        "icl_nuim",
        "replica",
        "scannet",
        "tum_vi",
        "mono_vo",
    ]
    writers = [getattr(layout_writers, name) for name in names]
    names = ["colmap", "nerfstudio", "instant_ngp", "record3d", "record3d_file", "stray_scanner"]
    writers += [getattr(capture_writers, name) for name in names]
    found = {writer.__name__: lambda path, writer=writer: writer(path, sequence) for writer in writers}
    for name in ("TestKitti", "TestTum", "TestEuroc", "TestSevenScenes"):
        found[name] = lambda path, name=name: getattr(test_dataset_formats, name)().sequence(path / "freiburg3")
    return found | {"folder": folder, "colmap_binary": lambda path: _binary(capture_writers.colmap(path, sequence))}


def _binary(path: Path) -> Path:
    from ros_matching.io.colmap_model import read_model, write_model

    model = path / "sparse" / "0"
    write_model(model, read_model(model))
    for file in model.glob("*.txt"):
        file.unlink()
    return path


def read_all(path: Path) -> None:
    """Read a recording, and each of its text files as a trajectory; only ``SourceError`` may come out."""
    from ros_matching.io import open_source
    from ros_matching.io.trajectory import pose_lookup, read_kitti, read_trajectory, read_tum

    def open_and_read() -> None:
        for frame in open_source(path):
            assert np.isfinite(frame.camera.matrix).all()

    assert len(source_error(open_and_read)) != 0
    for file in [*path.rglob("*.txt"), *path.rglob("*.csv"), *path.rglob("*.freiburg")]:
        for read in (read_trajectory, read_tum, read_kitti, lambda file: pose_lookup(file)(0, 0)):
            assert file.name in source_error(lambda file=file, read=read: read(file), default=file.name)


def source_error(read: Callable[[], object], default: str = "none") -> str:
    """The message of the ``SourceError`` that reading raises, or the default."""
    from ros_matching.errors import SourceError

    try:
        read()
    except SourceError as error:
        return str(error)
    return default


def main(folder: Path, examples: int) -> None:
    """Open as many damaged recordings, made in a folder."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    written = {}
    for name, writer in sequences().items():
        (folder / "whole" / name).mkdir(parents=True)
        path = writer(folder / "whole" / name)
        files = sorted(file for file in (folder / "whole" / name).rglob("*") if file.is_file())
        metadata = [file for file in files if file.suffix not in IMAGES]
        written[name] = path, [*metadata, next((file for file in files if file.suffix in IMAGES), metadata[0])]

    @settings(deadline=None, max_examples=examples, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(name=st.sampled_from(sorted(written)), choice=st.integers(0, 999), seed=st.integers(0, 2**32 - 1))
    def check(name: str, choice: int, seed: int) -> None:
        path, files = written[name]
        random, whole = np.random.default_rng(seed), folder / "whole" / name
        damaged = folder / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(whole, damaged)
        file = damaged / files[choice % len(files)].relative_to(whole)
        mutation = MUTATIONS[random.integers(len(MUTATIONS))]
        file.write_bytes(mutation(file.read_bytes(), random))
        opened = damaged / path.relative_to(whole)
        try:
            read_all(opened if opened.exists() else damaged)
        except Exception as error:
            place = f"{name}: {file.relative_to(damaged)} by {mutation.__name__}, seed {seed}"
            raise AssertionError(f"{place}: {type(error).__name__}: {error}") from error

    check()
    print(f"{examples} examples")

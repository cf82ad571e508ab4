"""Saved maps: all of the map comes back; damage, other cameras and interrupted saves are noticed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from limited import run_limited
from made_maps import MAP_CAMERA, assert_same, made_map
from safetensors.numpy import load_file, save

from ros_matching.atlas import map_folder
from ros_matching.atlas.map_storage import load_map, map_description, require_same_camera, save_map
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.datatypes import Camera, ScaleState
from ros_matching.errors import MapError


@pytest.fixture
def saved(tmp_path) -> Path:
    save_map(tmp_path / "map", made_map(20))
    return tmp_path / "map"


def edit_manifest(folder: Path, **values: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_arrays(folder: Path, name: str, **arrays: np.ndarray | None) -> None:
    """Replace arrays of a file and its checksum, as somebody may who wants to do harm."""
    manifest = json.loads((folder / "manifest.json").read_text())
    path = folder / manifest["data"] / name
    changed = {key: value for key, value in {**load_file(path), **arrays}.items() if value is not None}
    write_raw(folder, name, save(changed))


def write_raw(folder: Path, name: str, content: bytes) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / manifest["data"] / name).write_bytes(content)
    manifest["files"][name] = [len(content), hashlib.sha256(content).hexdigest()]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_everything_comes_back(tmp_path):
    slam_map = made_map()
    save_map(tmp_path / "new" / "map", slam_map)
    assert_same(load_map(tmp_path / "new" / "map"), slam_map)
    described = map_description(tmp_path / "new" / "map")
    assert described.values["keyframes"] == len(slam_map)
    assert described.values["unit"] == "metric"
    assert described.values["edges"]["loop"] == 1
    assert described.nbytes == sum(path.stat().st_size for path in (tmp_path / "new" / "map").glob("data-*/*"))


def test_a_loaded_map_can_be_continued(tmp_path):
    slam_map = made_map(20)
    save_map(tmp_path / "map", slam_map)
    loaded = load_map(tmp_path / "map")
    for one in (slam_map, loaded):
        one.correct({3: (np.eye(4), 2.0)})
        one.cull(7)
        one.landmarks.put(np.array([10**6]), np.ones((1, 3)), 3)
    assert_same(loaded, slam_map)


def test_an_empty_map_and_uint8_descriptors(tmp_path):
    empty = SlamMap(MAP_CAMERA, "sift", "sift")
    save_map(tmp_path / "map", empty)
    assert_same(load_map(tmp_path / "map"), empty)
    slam_map = made_map(3)
    descriptors = np.arange(30 * 16, dtype=np.uint8).reshape(30, 16)
    for id in slam_map.ids:
        slam_map.put_keyframe(replace(slam_map.keyframe(id), descriptors=descriptors))
    save_map(tmp_path / "map", slam_map)
    assert load_map(tmp_path / "map").keyframe(1).descriptors.dtype == np.uint8


def test_saving_again_replaces_the_map_and_leaves_nothing_else(saved):
    slam_map = made_map(12, seed=1)
    save_map(saved, slam_map)
    assert_same(load_map(saved), slam_map)
    assert len(list(saved.iterdir())) == 2


def killed_at(folder: Path, slam_map: SlamMap, step: str) -> None:
    """Save in a child process that is killed at a step."""
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        return

    def kill(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    owner, name = {
        "first file": (map_folder.hashlib, "sha256"),
        "manifest": (map_folder, "write_atomic"),
        "replace": (Path, "replace"),
        "after": (map_folder.shutil, "rmtree"),
    }[step]
    setattr(owner, name, kill)
    try:
        save_map(folder, slam_map)
    finally:
        os._exit(0)


@pytest.mark.parametrize("step", ["first file", "manifest", "replace", "after"])
def test_a_killed_save_leaves_one_map_whole(saved, step):
    old, new = load_map(saved), made_map(12, seed=1)
    killed_at(saved, new, step)
    assert_same(load_map(saved), new if step == "after" else old)
    save_map(saved, new)
    assert_same(load_map(saved), new)
    assert len(list(saved.iterdir())) == 2


def test_a_killed_first_save_can_be_repeated(tmp_path):
    killed_at(tmp_path / "map", made_map(5), "replace")
    with pytest.raises(MapError, match=r"has no manifest\.json"):
        load_map(tmp_path / "map")
    save_map(tmp_path / "map", made_map(5))
    assert len(load_map(tmp_path / "map")) == 5


def test_a_full_disk_keeps_the_earlier_map(saved, monkeypatch):
    old = load_map(saved)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(map_folder.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_map(saved, made_map(12))
    monkeypatch.undo()
    assert_same(load_map(saved), old)
    assert len(list(saved.iterdir())) == 2


def test_other_folders_are_not_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(MapError, match=r"not a map \(it has holiday\.jpg\)"):
        save_map(tmp_path / "photos", made_map(3))
    with pytest.raises(MapError, match="is a file"):
        save_map(tmp_path / "photos" / "holiday.jpg", made_map(3))
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]


def test_two_saves_at_once_do_not_mix(saved):
    with map_folder.writing(saved), pytest.raises(MapError, match="another process"):
        save_map(saved, made_map(3))


def test_every_damaged_byte_is_noticed(saved):
    manifest = map_description(saved)
    for name in manifest.files:
        path = saved / manifest.data / name
        content = path.read_bytes()
        for damaged in (content[:-1], content[: len(content) // 2], b"", content + b"x", _flipped(content)):
            path.write_bytes(damaged)
            with pytest.raises(MapError, match=r"damaged|expected at most"):
                load_map(saved)
        path.unlink()
        with pytest.raises(MapError, match=f"cannot read .*{name}"):
            load_map(saved)
        path.write_bytes(content)
    load_map(saved)


def _flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 2}, "reads up to 1; update"),
        ({"version": 0}, "version is 0"),
        ({"version": "1"}, "version is '1'"),
        ({"format": "other"}, "not the manifest of a map"),
        ({"data": "../elsewhere"}, "cannot be the name"),
        ({"data": "/etc"}, "cannot be the name"),
        ({"data": None}, "cannot be the name"),
        ({"files": []}, "lists no files"),
        ({"files": {"../../secret.safetensors": [3, "0"]}}, "not a file of a map"),
        ({"files": {"graph.pkl": [3, "0"]}}, "not a file of a map"),
        ({"files": {"graph.safetensors": [2**60, "0"]}}, "not a file of a map"),
        ({"files": {"graph.safetensors": [-1, "0"]}}, "not a file of a map"),
        ({"files": {"graph.safetensors": "0"}}, "not a file of a map"),
        ({"files": {}}, "does not list"),
        ({"camera": {"width": 640}}, "does not describe camera"),
        ({"unit": "parsec"}, "parsec"),
        ({"fingerprint": None}, "names no features"),
        ({"keyframes": 7}, "number of keyframes"),
        ({"landmarks": 7}, "number of landmarks"),
    ],
)
def test_wrong_manifests_are_refused(saved, values, message):
    edit_manifest(saved, **values)
    with pytest.raises(MapError, match=message):
        load_map(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"3" * 10_000])
def test_files_that_are_no_manifest_are_refused(saved, content):
    (saved / "manifest.json").write_bytes(content)
    with pytest.raises(MapError, match=r"manifest"):
        load_map(saved)


def test_links_and_pipes_are_not_followed(saved, tmp_path):
    manifest = map_description(saved)
    path = saved / manifest.data / "graph.safetensors"
    path.rename(tmp_path / "graph")
    path.symlink_to(tmp_path / "graph")
    with pytest.raises(MapError, match="cannot read"):
        load_map(saved)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MapError, match="not a regular file"):
        load_map(saved)


KEYFRAMES = "keyframes-00000.safetensors"


def changed(array: np.ndarray, place: object, value: object) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("name", "key", "change", "message"),
    [
        (KEYFRAMES, "id", lambda a: a * 0, "there twice"),
        (KEYFRAMES, "id", lambda a: a - 5, "not positive"),
        (KEYFRAMES, "id", lambda a: None, "id is missing"),
        (KEYFRAMES, "scale", lambda a: -a, "not positive"),
        (KEYFRAMES, "scale", lambda a: a * np.nan, "not finite"),
        (KEYFRAMES, "scale", lambda a: a[:-1], "shape"),
        (KEYFRAMES, "map_from_camera", lambda a: a * 2, "rigid"),
        (KEYFRAMES, "map_from_camera", lambda a: a.astype(np.float32), "of type float32"),
        (KEYFRAMES, "first_keypoint", lambda a: a[::-1], "divided up"),
        (KEYFRAMES, "first_keypoint", lambda a: a * 1000, "divided up"),
        (KEYFRAMES, "first_jpeg_byte", lambda a: changed(a, 1, 2**62), "divided up"),
        (KEYFRAMES, "descriptors", lambda a: a[:, 0], "shape"),
        (KEYFRAMES, "descriptors", lambda a: a.astype(np.float64), "of type float64"),
        (KEYFRAMES, "landmark_ids", lambda a: changed(a, 0, 10**9), "does not have"),
        (KEYFRAMES, "landmark_ids", lambda a: changed(a, 0, -2), "negative"),
        ("landmarks.safetensors", "id", lambda a: a[::-1], "do not increase"),
        ("landmarks.safetensors", "position", lambda a: a * np.inf, "not finite"),
        ("graph.safetensors", "kind", lambda a: a + 9, "unknown kind"),
        ("graph.safetensors", "first", lambda a: a + 1000, "not in the map"),
        ("graph.safetensors", "second", lambda a: changed(a, 0, 0), "with itself"),
        ("graph.safetensors", "first_from_second", lambda a: a * 0, "not positive"),
        ("graph.safetensors", "covisible", lambda a: a + 1000, "unknown keyframes"),
        ("graph.safetensors", "culled_parent", lambda a: a + 1000, "must follow"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(saved, name, key, change, message):
    arrays = load_file(saved / map_description(saved).data / name)
    new = change(arrays[key])
    edit_arrays(saved, name, **{key: None if new is None else np.ascontiguousarray(new)})
    with pytest.raises(MapError, match=message):
        load_map(saved)


def test_absurd_sizes_need_no_memory(saved, tmp_path):
    """Headers that claim terabytes, and a sparse file, under a limit of 400 MiB."""
    data = map_description(saved).data
    header = json.dumps({"id": {"dtype": "I64", "shape": [2**40], "data_offsets": [0, 2**43]}}).encode()
    claims = tmp_path / "claims"
    save_map(claims, made_map(3))
    write_raw(claims, "landmarks.safetensors", len(header).to_bytes(8, "little") + header)
    long_header = tmp_path / "long_header"
    save_map(long_header, made_map(3))
    write_raw(long_header, "landmarks.safetensors", (2**60).to_bytes(8, "little") + b"{}")
    sparse = saved / data / "graph.safetensors"
    with open(sparse, "r+b") as file:
        file.truncate(900 * 2**20)
    larger = tmp_path / "larger"
    save_map(larger, made_map(3))
    manifest = json.loads((larger / "manifest.json").read_text())
    manifest["files"]["graph.safetensors"] = [900 * 2**20, "0"]
    (larger / "manifest.json").write_text(json.dumps(manifest))
    with open(larger / manifest["data"] / "graph.safetensors", "r+b") as file:
        file.truncate(900 * 2**20)
    printed = run_limited(
        f"""
from safetensors.numpy import load
from ros_matching.atlas.map_storage import load_map
from ros_matching.errors import MapError
limit_memory(400)
for folder in {[str(claims), str(long_header), str(saved), str(larger)]!r}:
    try:
        load_map(folder)
    except MapError as error:
        print(error)
try:
    load_map({str(larger)!r}, max_bytes=2**20)
except MapError as error:
    print(error)
"""
    ).splitlines()
    assert len(printed) == 5
    assert "damaged" in printed[0]
    assert "damaged" in printed[1]
    assert "expected at most" in printed[2]
    assert "does not fit in the memory" in printed[3]
    assert "more than the limit of 1" in printed[4]


def test_older_versions_are_migrated(saved, monkeypatch):
    monkeypatch.setattr(map_folder, "VERSION", 2)
    with pytest.raises(MapError, match="no longer reads"):
        load_map(saved)
    monkeypatch.setitem(map_folder.MIGRATIONS, 1, lambda values: {**values, "unit": "up_to_scale", "version": 2})
    assert load_map(saved).unit is ScaleState.UP_TO_SCALE


@pytest.mark.parametrize(
    "camera",
    [
        Camera(320, 240, 250, 252.5, 160, 120),
        Camera(640, 480, 510, 505, 320, 240),
        Camera(640, 480, 500, 505, 310, 240),
    ],
)
def test_another_camera_is_refused(camera):
    slam_map = SlamMap(MAP_CAMERA, "points", "hash")
    with pytest.raises(MapError, match=r"another camera: 640x480, f 500\.0 505\.0"):
        require_same_camera(slam_map, camera)
    require_same_camera(slam_map, Camera(640, 480, 500.1, 505, 320, 240.2))


def test_there_is_no_map(tmp_path):
    with pytest.raises(MapError, match="no such folder"):
        load_map(tmp_path / "none")
    with pytest.raises(MapError, match="no manifest"):
        load_map(tmp_path)

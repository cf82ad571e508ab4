"""Files of a bag: with and without metadata, split, compressed, cut off, damaged, or no bags at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from bag_recordings import (
    ALL,
    STORAGES,
    STORE,
    camera_topics,
    check,
    noise,
    noise_topics,
    raw_image,
    rosbag2,
    stamp,
    write_bag,
    write_mcap,
)
from recordings import image, write

from ros_matching.errors import SourceError
from ros_matching.io import open_source

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def storage_file(folder: Path) -> Path:
    (file,) = (file for file in folder.iterdir() if file.name != "metadata.yaml")
    return file


def change_metadata(folder: Path, **changes: object) -> None:
    path = folder / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content["rosbag2_bagfile_information"] |= changes
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "changes",
    [
        {"storage_identifier": ""},
        {"storage_identifier": "my_plugin"},
        {"version": 99},
        {"relative_file_paths": ["other_0.db3"]},
        {"relative_file_paths": ["/home/robot/drive/drive.mcap"]},
        {"relative_file_paths": []},
        {"relative_file_paths": None},
        {"topics_with_message_count": []},
    ],
)
def test_wrong_metadata_cost_nothing(storage, changes: dict, tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", camera_topics(), storage)
    change_metadata(path, **changes)
    check(open_source(path), ALL)


@pytest.mark.parametrize("text", ["", "{", "- 1\n", LFS, "rosbag2_bagfile_information: 3\n"])
def test_unreadable_metadata_are_named_and_do_without(text: str, tmp_path: Path, caplog) -> None:
    path = write_bag(tmp_path / "drive", camera_topics())
    write(path / "metadata.yaml", text)
    check(open_source(path), ALL)
    assert "metadata.yaml" in caplog.text


def test_the_metadata_stand_for_their_folder(tmp_path: Path) -> None:
    source = open_source(write_bag(tmp_path / "drive", camera_topics()) / "metadata.yaml")
    check(source, ALL)
    assert source.name == "drive"


def test_a_path_that_is_neither_file_nor_folder() -> None:
    with pytest.raises(SourceError, match="no known format"):
        open_source("/dev/null")


def test_metadata_without_their_files(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", camera_topics())
    storage_file(path).unlink()
    with pytest.raises(SourceError, match=r"names drive\.mcap, which are not there"):
        open_source(path)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("with_metadata", [True, False])
def test_split_files_are_one_recording(storage, with_metadata: bool, tmp_path: Path) -> None:
    names = []
    for part in range(12):
        own = {
            "/cam/image_raw": [raw_image(part, stamp(part))],
            "/cam/camera_info": camera_topics()["/cam/camera_info"][:1],
        }
        folder = write_bag(tmp_path / f"part{part}", own, storage)
        file = storage_file(folder)
        names.append(f"drive_{part}{file.suffix}")
        (tmp_path / "drive").mkdir(exist_ok=True)
        file.rename(tmp_path / "drive" / names[-1])
    if with_metadata:
        (folder / "metadata.yaml").rename(tmp_path / "drive" / "metadata.yaml")
        change_metadata(tmp_path / "drive", relative_file_paths=names)
    check(open_source(tmp_path / "drive"), list(range(12)))
    check(open_source(tmp_path / "drive", start=3, stop=11, stride=4), [3, 7])
    broken = tmp_path / "drive" / names[5]
    broken.write_text(LFS)
    source = open_source(tmp_path / "drive")
    assert [frame.image[0, 0, 0] for frame in source] == [image(part)[0, 0, 0] for part in range(12) if part != 5]
    assert "git lfs pull" in source.faults[-1].reason


def test_several_bags_in_a_folder_are_not_mixed(tmp_path: Path) -> None:
    for name in ("walk.mcap", "drive.mcap"):
        write_mcap(tmp_path / name, camera_topics())
    with pytest.raises(SourceError, match=r"several bags.*drive\.mcap, walk\.mcap"):
        open_source(tmp_path)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_file_that_is_compressed_as_a_whole(storage, compression: str, tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", camera_topics(), storage)
    file = storage_file(path)
    packed = file.with_name(f"{file.name}.{compression}")
    packed.write_bytes(compress(file.read_bytes(), compression))
    file.unlink()
    check(open_source(packed), ALL)
    check(open_source(path), ALL)  # the metadata name the file without its suffix


def compress(data: bytes, compression: str) -> bytes:
    if compression == "zstd":
        return pytest.importorskip("zstandard").compress(data)
    return pytest.importorskip("lz4.frame").compress(data)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_messages_that_are_compressed_one_by_one(compression: str, tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", camera_topics(), STORAGES[1])
    with closing(sqlite3.connect(storage_file(path))) as database:
        for key, data in database.execute("SELECT id, data FROM messages").fetchall():
            database.execute("UPDATE messages SET data = ? WHERE id = ?", (compress(data, compression), key))
        database.execute("UPDATE messages SET data = x'28b52ffd00' WHERE id = 1")
        database.commit()
    source = open_source(path)
    assert len(list(source)) >= len(ALL) - 1


def test_names_of_all_kinds_and_a_file_that_vanishes(tmp_path: Path) -> None:
    names = ("a b%20c#1.mcap", "übung 1%s.db3", "x{y}&z.db3")
    for name, storage in zip(names, (*STORAGES, STORAGES[1]), strict=True):
        file = storage_file(write_bag(tmp_path / name.replace(".", "_"), camera_topics(), storage))
        source = open_source(file.rename(tmp_path / name))
        check(source, ALL)
        (tmp_path / name).unlink()
        with pytest.raises(SourceError, match="cannot be read any more"):
            list(source)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (LFS.encode(), "git lfs pull"),
        (b"\x1f\x8b\x08\x00", "gunzip"),
        (b"PK\x03\x04", "zip archive"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"#ROSBAG V1.2\n", "another version"),
        (b"\x00" * 64, "neither MCAP, sqlite3"),
    ],
)
@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".bag"])
def test_other_content_is_named(content: bytes, expected: str, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"drive{suffix}").write_bytes(content)
    with pytest.raises(SourceError, match=expected):
        open_source(tmp_path / f"drive{suffix}")


def test_a_database_of_something_else(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "drive.db3")) as database:
        database.execute("CREATE TABLE photos (id INTEGER)")
        database.commit()
    with pytest.raises(SourceError, match="not the tables of a rosbag2 bag"):
        open_source(tmp_path / "drive.db3")


def long_bag(path: Path, storage, count: int = 40) -> tuple[Path, bytes]:
    file = storage_file(write_bag(path / "drive", noise_topics(count), storage))
    return file, file.read_bytes()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.95])
def test_a_bag_that_is_cut_off_is_read_up_to_the_cut(storage, fraction: float, tmp_path: Path) -> None:
    file, data = long_bag(tmp_path, storage)
    file.write_bytes(data[: int(fraction * len(data))])
    source = open_source(file.parent)
    frames = list(source)
    assert len(frames) > 40 * fraction - 8
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all((frame.image == noise(frame.index)).all() for frame in frames)
    assert "cut off" in source.faults[-1].reason
    assert [frame.index for frame in open_source(file, stop=3)] == [0, 1, 2]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_bag_that_ends_before_the_first_image(storage, tmp_path: Path) -> None:
    file, data = long_bag(tmp_path, storage)
    file.write_bytes(data[:120])
    with pytest.raises(SourceError, match=r"drive\.(mcap ends|db3 is cut off)"):
        open_source(file)


def test_the_log_of_a_recorder_that_was_killed_is_read(tmp_path: Path) -> None:
    file, _ = long_bag(tmp_path, STORAGES[1])
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("INSERT INTO messages SELECT id + 100, topic_id, timestamp + 1, data FROM messages")
        database.commit()
        copies = tmp_path / "killed"
        copies.mkdir()
        for each in file.parent.glob(f"{file.name}*"):  # as they are before the database is closed
            (copies / each.name).write_bytes(each.read_bytes())
    assert len(open_source(copies / file.name)) == 80


@pytest.mark.parametrize("mode", ["FILE", "MESSAGE"])
def test_message_compression_needs_no_metadata(mode: str, tmp_path: Path) -> None:
    writer = rosbag2.Writer(tmp_path / "drive", version=9, storage_plugin=rosbag2.StoragePlugin.SQLITE3)
    writer.set_compression(getattr(rosbag2.CompressionMode, mode), rosbag2.CompressionFormat.ZSTD)
    with writer:
        for topic, messages in camera_topics().items():
            kind = messages[0].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for index, message in enumerate(messages):
                writer.write(connection, stamp(index), STORE.serialize_cdr(message, kind))
    (tmp_path / "drive" / "metadata.yaml").unlink()
    check(open_source(tmp_path / "drive"), ALL)

"""The files that a bag consists of, found by ``metadata.yaml`` or without it, and recognised by their content."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from ros_matching.errors import SourceError
from ros_matching.io.bags import mcap, ros1, sqlite
from ros_matching.io.bags.compression import BlockReader, compression_of
from ros_matching.io.bags.storage import Storage
from ros_matching.io.images import natural_order
from ros_matching.io.source_format import foreign_content

METADATA = "metadata.yaml"
SUFFIXES = (".mcap", ".db3", ".bag")
_COMPRESSED = (".zstd", ".zst", ".lz4")
_METADATA_KEY = b"rosbag2_bagfile_information"
_MAX_METADATA_BYTES = 1 << 24
_MIN_FREE_DISK = 0.05

_STORAGES: dict[bytes, Callable[[Path], Storage]] = {
    mcap.MAGIC: mcap.McapStorage,
    sqlite.MAGIC: sqlite.SqliteStorage,
    ros1.MAGIC: ros1.Ros1Storage,
}


@dataclass
class BagFiles:
    """The storages of a bag in order of time.

    ``damage`` contains a sentence for each missing or damaged part, ``notes`` for each defect without loss of data.
    """

    storages: list[Storage] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inflated: TemporaryDirectory | None = None  # of files that were compressed as a whole; removed with this object


def is_bag(path: Path) -> bool:
    """Return True if the path is a bag's folder or one of its files."""
    if path.is_file():
        return _has_suffix(path) or (path.name == METADATA and _is_metadata(path))
    if not path.is_dir():
        return False
    entries = list(path.iterdir())
    found = [entry for entry in entries if _has_suffix(entry)]
    if found and all(entry.name.endswith(".bag") for entry in found):
        return not any(entry.is_dir() for entry in entries)  # data sets keep a .bag next to their unpacked folders
    return bool(found) or _is_metadata(path / METADATA)


def open_files(path: Path) -> BagFiles:
    """Open the files of a bag; raises ``SourceError`` if none can be read."""
    bag = BagFiles()
    errors = []
    for file in [path] if path.is_file() else _listed(path, bag.notes):
        problem = _add(file, bag)
        if problem:
            errors.append(problem)
    if not bag.storages:
        raise SourceError(errors[0])
    bag.damage += errors + [storage.damage for storage in bag.storages if storage.damage]
    return bag


def _add(path: Path, bag: BagFiles) -> str:
    """Open one file of a bag, or return why that is not possible."""
    try:
        bag.storages.append(_open(path, bag))
    except SourceError as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"
    except (OSError, MemoryError) as error:
        return f"{path} cannot be read ({error})"
    return ""


def _open(path: Path, bag: BagFiles) -> Storage:
    problem = foreign_content(path)
    if problem:
        raise SourceError(f"{path} {problem}")
    head = _head(path)
    if compression_of(head):
        path = _inflated(path, bag)
        head = _head(path)
    for magic, storage in _STORAGES.items():
        if head.startswith(magic):
            return storage(path)
    raise SourceError(
        f"{path} begins with {head[:16]!r}, which is neither MCAP, sqlite3 (rosbag2) nor a ROS 1 bag; is it damaged, "
        "or of another storage plugin? `ros2 bag convert` can write MCAP"
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def _inflated(path: Path, bag: BagFiles) -> Path:
    """The file in a temporary folder, decompressed; a file that is cut off as far as it goes."""
    if bag.inflated is None:
        bag.inflated = TemporaryDirectory(prefix="ros_matching_bag_")
    target = Path(bag.inflated.name) / re.sub(r"\.(zstd?|lz4)$", "", path.name)
    with path.open("rb") as source, target.open("wb") as sink:
        reader = BlockReader(source, path.stat().st_size, compression_of(_head(path)))
        try:
            while piece := reader.read_some():
                sink.write(piece)
                usage = shutil.disk_usage(target.parent)
                if usage.free < _MIN_FREE_DISK * usage.total:
                    raise OSError(
                        f"{target.parent} has only {usage.free >> 20} MiB left to decompress it; unpack it "
                        "where there is room"
                    )
        except SourceError as error:
            bag.damage.append(f"{path}: {error}")
        if reader.is_cut_off:
            bag.damage.append(f"{path}: its compressed data are cut off; the part before is read")
    return target


def _listed(folder: Path, notes: list[str]) -> list[Path]:
    """The files of a bag's folder in their order."""
    present = sorted((path for path in folder.iterdir() if _has_suffix(path)), key=natural_order)
    metadata = folder / METADATA
    if metadata.is_file():
        named, problem = _read_metadata(metadata)
        found = [file for name in named for file in _named(folder, name)]
        if len(found) == len(named) and found:
            return found
        missing = sorted({PurePath(name).name for name in named} - {file.name for file in found})
        if present:
            notes.append(
                f"{metadata} {problem or 'names ' + ', '.join(missing) + ', which are not there'}; "
                f"{', '.join(path.name for path in present)} are read"
            )
        elif problem or missing:
            raise SourceError(
                f"{metadata} {problem or 'names ' + ', '.join(missing[:5]) + ', which are not there'}, and {folder} "
                f"holds no file {', '.join('*' + suffix for suffix in SUFFIXES)}"
            )
    if not present:
        raise SourceError(f"{folder} holds {METADATA}, but no recorded file")
    if len({_split_name(path) for path in present}) > 1:
        raise SourceError(
            f"{folder} holds several bags and no {METADATA} that names its files; give one of them: "
            f"{', '.join(path.name for path in present[:8])}"
        )
    return present


def _named(folder: Path, name: str) -> list[Path]:
    """The file of a name in ``metadata.yaml``: some recorders write a path, or leave out the suffix of compression."""
    base = PurePath(name).name
    candidates = [folder / base, *(folder / f"{base}{suffix}" for suffix in _COMPRESSED)]
    return [path for path in candidates if base and path.is_file()][:1]


def _read_metadata(path: Path) -> tuple[list[str], str]:
    """The file names in ``metadata.yaml``, and its defects."""
    import yaml

    text = path.read_bytes()[:_MAX_METADATA_BYTES]
    if not text.strip():
        return [], "is empty"
    if text.startswith(b"version https://git-lfs"):
        return [], "is a pointer of git-lfs (run `git lfs pull`)"
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        names = content[_METADATA_KEY.decode()]["relative_file_paths"]
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        return [], f"cannot be read as YAML ({str(error).splitlines()[0]})"
    except (KeyError, TypeError, IndexError):
        return [], "has no relative_file_paths"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return [], "has no list of names in relative_file_paths"
    return names, "" if names else "names no files"


def _has_suffix(path: Path) -> bool:
    name = path.name.lower()
    for suffix in (*_COMPRESSED, ".active"):
        name = name.removesuffix(suffix)
    return name.endswith(SUFFIXES) and not name.startswith(".") and path.is_file()


def _is_metadata(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _METADATA_KEY in file.read(1 << 16)


def _split_name(path: Path) -> str:
    """The name of the bag that a file is a part of: ``drive`` for ``drive_0.mcap`` and ``drive_1.mcap``."""
    return re.sub(r"_\d+$", "", path.name.split(".")[0])

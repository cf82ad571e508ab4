"""Calibration files of any content give a calibration or a clear error, in little memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from limited import run_limited
from recordings import write

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io import text
from ros_matching.io.calibration import read_calibration
from ros_matching.io.text import read_table, read_text, stream_lines

HERE = Path(__file__).parent
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
ROS = "camera_matrix: {matrix}\ndistortion_coefficients: {d}\nimage_width: 640\nimage_height: 480\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("laughs.yaml", LAUGHS, "aliases counted"),
        ("laughs.yaml", LAUGHS + ROS.format(matrix="*k", d="*k"), "aliases counted"),
        ("self.yaml", "camera_matrix: &a [*a, *a]\n", "nested deeper"),
        ("deep.yaml", "[" * 5000, "nested deeper"),
        ("deep.json", "[" * 100_000, "JSON"),
        ("deep.json", '{"a":' * 300 + "1" + "}" * 300, "nested deeper"),
        ("deep.xml", "<a>" * 500 + "</a>" * 500, "nested deeper"),
        (
            "laughs.xml",
            '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;">]><a>&d;</a>',
            "DOCTYPE",
        ),
        ("many.yaml", "a: [" + "1," * 60_000 + "1]", "more than 50000 values"),
        ("long.yaml", "# comment\n" * 300_000, "characters of YAML"),
        ("long.txt", "1 0 0\n" * 500_000, "characters"),
        ("digits.yaml", ROS.format(matrix=f"[{'9' * 400}, 0, 1, 0, 1, 1, 0, 0, 1]", d="[]"), "finite"),
        ("digits.json", '{"fx": ' + "9" * 5000 + ', "fy": 1, "cx": 1, "cy": 1}', "finite"),
        ("numbers.json", '{"fx": [' + "1," * 100_000 + '1], "fy": 1, "cx": 1, "cy": 1}', "at most 64"),
        ("nan.yaml", ROS.format(matrix="[.nan, 0, 1, 0, 1, 1, 0, 0, 1]", d="[]"), "finite"),
        ("words.yaml", ROS.format(matrix="[a, 0, 1, 0, 1, 1, 0, 0, 1]", d="[]"), "numbers for K"),
        ("truth.yaml", ROS.format(matrix="[true, 0, 1, 0, 1, 1, 0, 0, 1]", d="[]"), "numbers for K"),
        ("size.yaml", ROS.format(matrix="[9, 0, 1, 0, 9, 1, 0, 0, 1]", d="[]").replace("640", "1e9"), "positive image"),
        ("binary.yaml", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
        ("calibration.npz", b"PK\x03\x04\0\0", "binary"),
        ("pointer.yaml", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
        ("empty.yaml", b"", "is empty"),
        ("page.yaml", b"<!DOCTYPE html><html>", "web page"),
        ("half.txt", "5\0000\0".encode("latin-1"), "byte order mark"),
        ("odd.yaml", b"\xff\xfeab\x00\xd8", "cannot be read"),
        ("keys.json", '{"\\ud800": 1}', "ud800"),
        ("keys.yaml", "? [a, b]\n: 1\n", "plain keys"),
        ("spaces.txt", "a" + " " * 1_000_000 + "b\n", "expected a 3x3"),
        ("spaces.ini", "[a]\na" + " " * 1_000_000 + "b\n", "characters"),
    ],
)
def test_files_of_odd_content_are_refused(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CalibrationError, match=message) as caught:
        read_calibration(path)
    assert len(str(caught.value)) < 2000
    str(caught.value).encode("utf-8")  # can be printed


def test_a_file_larger_than_any_calibration_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "K.txt").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(CalibrationError, match="larger than"):
        read_calibration(tmp_path / "K.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends(encoding: str, end: str, tmp_path: Path) -> None:
    matrix = "# Kalibrierung, π\n400 0 318\n0 410 242\n0 0 1\n"
    (tmp_path / "K.txt").write_bytes(matrix.replace("\n", end).encode(encoding))
    assert read_calibration(tmp_path / "K.txt").fy == 410
    settings = "%YAML:1.0\n# größe\nCamera.fx: 400\nCamera.fy: 410\nCamera.cx: 318\nCamera.cy: 242\n"
    (tmp_path / "s.yaml").write_bytes(settings.replace("\n", end).encode(encoding))
    assert read_calibration(tmp_path / "s.yaml").fy == 410


def test_comments_in_another_encoding_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes("# 相机参数\nfx: 400\nfy: 410\ncx: 318\ncy: 242\n".encode("gbk"))
    assert read_calibration(tmp_path / "s.yaml").fy == 410
    with pytest.raises(SourceError, match="cannot be read as text"):
        read_text(tmp_path / "s.yaml")


def test_lines_are_streamed_from_files_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_bytes("\ufeff# π\r\n1 2\n\n3".encode())
    assert list(stream_lines(tmp_path / "images.txt")) == ["# π", "1 2", "", "3"]
    for content in (b"a\0b\n", b"\xff\n"):
        (tmp_path / "images.txt").write_bytes(content)
        with pytest.raises(SourceError, match=r"images\.txt"):
            list(stream_lines(tmp_path / "images.txt"))


def test_tables_hold_up_to_so_many_lines_and_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "t.txt", "1 2\n3 4\n")
    monkeypatch.setattr(text, "MAX_CELLS", 4)
    monkeypatch.setattr(text, "MAX_LINES", 2)
    assert len(read_table(tmp_path / "t.txt", 2, "two numbers")) == 2
    monkeypatch.setattr(text, "MAX_CELLS", 3)
    with pytest.raises(SourceError, match="more than 3 values"):
        read_table(tmp_path / "t.txt", 2, "two numbers")
    monkeypatch.setattr(text, "MAX_LINES", 1)
    with pytest.raises(SourceError, match="2 lines"):
        read_table(tmp_path / "t.txt", 2, "two numbers")


def test_text_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    write(tmp_path / "t.txt", "12345")
    assert read_text(tmp_path / "t.txt", 5) == "12345"
    with pytest.raises(SourceError, match="larger"):
        read_text(tmp_path / "t.txt", 4)


def test_random_and_mutated_files_give_a_calibration_or_a_clear_error(tmp_path: Path) -> None:
    """In 900 MB beyond what the libraries take."""
    code = f"from calibration_fuzz import fuzz\nlimit_memory(900)\nfuzz({str(tmp_path)!r}, 400)"
    read, refused = map(int, run_limited(code, HERE, HERE.parent, HERE.parent.parent).split())
    assert read >= 20
    assert refused >= 100

import io
import zipfile

import numpy as np
import pytest

from trimtab.errors import DataError
from trimtab.training.arrays import read_npz

Y = np.array([0, 1, 2])


def _written(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


def _zipped(tmp_path, **members):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return tmp_path / "a.npz"


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _header(shape, descr="'<f4'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((3, 8, 9), (3, 1, 8, 9)),
        ((3, 8, 9, 3), (3, 3, 8, 9)),
        ((3, 1, 8, 9), (3, 1, 8, 9)),
        ((3, 3, 8, 3), (3, 3, 8, 3)),
        ((3, 7), (3, 7)),
    ],
)
def test_bytes_become_fractions_with_channels_in_front(tmp_path, shape, read):
    x = np.full(shape, 51, np.uint8)
    [(images, targets)] = read_npz(_written(tmp_path, x=x, y=Y.astype(np.uint8)))
    assert images.shape == read
    assert np.all(images == np.float32(51) / np.float32(255))
    assert (images.dtype.name, targets.dtype.name) == ("float32", "int64")


def test_channels_last_keep_their_values(tmp_path):
    x = np.arange(3 * 2 * 5 * 3, dtype=np.uint8).reshape(3, 2, 5, 3)
    [(images, _)] = read_npz(_written(tmp_path, x=x, y=Y))
    assert images[1, 2, 0, 4] == np.float32(x[1, 0, 4, 2]) / np.float32(255)


@pytest.mark.parametrize("dtype", ["float16", ">f8", "float64"])
def test_floats_become_float32_unscaled(tmp_path, dtype):
    x = np.array([[0.5], [2.0], [-1.0]], dtype)
    [(inputs, _)] = read_npz(_written(tmp_path, x_train=x, y_train=Y))
    assert inputs.tolist() == [[0.5], [2.0], [-1.0]]
    assert inputs.dtype == np.float32


def test_compressed_files_and_both_parts(tmp_path):
    path = tmp_path / "a.npz"
    x = np.zeros((3, 2))
    np.savez_compressed(path, x_train=x, y_train=Y, x_test=x[:1], y_test=Y[:1])
    assert [len(x) for x, _ in read_npz(path)] == [3, 1]


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({"a": Y}, "it holds a"),
        ({}, "it holds nothing"),
        ({"x_train": Y, "y_train": Y, "x_test": Y}, "x_test stands alone"),
        ({"x": Y[:, None], "y": Y}, "inputs are float, or uint8"),
        ({"x": np.zeros(3), "y": Y}, "one input of rank 1 or more"),
        ({"x": np.zeros((2, 2)), "y": Y}, r"shape \(2, 2\), y \(3,\)"),
        ({"x": np.zeros((3, 2)), "y": Y / 2}, "must be whole numbers"),
        ({"x": np.zeros((3, 2)), "y": Y[:, None]}, "rank 2"),
        ({"x": np.zeros((3, 2)), "y": Y - 1}, "from -1 to 1"),
        ({"x": np.zeros((3, 2)), "y": Y * 10**9}, "from 0 to 2000000000"),
        ({"x": np.full((3, 2), np.nan), "y": Y}, "infinite or NaN"),
        ({"x": np.full((3, 2), 1e300), "y": Y}, "infinite or NaN"),
        ({"x": np.zeros((3, 2), complex), "y": Y}, "complex128"),
        ({"x": np.array([["a"]] * 3), "y": Y}, "objects and text are not read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, arrays, rule):
    with pytest.raises(DataError, match=rule) as caught:
        read_npz(_written(tmp_path, **arrays))
    assert "a.npz" in caught.value.where
    assert caught.value.remedy


def test_objects_are_refused_before_they_are_read(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([[{}]] * 3, object), allow_pickle=True)
    with pytest.raises(DataError, match="objects and text are not read"):
        read_npz(_zipped(tmp_path, x=buffer.getvalue(), y=_npy(Y)))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (_header("(1000000000000,)"), "more than 4 GiB"),
        (_header("(3, 100)"), "does not have"),
        (_header("(-1, -4)"), "damaged"),
        (_header("(3, 2)", descr="'nothing'"), "damaged"),
        (_header("(" * 4000), "damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(20), "damaged"),
        (b"", "damaged"),
        (b"no array", "damaged"),
    ],
)
def test_hostile_headers(tmp_path, content, rule):
    with pytest.raises(DataError, match=rule):
        read_npz(_zipped(tmp_path, x=content, y=_npy(Y)))


def test_a_bomb_is_refused_by_its_header(tmp_path):
    # A gigabyte of zeros in a megabyte, five times over what float32 may take.
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", _npy(Y))
        with archive.open("x.npy", "w", force_zip64=True) as file:
            file.write(_header(f"({2**31}, 1)", descr="'|u1'"))
            file.write(bytes(2**20))
    with pytest.raises(DataError, match="more than 4 GiB"):
        read_npz(tmp_path / "a.npz")


def test_no_zip_no_file_and_a_cut_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_npz(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(DataError, match="not a readable"):
        read_npz(tmp_path / "text.npz")
    path = _written(tmp_path, x=np.zeros((3, 200)), y=Y)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable"):
        read_npz(path)


def test_every_flipped_byte_is_read_or_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(6.0).reshape(3, 2), y=Y)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF
        path.write_bytes(flipped)
        try:
            read_npz(path)
        except DataError:
            continue

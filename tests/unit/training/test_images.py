import builtins

import numpy as np
import pytest

from trimtab.errors import DataError, MissingExtraError
from trimtab.training import images as module
from trimtab.training.data import load
from trimtab.training.images import read_folder

Image = pytest.importorskip("PIL.Image", reason="Pillow is missing: pip install pillow")


def _save(path, value=0, size=(4, 3), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if mode == "L" else (value, 0, 255)
    Image.new(mode, size, colour).save(path)


def test_grey_images_have_one_channel(tmp_path):
    _save(tmp_path / "b" / "1.png", 51)
    _save(tmp_path / "a" / "1.png", 0)
    [(x, y)], names = read_folder(tmp_path)
    assert x.shape == (2, 1, 3, 4)
    assert names == ("a", "b")
    assert y.tolist() == [0, 1]
    assert np.all(x[1] == np.float32(51) / np.float32(255))


def test_one_colour_image_makes_all_colour(tmp_path):
    _save(tmp_path / "a" / "1.png", 51)
    _save(tmp_path / "a" / "2.png", 51, mode="RGB")
    [(x, _)], _ = read_folder(tmp_path)
    assert x[:, :, 0, 0].tolist() == pytest.approx(
        np.array([[0.2, 0.2, 0.2], [0.2, 0, 1]])
    )


def test_train_and_test_keep_the_numbers_of_the_classes(tmp_path):
    for name in ("a", "b", "c"):
        _save(tmp_path / "train" / name / "1.png")
    _save(tmp_path / "test" / "c" / "1.png")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "train" / "a" / ".thumbs").write_text("no image")
    data = load(str(tmp_path))
    assert data.test[1].tolist() == [2]
    assert data.class_names == ("a", "b", "c")
    assert data.classes == 3


def test_one_part_is_split(tmp_path):
    for name in ("a", "b"):
        for number in range(5):
            _save(tmp_path / name / f"{number}.jpg", number * 40)
    data = load(str(tmp_path))
    assert (len(data.train[0]), len(data.test[0])) == (8, 2)


def test_sizes_must_be_equal(tmp_path):
    _save(tmp_path / "a" / "1.png")
    _save(tmp_path / "a" / "2.png", size=(5, 3))
    with pytest.raises(DataError, match=r"5 x 3 pixels, .*1\.png has 4 x 3"):
        read_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(9)])
def test_a_file_that_is_no_image(tmp_path, content):
    _save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").write_bytes(content)
    with pytest.raises(DataError, match="no PNG, JPEG") as caught:
        read_folder(tmp_path)
    assert caught.value.where.endswith("2.png")


def test_a_cut_image(tmp_path):
    _save(tmp_path / "a" / "1.png", size=(64, 64))
    path = tmp_path / "a" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"damaged|no PNG"):
        read_folder(tmp_path)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    # A header that promises 30,000 x 30,000 pixels, and nothing behind it.
    path = tmp_path / "a" / "1.bmp"
    _save(path, mode="RGB")
    content = bytearray(path.read_bytes())
    content[18:26] = (30_000).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with pytest.raises(DataError, match="pixels"):
        read_folder(tmp_path)


def test_more_than_one_image_may_have(tmp_path, monkeypatch):
    _save(tmp_path / "a" / "1.png")
    monkeypatch.setattr(module, "_MOST_PIXELS", 11)
    with pytest.raises(DataError, match="4 x 3 pixels are more than 11"):
        read_folder(tmp_path)


def test_more_than_all_images_may_have(tmp_path, monkeypatch):
    _save(tmp_path / "a" / "1.png")
    monkeypatch.setattr(module, "MOST_BYTES", 4 * 12 - 1)
    with pytest.raises(DataError, match="1 images of 4 x 3"):
        read_folder(tmp_path)


def test_empty_folders_and_unknown_classes(tmp_path):
    with pytest.raises(DataError, match="no folder per class"):
        read_folder(tmp_path)
    (tmp_path / "train" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="the class has no images"):
        read_folder(tmp_path)
    _save(tmp_path / "train" / "a" / "1.png")
    _save(tmp_path / "test" / "b" / "1.png")
    with pytest.raises(DataError, match="no class of that name"):
        read_folder(tmp_path)


def test_without_pillow(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="pip install pillow"):
        read_folder(tmp_path)

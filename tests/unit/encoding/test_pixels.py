"""What the VAE is shown: range, order of the axes, cut and mirror; and masks at the latents' size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from veneer.encoding.buckets import Crop
from veneer.encoding.pixels import mask_path, mask_values, open_mask, pixel_values
from veneer.errors import DatasetError


@pytest.fixture
def columns() -> Image.Image:
    """A picture of 6 x 4 pixels: red tells the column, green the row, blue nothing."""
    rows, columns = np.mgrid[:4, :6]
    return Image.fromarray(np.stack([40 * columns, 60 * rows, np.full((4, 6), 255)], axis=2).astype(np.uint8))


def test_values_are_channels_first_from_minus_one_to_one(columns: Image.Image) -> None:
    values = pixel_values(columns, Crop(6, 4, 0, 0), (6, 4), mirrored=False)
    assert (values.shape, values.dtype) == ((3, 4, 6), torch.float32)
    wanted = torch.tensor([40 * column / 127.5 - 1 for column in range(6)])
    assert torch.allclose(values[0], wanted.expand(4, 6), atol=1e-6)
    assert values[1, :, 0].tolist() == pytest.approx([60 * row / 127.5 - 1 for row in range(4)])
    assert bool((values[2] == 1).all())
    assert float(pixel_values(Image.new("RGB", (2, 2)), Crop(2, 2, 0, 0), (2, 2), mirrored=False).max()) == -1


def test_a_crop_starts_where_it_says(columns: Image.Image) -> None:
    whole = pixel_values(columns, Crop(6, 4, 0, 0), (6, 4), mirrored=False)
    cut = pixel_values(columns, Crop(6, 4, 2, 1), (3, 2), mirrored=False)
    assert torch.equal(cut, whole[:, 1:3, 2:5])


def test_a_mirror_turns_the_part_that_was_cut(columns: Image.Image) -> None:
    crop = Crop(6, 4, 1, 0)
    cut = pixel_values(columns, crop, (4, 4), mirrored=False)
    assert torch.equal(pixel_values(columns, crop, (4, 4), mirrored=True), cut.flip(2))


def test_a_picture_of_another_size_is_resized_before_it_is_cut() -> None:
    halves = Image.new("RGB", (40, 20), (0, 0, 0))
    halves.paste((255, 255, 255), (20, 0, 40, 20))
    values = pixel_values(halves, Crop(16, 8, 8, 0), (8, 8), mirrored=False)
    assert values.shape == (3, 8, 8)
    assert float(values[:, :, 3:].min()) > 0.95


def test_a_mask_has_one_value_for_each_latent_pixel() -> None:
    mask = Image.new("L", (16, 16), 0)
    mask.paste(255, (0, 0, 4, 16))
    values = mask_values(mask, Crop(16, 16, 0, 0), (16, 16), 8, mirrored=False)
    half = torch.tensor([[[0.5, 0.0], [0.5, 0.0]]])
    torch.testing.assert_close(values, half, rtol=0, atol=1 / 255)
    mirrored = mask_values(mask, Crop(16, 16, 0, 0), (16, 16), 8, mirrored=True)
    torch.testing.assert_close(mirrored, half.flip(2), rtol=0, atol=1 / 255)


def test_a_mask_lies_beside_its_picture(tmp_path: Path) -> None:
    path = mask_path(tmp_path / "000001.jpeg")
    assert path == tmp_path / "000001.mask.png"
    Image.new("RGB", (4, 4), (255, 255, 255)).save(path)
    assert open_mask(path).getpixel((0, 0)) == 255


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\nthis is no picture"])
def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "000001.mask.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"mask cannot be read.*000001\.mask\.png"):
        open_mask(path)

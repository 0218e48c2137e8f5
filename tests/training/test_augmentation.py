from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.transforms import v2

from training.augmentation import ERASED_AREA, ERASED_RATIO, Augmentation, draw
from training.config import TrainConfig
from training.data import Images, Splits

NOTHING = {"crop_padding": 0, "flip": "none", "erasing": 0}
STAY = torch.zeros(4, dtype=torch.bool)


def config_of(batch_size: int, **given: Any) -> TrainConfig:
    return TrainConfig(recipe="fashion-mnist-cpu", batch_size=batch_size, **given)


def splits_of(pixels: torch.Tensor) -> Splits:
    images = Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
    return Splits(images, images, ["a", "b"], [0.25] * pixels.shape[1], [0.5] * pixels.shape[1], "bilinear")


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def augmented(pixels: torch.Tensor, flips: torch.Tensor | None = None, **given: Any) -> torch.Tensor:
    augment = Augmentation(config_of(4, **{**NOTHING, **given}), splits_of(pixels))
    return augment(pixels, torch.arange(len(pixels)), torch.zeros(len(pixels)).bool() if flips is None else flips)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.float() / 255 - 0.25) / 0.5


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(0, 5), st.integers(0, 10)
)
def test_the_processes_share_each_part_of_what_one_would_draw(
    processes: int, parts: int, each: int, steps: int, rest: int, seed: int
) -> None:
    batch = processes * parts * each
    images = steps * batch + min(rest, batch - 1)
    alone = draw(config_of(batch, seed=seed), images, epoch=3)
    config = config_of(batch, seed=seed, gradient_accumulation_steps=parts)
    shares = [draw(config, images, 3, rank, processes) for rank in range(processes)]
    for name in ("indices", "seeds", "flips"):
        whole = getattr(alone, name).chunk(parts, dim=1)
        split = [getattr(share, name).chunk(parts, dim=1) for share in shares]
        for number, part in enumerate(whole):
            assert torch.equal(torch.cat([share[number] for share in split], dim=1), part)
    assert len(alone) == steps
    assert len(set(alone.indices.flatten().tolist())) == steps * batch
    assert not torch.equal(draw(config, images, epoch=4).seeds, alone.seeds)


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=12 must be a multiple of the 5 processes"):
        draw(config_of(12), images=100, epoch=0, processes=5)
    with pytest.raises(ValueError, match="the 2 processes × gradient_accumulation_steps=4"):
        draw(config_of(12, gradient_accumulation_steps=4), images=100, epoch=0, processes=2)
    with pytest.raises(ValueError, match="batch_size=128 is more than the 100 images"):
        draw(config_of(128), images=100, epoch=0)


def flips_by_image(mode: str, epoch: int, seed: int = 0) -> torch.Tensor:
    drawn = draw(config_of(50, flip=mode, seed=seed), 1000, epoch)
    flips = torch.zeros(1000, dtype=torch.bool)
    flips[drawn.indices.flatten()] = drawn.flips.flatten()
    return flips


def test_alternating_flips_show_each_image_both_ways_in_two_epochs() -> None:
    first = flips_by_image("alternating", 0)
    assert 400 < first.sum() < 600
    for epoch in range(1, 5):
        assert torch.equal(flips_by_image("alternating", epoch), first if epoch % 2 == 0 else ~first)
    assert 400 < (flips_by_image("alternating", 0, seed=1) ^ first).sum() < 600


def test_random_flips_are_drawn_every_epoch_and_without_there_are_none() -> None:
    first, second = flips_by_image("random", 0), flips_by_image("random", 1)
    assert 400 < first.sum() < 600
    assert 400 < (first ^ second).sum() < 600
    assert not flips_by_image("none", 0).any()


def test_augmentation_belongs_to_the_image_not_to_its_batch() -> None:
    pixels, seeds, flips = noise(16, 3, 20, 20), torch.arange(16), torch.arange(16) % 3 == 0
    augment = Augmentation(
        config_of(16, crop_padding=3, erasing=0.5, auto_augment="cifar10", cutout=6), splits_of(pixels)
    )
    whole = augment(pixels, seeds, flips)
    assert torch.equal(augment(pixels, seeds, flips), whole)
    assert torch.equal(augment(pixels[4:12], seeds[4:12], flips[4:12]), whole[4:12])
    assert not torch.equal(augment(pixels, seeds + 100, flips), whole)
    assert whole.dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 3])
def test_without_augmentation_images_are_only_normalised(channels: int) -> None:
    pixels = noise(4, channels, 8, 9)
    splits = splits_of(pixels)
    torch.testing.assert_close(augmented(pixels), next(splits.inputs(splits.train)))


def test_flips_mirror_their_images() -> None:
    pixels, flips = noise(4, 3, 8, 9), torch.tensor([True, False, True, False])
    expected = normalised(torch.where(flips.view(-1, 1, 1, 1), pixels.flip(3), pixels))
    torch.testing.assert_close(augmented(pixels, flips), expected)


@pytest.mark.parametrize(("mode", "of_torch"), [("zeros", "constant"), ("reflect", "reflect")])
def test_a_shift_is_a_crop_of_the_padded_image(mode: str, of_torch: str) -> None:
    pixels = noise(64, 3, 7, 9)
    flips = torch.arange(64) % 2 == 0
    shifted = augmented(pixels, flips, crop_padding=3, padding_mode=mode)
    padded = normalised(F.pad(pixels.float(), (3, 3, 3, 3), mode=of_torch))
    found = []
    for image, large, flip in zip(shifted, padded, flips, strict=True):
        crops = {(y, x): large[:, y : y + 7, x : x + 9] for y in range(7) for x in range(7)}
        image = image.flip(2) if flip else image
        found += [place for place, crop in crops.items() if torch.allclose(image, crop, atol=1e-6)]
    assert len(found) == 64  # exactly one place each
    assert {y for y, _ in found} == {x for _, x in found} == set(range(7))


def test_cutout_takes_a_square_around_any_pixel() -> None:
    """As the code of its authors does: a square that reaches over the border is cut off there."""
    side, height, width = 4, 16, 12
    cut = augmented(torch.full((3000, 2, height, width), 255, dtype=torch.uint8), cutout=side) == 0
    assert torch.equal(cut[:, 0], cut[:, 1])
    expected = set()
    for y in range(height):
        for x in range(width):
            square = torch.zeros(height, width, dtype=torch.bool)
            square[max(y - side // 2, 0) : y + side // 2, max(x - side // 2, 0) : x + side // 2] = True
            expected.add(tuple(square.flatten().tolist()))
    assert {tuple(each.flatten().tolist()) for each in cut[:, 0]} == expected


def test_random_erasing_is_as_often_and_as_large_as_torchvisions() -> None:
    white = torch.full((4000, 1, 28, 28), 255, dtype=torch.uint8)
    ours = (augmented(white, erasing=0.25) == 0).squeeze(1)
    torch.manual_seed(0)
    erase = v2.RandomErasing(p=0.25, scale=ERASED_AREA, ratio=ERASED_RATIO)
    theirs = torch.stack([erase(image) for image in torch.ones(4000, 1, 28, 28)]).squeeze(1) == 0
    for a, b in (
        (each.any(dim=(1, 2)).float() for each in (ours, theirs)),
        (each.float().mean(dim=(1, 2)) for each in (ours, theirs)),
    ):
        assert abs(a.mean() - b.mean()) < 4 * (2 * a.var() / 4000) ** 0.5
    chosen = ours[ours.any(dim=(1, 2))]
    heights, widths = (chosen.any(dim=axis).sum(dim=1) for axis in (2, 1))
    areas, ratios = heights * widths, heights / widths
    assert torch.equal(areas, chosen.sum(dim=(1, 2)))  # a rectangle
    # Sides are whole pixels: each may be half a pixel off.
    assert ((heights + 0.5) * (widths + 0.5)).min() >= ERASED_AREA[0] * 28 * 28 > areas.min() - 6
    assert ((heights - 0.5) * (widths - 0.5)).max() <= ERASED_AREA[1] * 28 * 28 < areas.max() + 15
    assert ERASED_RATIO[0] <= ((heights + 0.5) / (widths - 0.5)).min()
    assert ratios.min() < 0.4
    assert ((heights - 0.5) / (widths + 0.5)).max() <= ERASED_RATIO[1]
    assert ratios.max() > 2.5


@pytest.mark.parametrize("given", [{"cutout": 16}, {"crop_padding": 20}])
def test_what_is_larger_than_the_images_is_refused(given: dict[str, Any]) -> None:
    ((name, size),) = given.items()
    with pytest.raises(ValueError, match=f"{name}={size} must be smaller than the images, 16×16"):
        augmented(noise(4, 1, 16, 16), **given)

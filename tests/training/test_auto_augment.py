from collections import Counter

import pytest
import torch
from torchvision.transforms import v2

from training.auto_augment import OPERATIONS, AutoAugment, Operation, parameters
from training.geometry import MATRICES

SHAPES = [(3, 32, 32), (1, 28, 28), (3, 20, 27)]
ROUNDED = {"Brightness", "Color", "Contrast", "Sharpness"}
THEIRS = v2.AutoAugment()


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def torchvisions(image: torch.Tensor, name: str, magnitude: float) -> torch.Tensor:
    nearest = v2.InterpolationMode.NEAREST
    changed: torch.Tensor = THEIRS._apply_image_or_video_transform(
        image, name, magnitude, nearest, {torch.Tensor: None}
    )
    return changed


def magnitude_of(name: str, index: int, sign: int, shape: tuple[int, int, int]) -> float:
    magnitudes, signed = THEIRS._AUGMENTATION_SPACE[name]
    values = magnitudes(10, *shape[1:])
    return 0.0 if values is None else float(values[index]) * (sign if signed else 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_to_each_image_what_torchvision_does_to_one(name: str, shape: tuple[int, int, int]) -> None:
    drawn = [(index, sign) for index in range(10) for sign in (1, -1)]
    images = noise(len(drawn), *shape)
    given = torch.tensor([parameters(name, *choice, shape) for choice in drawn], dtype=torch.float64)
    changed = OPERATIONS[name](images, given[:, :, None, None])
    assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)
    for image, ours, choice in zip(images, changed, drawn, strict=True):
        magnitude = magnitude_of(name, *choice, shape)
        # A place in the middle of two pixels is rounded to either of them.
        nudges = (1, 1 - 1e-4, 1 + 1e-4) if name in MATRICES else (1,)
        expected = torch.stack([torchvisions(image, name, magnitude * nudge) for nudge in nudges])
        apart = (ours.int() - expected.int()).abs().amin(dim=0)
        assert apart.max() <= (name in ROUNDED)


def test_extreme_images_stay_in_range() -> None:
    levels = torch.tensor([0, 1, 254, 255], dtype=torch.uint8).view(-1, 1, 1, 1)
    images = levels.expand(-1, 3, 8, 8).contiguous()
    for name, operation in OPERATIONS.items():
        given = torch.tensor([parameters(name, 9, 1, (3, 8, 8))] * 4, dtype=torch.float64)[:, :, None, None]
        expected = torch.stack([torchvisions(image, name, magnitude_of(name, 9, 1, (3, 8, 8))) for image in images])
        assert (operation(images, given).int() - expected.int()).abs().max() <= (name in ROUNDED)


@pytest.mark.parametrize("policy", ["cifar10", "imagenet", "svhn"])
def test_operations_are_drawn_as_often_as_the_policy_says(policy: str) -> None:
    augment, count = AutoAugment(policy, (3, 8, 8)), 20_000
    seen: Counter[tuple[Operation, tuple[float, ...]]] = Counter()

    def counting(operation: Operation) -> Operation:
        def count_only(images: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
            seen.update((operation, tuple(row)) for row in given[:, :, 0, 0].tolist())
            return images

        return count_only

    augment.operations = [counting(operation) for operation in augment.operations]
    augment(torch.zeros(count, 3, 8, 8, dtype=torch.uint8), torch.arange(count))
    expected: Counter[tuple[Operation, tuple[float, ...]]] = Counter()
    pairs = v2.AutoAugment(v2.AutoAugmentPolicy(policy))._policies
    for name, probability, index in [step for pair in pairs for step in pair]:
        for sign in (1, -1):
            given = parameters(name, index, sign, (3, 8, 8))
            expected[OPERATIONS[name], given] += probability * count / len(pairs) / 2
    expected = Counter({choice: number for choice, number in expected.items() if number})
    assert seen.keys() == expected.keys()
    assert all(abs(seen[choice] - number) < 5 * number**0.5 for choice, number in expected.items())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("policy", ["cifar10", "imagenet", "svhn"])
def test_an_image_is_changed_by_its_seed_alone(policy: str, shape: tuple[int, int, int]) -> None:
    images, seeds = noise(100, *shape), torch.arange(100) * 12345
    augment, original = AutoAugment(policy, shape), images.clone()
    whole = augment(images, seeds)
    assert torch.equal(images, original)
    alone = [augment(image[None], seed[None]) for image, seed in zip(images, seeds, strict=True)]
    assert torch.equal(torch.cat(alone), whole)
    turned = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augment(images[turned], seeds[turned]), whole[turned])
    assert not torch.equal(augment(images, seeds + 1), whole)

"""Random numbers of an image from its seed alone, so that they depend neither on its batch nor on the process."""

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014), as signed integers.
GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
FIRST, SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


class Draws:
    """A generator for each of N `seeds` (int64), all of them advanced together, on the device of the seeds."""

    def __init__(self, seeds: Tensor) -> None:
        self.state = seeds

    def bits(self, count: int) -> Tensor:
        """N×count times 64 random bits, int64: the next `count` of each generator."""
        states = self.state[:, None] + GOLDEN_GAMMA * torch.arange(1, count + 1, device=self.state.device)
        self.state = states[:, -1]
        return mixed(states)

    def uniforms(self, count: int) -> Tensor:
        """N×count numbers in [0, 1), float32: 24 bits, all that it holds."""
        return shifted_right(self.bits(count), 40).to(torch.float32) / 2**24

    def uniform(self) -> Tensor:
        """N numbers in [0, 1), float32."""
        return self.uniforms(1)[:, 0]

    def integers(self, upper: int | Tensor) -> Tensor:
        """N integers in [0, upper), int64; `upper` is at most 2²⁴."""
        return (self.uniform().double() * upper).long()


def mixed(x: Tensor) -> Tensor:
    """64 bits, each of which depends on all of those of `x`."""
    x = (x ^ shifted_right(x, 30)) * FIRST
    x = (x ^ shifted_right(x, 27)) * SECOND
    return x ^ shifted_right(x, 31)


def shifted_right(x: Tensor, count: int) -> Tensor:
    """Zeros come in from the left, whatever the sign."""
    return (x >> count) & ((1 << (64 - count)) - 1)

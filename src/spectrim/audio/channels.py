"""From several channels to one: their mean, one of them, or the loudest."""

from __future__ import annotations

import warnings
from typing import TypeAlias

import numpy as np

from ..common.errors import SpectrimError, SpectrimNotice

Channel: TypeAlias = int | str
"""A channel from 0, "mix" (the mean of all) or "loudest" (the one with the highest RMS)."""

MIX, LOUDEST = "mix", "loudest"
# A sound in one of two channels keeps a quarter of its energy in the mean.
LOST = 0.26  # energy of the mean relative to the loudest channel


def check_channel(channel: Channel) -> Channel:
    """A channel as an argument or option gives it: "3" becomes 3.

    Raises:
        SpectrimError: none of "mix", "loudest" and the integers from 0.
    """
    if isinstance(channel, str) and channel.isascii() and channel.isdecimal():
        return int(channel)
    is_number = isinstance(channel, int) and not isinstance(channel, bool) and channel >= 0
    if not is_number and channel not in (MIX, LOUDEST):
        raise SpectrimError(
            f"a channel of {channel!r}; expected 'mix', 'loudest' or a number from 0."
        )
    return channel


class Mixer:
    """Reduces the blocks of one sound to one channel, and reports what averaging loses.

    Args:
        name: of the sound.
        channel: an index from 0, or "mix".
    """

    def __init__(self, name: str, channel: Channel) -> None:
        self.name, self.channel = name, channel
        self._energies = np.zeros(0)  # of the channels
        self._mixed_energy = 0.0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """(samples,) or (samples, channels) to (samples,).

        Raises:
            SpectrimError: the sound lacks the channel.
        """
        block = block[:, None] if block.ndim == 1 else block
        if isinstance(self.channel, int):
            if self.channel >= block.shape[1]:
                raise SpectrimError(
                    f"{self.name}: no channel {self.channel}; it has {block.shape[1]}, which count "
                    "from 0."
                )
            return block[:, self.channel]
        if block.shape[1] == 1:
            return block[:, 0]
        mono: np.ndarray = block.mean(1)
        if len(self._energies) != block.shape[1]:  # the first block, or another stream
            self._energies, self._mixed_energy = np.zeros(block.shape[1]), 0.0
        self._energies += energies(block)
        self._mixed_energy += float(energies(mono[:, None])[0])
        return mono

    def report(self) -> None:
        """Give a notice if the mean has lost most of the energy of the loudest channel."""
        loudest = self._energies.max(initial=0.0)
        if self._mixed_energy < LOST * loudest:
            count, index = len(self._energies), int(self._energies.argmax())
            text = (
                f"{self.name}: the mean of its {count} channels keeps "
                f"{self._mixed_energy / loudest:.1%} of the energy of channel {index}. Choose one "
                "with --channel (in Python, channel=): a number from 0, or 'loudest'."
            )
            warnings.warn(SpectrimNotice(text), stacklevel=5)


def energies(block: np.ndarray) -> np.ndarray:
    """(samples, channels) to (channels,) sums of squares, float64; without values too large."""
    block = np.where(np.abs(block) < 2.0**32, block, 0.0)  # the decoder refuses these
    sums: np.ndarray = np.einsum("sc,sc->c", block, block, dtype=np.float64)
    return sums

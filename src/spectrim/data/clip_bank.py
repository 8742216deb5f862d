"""Decoded clips in one tensor, so that a batch of them is gathered without a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..audio.constants import SAMPLE_RATE
from ..common.errors import SpectrimError
from .cache import CacheError

CHUNK = 64 * SAMPLE_RATE * 60  # samples that are copied to a device at a time: an hour, 246 MB
BYTES = 4  # of a sample: float32. float16 would put rounding noise into silent frequency bands
BUDGET = 0.25  # fraction of the free memory that the clips of a run may take


@dataclass(frozen=True)
class ClipBank:
    """Decoded clips, or some clips of a list.

    Attributes:
        samples: (total,) float32: the clips one after the other; for Kaldi's features, each
            without its mean.
        starts, lengths: (clips,) first sample and number of samples of each; a clip that could
            not be read has the length 0.
        positions: (clips,) ascending positions in the list; None: all clips of the list.
        failures: position and message of each clip that could not be read.
    """

    samples: Tensor
    starts: Tensor
    lengths: Tensor
    positions: Tensor | None
    failures: dict[int, str]

    def rows(self, positions: Tensor) -> Tensor:
        """Rows of the clips at these positions of the list, in any shape."""
        if self.positions is None:
            return positions
        return torch.searchsorted(self.positions, positions.contiguous())


def clip_bank(
    decoded: Iterable[np.ndarray | SpectrimError],
    device: torch.device,
    positions: np.ndarray | None = None,
    subtract_mean: bool = True,
) -> ClipBank:
    """Copy decoded clips to a device, an hour of audio at a time.

    Args:
        decoded: (samples,) float32 of each clip, or the reason why it could not be read.
        positions: as in `ClipBank`; the order of `decoded`.
        subtract_mean: whether to subtract each clip's mean, so that clips that are joined or mixed
            have none either; see `FrontEnd.subtracts_mean`.
    """
    chunks: list[Tensor] = []
    waiting: list[np.ndarray] = []
    lengths: list[int] = []
    failures: dict[int, str] = {}

    def copy() -> None:
        if waiting:
            chunks.append(copied_to(torch.from_numpy(np.concatenate(waiting)), device))
            waiting.clear()

    size = 0
    for row, waveform in enumerate(decoded):
        if isinstance(waveform, SpectrimError):
            failures[row if positions is None else int(positions[row])] = str(waveform)
            lengths.append(0)
            continue
        lengths.append(len(waveform))
        waiting.append(waveform - waveform.mean() if subtract_mean else waveform)
        size += len(waveform)
        if size > CHUNK:
            copy()
            size = 0
    copy()
    samples = torch.cat(chunks) if chunks else torch.zeros(1, device=device)
    counts = torch.tensor(lengths, dtype=torch.long)
    return ClipBank(
        samples,
        copied_to(counts.cumsum(0) - counts, device),
        copied_to(counts, device),
        None if positions is None else copied_to(torch.from_numpy(positions), device),
        failures,
    )


def decoded(
    load: Callable[[int], np.ndarray], positions: Sequence[int], pool: ThreadPoolExecutor
) -> Iterator[np.ndarray | SpectrimError]:
    """Decode clips in the threads of a pool, in order; an unreadable clip gives its error."""

    def one(position: int) -> np.ndarray | SpectrimError:
        try:
            return load(position)
        except CacheError:
            raise
        except SpectrimError as error:
            return error

    return pool.map(one, positions)


def copied_to(values: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; to a GPU from pinned memory, without waiting for the device."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def fits(
    clips: int, seconds: float, device: torch.device, processes: int = 1, rate: int = SAMPLE_RATE
) -> bool:
    """Whether clips of at most this length take less than `BUDGET` of the free memory.

    Args:
        processes: number of processes of this run that share the memory of a CPU.
        rate: samples per second.
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        import psutil  # comes with accelerate

        free = psutil.virtual_memory().available // processes
    return clips * seconds * rate * BYTES <= BUDGET * free

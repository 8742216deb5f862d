"""Accelerate's set-up: device, precision, and the attention kernel that trains faster."""

from __future__ import annotations

import contextlib

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from torch.nn.attention import SDPBackend, sdpa_kernel

from .recipe import RunPart

# Up to this many patches, plain products train faster: benchmarks/training_attention.py.
PLAIN_KERNEL_PATCHES = 128


def on_cpu(run: RunPart) -> bool:
    """Whether a run computes on the CPU, by its recipe or because there is no GPU."""
    return run.device == "cpu" or not torch.cuda.is_available()


def engine(run: RunPart, find_unused: bool = False) -> Accelerator:
    """Accelerate for one process, or for those that `accelerate launch` or torchrun started.

    Args:
        find_unused: some parameters may have no gradient, for example those of a learned score.
    """
    cpu, precision = on_cpu(run), run.precision
    if cpu:
        precision = "bf16" if precision == "bf16" else "no"
    elif precision == "auto":
        precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # Accelerate keeps device and precision in a state that all `Accelerator` objects of a process
    # share: a second one with another precision is refused. `spectrim grid` trains one run after
    # the other in a process, so the state of the last run is dropped first. `_shared_state` is
    # empty until an Accelerator exists. With several processes the state also holds their process
    # group, which must survive; a launcher starts one run only, so nothing has to be dropped.
    if AcceleratorState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    wrapper = DistributedDataParallelKwargs(find_unused_parameters=find_unused)
    return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[wrapper])


def slow_bf16(device: torch.device, precision: str) -> str | None:
    """A note if bf16 is emulated, on a CPU without instructions for it; otherwise None."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.type != "cpu" or precision != "bf16" or not capabilities:
        return None
    if any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16")):
        return None
    if capabilities.get("architecture") != "x86_64":
        return None
    return (
        "trains in bf16, for which this CPU has no instructions (amx_bf16, avx512_bf16). "
        "run.precision=no is many times faster here."
    )


def attention_kernel(
    device: torch.device, patches: int, precision: str
) -> contextlib.AbstractContextManager[object]:
    """A context in which attention is computed by the kernel that trains faster.

    On a CPU in bf16, short clips train 1.2 to 1.5 times faster with plain products than with the
    fused kernel. In float32, and for long clips, the fused kernel is faster. On other devices
    PyTorch chooses.

    Args:
        device: of the training.
        patches: per clip.
        precision: "bf16", or any other.
    """
    if device.type == "cpu" and precision == "bf16" and patches <= PLAIN_KERNEL_PATCHES:
        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()

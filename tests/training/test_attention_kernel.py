"""The plain kernel gives what the fused one gives, and only short clips on a CPU get it."""

from __future__ import annotations

import pytest
import torch

from spectrim import create
from spectrim.training.engine import attention_kernel


def gradients(model, batch, patches):
    model.zero_grad()
    with attention_kernel(torch.device("cpu"), patches, "bf16"):
        used = torch.backends.cuda.flash_sdp_enabled()
        model(batch).square().mean().backward()
    return used, torch.cat(
        [part.grad.flatten() for part in model.parameters() if part.requires_grad]
    )


@pytest.mark.parametrize("preset", ["ast-tiny", "audiomae-tiny"])
def test_short_clips_get_the_plain_kernel_and_the_same_gradients(preset):
    torch.manual_seed(0)
    model, batch = create(preset, frames=128), torch.randn(2, 128, 128)
    (plain_is_fused, plain), (fused_is_fused, fused) = (
        gradients(model, batch, patches) for patches in (64, 10_000)
    )
    assert (plain_is_fused, fused_is_fused) == (False, True)
    assert (plain - fused).abs().max() <= 1e-5 * fused.abs().max()
    assert torch.backends.cuda.flash_sdp_enabled(), "as it was before"


@pytest.mark.parametrize("device, precision", [("cuda", "bf16"), ("cpu", "no")])
def test_elsewhere_pytorch_chooses(device, precision):
    with attention_kernel(torch.device(device), 64, precision):
        assert torch.backends.cuda.flash_sdp_enabled()

"""The attention that patches receive, by every way to compute it, against float64.

Without a GPU, Triton's interpreter runs the kernels, where triton is installed.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch

from cuda_graphs import replayed_logits
from spectrim.pruning import attention
from spectrim.pruning.attention import (
    Attention,
    class_row,
    explicit_attention,
    received_by_kernel,
)
from spectrim.pruning.tokens import Tokens

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CASES = [  # heads, tokens, width of a head, prefix tokens, whether sizes and presence differ
    (3, 70, 64, 1, False),
    (2, 133, 24, 2, True),
    (1, 65, 16, 0, True),
    (2, 129, 64, 1, False),
]


def triton_or_skip():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed; PyTorch's CUDA wheels bring it along")


def inputs(case, dtype=torch.float32):
    heads, count, width, prefix, uneven = case
    torch.manual_seed(count)
    batch, patches = 2, count - prefix
    # As a block makes them: one tensor of which q, k and v are views, spread like real logits.
    qkv = torch.randn(batch, count, 3, heads, width, device=DEVICE) * 2
    q, k, v = qkv.to(dtype).permute(2, 0, 3, 1, 4)
    sizes = present = None
    if uneven:
        sizes = torch.randint(1, 9, (batch, patches), device=DEVICE).float()
        present = torch.rand(batch, patches, device=DEVICE) < 0.7
        present[:, 0] = True
        present[1, patches // 2 :] = False  # whole tiles without a present key
    origin = torch.arange(patches, device=DEVICE).expand(batch, -1)
    x = torch.zeros(batch, count, 1, dtype=dtype, device=DEVICE)
    tokens = Tokens(x, prefix, origin, sizes=sizes, present=present)
    return Attention(q, k, v, tokens.bias()), tokens


def definition(a, tokens):
    """Eq. 2a over the whole map in float64."""
    prefix = tokens.num_prefix_tokens
    logits = a.q.double() @ a.k.double().transpose(2, 3) / a.q.shape[-1] ** 0.5
    weights = (logits if a.bias is None else logits + a.bias.double()).softmax(-1)
    mixed = weights @ a.v.double()
    patches = weights[:, :, prefix:, prefix:]
    counts = torch.full((len(patches), 1), tokens.count, device=DEVICE)
    if tokens.present is not None:
        patches = patches * tokens.present[:, None, :, None]
        counts = tokens.present.sum(1, keepdim=True)
    return mixed, patches.sum(2).mean(1) / counts


@pytest.fixture(params=["map", "kernels"])
def way(request, monkeypatch):
    if request.param == "kernels":
        triton_or_skip()
    use = request.param == "kernels"
    monkeypatch.setattr(attention, "_has_kernel", lambda a: use)
    return request.param


@pytest.mark.parametrize("case", CASES)
def test_output_and_received_attention_are_the_definition(way, case):
    a, tokens = inputs(case)
    mixed, received = explicit_attention(a, tokens)
    expected_mixed, expected = definition(a, tokens)
    assert received.dtype == torch.float32
    torch.testing.assert_close(received.double(), expected, rtol=2e-5, atol=1e-8)
    torch.testing.assert_close(mixed.double(), expected_mixed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case[3]])
def test_class_row_is_the_first_row_of_the_map(way, case):
    a, tokens = inputs(case)
    logits = a.q.double() @ a.k.double().transpose(2, 3) / a.q.shape[-1] ** 0.5
    weights = (logits if a.bias is None else logits + a.bias.double()).softmax(-1)
    expected = weights[:, :, 0, tokens.num_prefix_tokens :].mean(1)
    row = class_row(a, tokens)
    assert row.dtype == torch.float32
    torch.testing.assert_close(row.double(), expected, rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_kernels_round_no_weight_in_half_precision(dtype):
    triton_or_skip()
    if DEVICE == "cpu" and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter computes no products of bfloat16")
    a, tokens = inputs(CASES[0], dtype)
    received = received_by_kernel(a.q[:, :, 1:], a.k, None, None, 1)
    _, expected = definition(a, tokens)  # from the same rounded q and k
    torch.testing.assert_close(received.double(), expected, rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("case", [CASES[1], CASES[3]])
def test_gradients_of_the_kernels_are_those_of_the_definition(case):
    triton_or_skip()
    a, tokens = inputs(case)
    prefix = tokens.num_prefix_tokens
    q, k = (tensor.detach().clone().requires_grad_() for tensor in (a.q, a.k))
    pull = torch.randn(2, tokens.count, device=DEVICE)
    received = received_by_kernel(q[:, :, prefix:], k, a.bias, tokens.present, prefix)
    (received * pull).sum().backward()
    exact = [leaf.detach().double().requires_grad_() for leaf in (q, k)]
    _, expected = definition(Attention(*exact, a.v, a.bias), tokens)
    (expected * pull.double()).sum().backward()
    for leaf, reference in zip((q, k), exact, strict=True):
        scale = float(reference.grad.abs().max())
        torch.testing.assert_close(leaf.grad.double(), reference.grad, rtol=0, atol=1e-5 * scale)


def test_kernels_are_an_operator_that_compilers_accept():
    triton_or_skip()
    a, tokens = inputs(CASES[1])
    queries = a.q[:, :, 2:].clone().requires_grad_()
    arguments = (queries, a.k, a.bias[:, 0, 0], tokens.present, 2)
    torch.library.opcheck(
        attention._operator,
        arguments,
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )
    compiled = torch.compile(received_by_kernel, fullgraph=True, backend="aot_eager")
    arguments = (queries, a.k, a.bias, tokens.present, 2)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*arguments), received_by_kernel(*arguments))


@pytest.mark.gpu
@pytest.mark.parametrize("score", ["attention", "random", "variation"])
@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_no_synchronisation_and_a_graph_gives_the_same_bits(make, family, score):
    import copy

    import spectrim

    model = spectrim.prune(copy.deepcopy(make(family)).cuda(), 0.5, score)
    features = torch.randn(3, 128, 128, device="cuda")
    valid = torch.tensor([128, 60, 20], device="cuda")
    with torch.inference_mode():
        expected = model(features, valid)
        logits = replayed_logits(model, features, valid)
        assert torch.equal(logits, expected)
        cpu = copy.deepcopy(model).cpu()(features.cpu(), valid.cpu())
    torch.testing.assert_close(logits.cpu(), cpu, rtol=1e-3, atol=1e-3)

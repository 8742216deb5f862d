"""Products in full float32 while PyTorch may use TF32 or bfloat16."""

from __future__ import annotations

import pytest
import torch

from spectrim.audio import precision
from spectrim.audio.precision import _in_pieces, _is_reduced, _pieces, float32_product


@pytest.fixture
def settings():
    """PyTorch's precision settings are put back after the test."""
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.fp32_precision = "none"


def factors():
    """A loud and a quiet part: small results are differences of large terms."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(64, 200, generator=generator) * torch.logspace(-6, 2, 200)
    matrix = torch.randn(200, 96, generator=generator)
    return values, matrix


def test_pieces_are_short_and_add_up_exactly():
    values = torch.cat([factors()[0].flatten(), torch.tensor([0.0, -0.0, 1e-30, -3e38])])
    pieces = _pieces(values)
    assert torch.equal(sum(piece.double() for piece in pieces), values.double())
    for piece in pieces:
        assert torch.equal(piece.bfloat16().float(), piece)


def test_sum_over_pieces_is_as_exact_as_float32():
    values, matrix = factors()
    exact = values.double() @ matrix.double()
    scale = values.abs().double() @ matrix.abs().double()
    error = ((_in_pieces(values, matrix) - exact).abs() / scale).max()
    assert error < 3e-7
    coarse = values.bfloat16().double() @ matrix.bfloat16().double()
    assert ((coarse - exact).abs() / scale).max() > 1e-4  # what the pieces avoid


@pytest.mark.parametrize(("name", "reduced"), [("highest", False), ("high", True)])
def test_the_setting_decides(settings, name, reduced):
    torch.set_float32_matmul_precision(name)
    assert _is_reduced("cuda") is reduced
    assert not _is_reduced("mps")


def test_newer_settings_are_read_too(settings):
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    assert _is_reduced("cuda") and not _is_reduced("cpu")
    torch.backends.cuda.matmul.fp32_precision = "none"
    torch.backends.fp32_precision = "tf32"
    assert _is_reduced("cuda")


def test_other_dtypes_are_plain_products(monkeypatch):
    monkeypatch.setattr(precision, "_is_reduced", lambda device_type: True)
    values, matrix = factors()
    half = float32_product(values.double(), matrix.double())
    assert torch.equal(half, values.double() @ matrix.double())


@pytest.mark.parametrize("reduced", [False, True])
def test_compiled_products_follow_the_setting_when_they_run(monkeypatch, reduced):
    monkeypatch.setattr(precision, "_is_reduced", lambda device_type: False)
    values, matrix = (factor.requires_grad_() for factor in factors())
    compiled = torch.compile(float32_product, fullgraph=True, backend="aot_eager")
    compiled(values, matrix)
    monkeypatch.setattr(precision, "_is_reduced", lambda device_type: reduced)
    expected = _in_pieces(values, matrix) if reduced else values @ matrix
    assert torch.equal(compiled(values, matrix), expected)
    pull = torch.randn(64, 96)
    gradients = torch.autograd.grad((compiled(values, matrix) * pull).sum(), (values, matrix))
    plain = torch.autograd.grad((values @ matrix * pull).sum(), (values, matrix))
    for ours, theirs in zip(gradients, plain, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_an_exported_product_is_an_ordinary_one():
    class Product(torch.nn.Module):
        def forward(self, values, matrix):
            return float32_product(values, matrix)

    graph = torch.export.export(Product(), factors()).graph
    targets = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert targets == ["aten.matmul.default"]


@pytest.mark.gpu
def test_features_do_not_depend_on_tf32(settings):
    import spectrim

    model = spectrim.create("ast-tiny", frames=64)
    time = torch.arange(16_000) / 16_000
    sound = 0.3 * torch.sin(2 * torch.pi * 30 * time) + 1e-3 * torch.randn(4, 16_000)
    lengths = torch.full((4,), 16_000)
    expected, _ = model.features_from_batch(sound, lengths)
    model = model.to("cuda")
    torch.set_float32_matmul_precision("high")
    features, _ = model.features_from_batch(sound.cuda(), lengths.cuda())
    torch.testing.assert_close(features.cpu(), expected, rtol=0, atol=2e-4)
    with torch.no_grad():
        exact = model.cpu().tokenize(expected).x
        tokens = model.cuda().tokenize(expected.cuda()).x
    torch.testing.assert_close(tokens.cpu(), exact, rtol=1e-5, atol=1e-5)

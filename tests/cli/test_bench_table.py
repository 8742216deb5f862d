"""The table of `spectrim bench` fits 100 columns with a reference, int8 and memory."""

from __future__ import annotations

from spectrim.cli import tables
from spectrim.cli.bench import _print


def test_every_column_fits_100_columns(monkeypatch, capsys):
    monkeypatch.setattr(tables, "terminal_width", lambda: 100)
    row = {"backend": "onnxruntime", "quantization": "int8", "keep_rate": 0.5, "batch_size": 16,
           "ms_per_clip": 1234.5, "speedup": 12.34, "speedup_quartiles": [12.1, 12.5],
           "speedup_against": 12.34, "mac_ratio": 12.34, "share_of_machine": 0.5,
           "peak_mb": 12345.0}  # fmt: skip
    stages = [{"at": 0, "score": "intensity", "reduction": "segments", "keep_rate": rate}
              for rate in (0.5, 0.4)]  # fmt: skip
    plan = {"version": 2, "seed": 0, "stages": [stages[0], stages[1] | {"at": 1}]}
    recommended = row | {"keep_rate": None, "recommended": True, "plan": plan}
    result = {"rows": [row, recommended], "against": "transformers", "model": "ast-base",
              "frames": 1024, "timed": "waveforms to probabilities", "dtype": "float32",
              "device": "cpu",
              "threads": 8, "versions": {"processor": "a processor", "torch": "2"},
              "machine_gmac_per_s": 123.4, "machine_product": 4096,
              "stages": [{"stage": "decoding", "ms_per_clip": 1.5, "batch_size": 1}]}  # fmt: skip
    monkeypatch.setattr(
        "spectrim.models.provenance.machine_of", lambda result: "8 threads of a CPU"
    )
    _print(result)
    printed = capsys.readouterr().out
    assert "Not shown" not in printed and "…" not in printed and "vs ref." in printed
    assert " rec. " in printed and " 0.5 " in printed
    assert "rec.: the recommended plan, segments, intensity several." in printed
    assert all(len(line) <= 100 for line in printed.splitlines())
    # Interrupted early: the matrix product and the stages were not timed.
    for early in result["rows"]:
        early |= {"share_of_machine": None, "speedup_against": None, "peak_mb": None}
    _print(result | {"stages": [], "machine_gmac_per_s": None})
    printed = capsys.readouterr().out
    assert "not timed (a" in printed and "stage" not in printed

"""What results say of the machine that made them."""

from __future__ import annotations

import torch

from spectrim.models.provenance import machine_of, versions


def test_a_result_names_the_gpus_that_it_was_made_on_and_no_idle_ones(monkeypatch):
    alone = versions()
    assert "gpu" not in alone and alone["processor"]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    names = ["NVIDIA H100", "NVIDIA H100", "NVIDIA L4"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda at: names[at])
    found = versions()
    assert found == alone | {"gpu": "NVIDIA H100, NVIDIA L4"}
    record = {"device": "cuda:0", "threads": 2, "versions": found}
    assert machine_of(record) == "NVIDIA H100, NVIDIA L4"
    assert machine_of(record | {"device": "cpu"}) == f"{alone['processor']}, 2 thread(s)"
    assert machine_of({"threads": 2, "versions": alone}) == f"{alone['processor']}, 2 thread(s)"
    assert machine_of(record | {"device": "mps", "versions": alone}) == "mps"

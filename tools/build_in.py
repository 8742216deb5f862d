"""Make a trained model a built-in one: half precision, its accuracy on held-out clips, card.json.

    python tools/build_in.py RUN/last NAME --data manifests/esc10.csv --fold 5 \\
        --task "..." --licence "..." --held-out "..."

Writes src/spectrim/assets/models/NAME/ (config.json, model.safetensors, card.json) and prints the
accuracies for its README.md, which a person writes. Weights are committed once, when final: git
remembers every version.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import spectrim
from spectrim.common.files import save_json
from spectrim.data.manifest import read_data
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.predict import predict
from spectrim.metrics.classification import indicator, metric

MODELS = Path(__file__).resolve().parents[1] / "src" / "spectrim" / "assets" / "models"
RATES = (1.0, 0.7, 0.5)
SCORES = ("attention", "intensity", "variation")


def main() -> None:
    """Convert, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a model that training wrote")
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold")
    parser.add_argument("--split")
    parser.add_argument("--task", required=True)
    parser.add_argument("--licence", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = MODELS / args.name
    spectrim.load(args.run).with_plan(spectrim.Plan()).half().save(folder)  # its plan is rate 1.0
    model = spectrim.load(str(folder))  # as users will have it
    clips = read_data(args.data).select(args.split, args.fold).clips
    variants = [
        TorchRunner(spectrim.prune(model, rate, score=score) if rate < 1 else model)
        for score in SCORES
        for rate in RATES
    ]
    found = predict(variants, clips, 16)
    truth = indicator(
        [[model.labels.index(label) for label in clips[at].labels] for at in found.positions],
        len(model.labels),
    )
    values = [
        metric("accuracy", torch.cat([torch.from_numpy(p) for p in parts]).numpy(), truth)
        for parts in found.outputs
    ]
    for at, score in enumerate(SCORES):
        own = [f"{100 * value:.1f}" for value in values[3 * at : 3 * at + 3]]
        print(f"| {args.held_out}, {score} | {' | '.join(own)} |")
    accuracy = {
        str(rate): round(100 * value, 1) for rate, value in zip(RATES, values[:3], strict=True)
    }
    save_json(
        folder / "card.json",
        {
            "task": args.task,
            "licence": args.licence,
            "held_out": args.held_out,
            "accuracy": accuracy,
        },
    )


if __name__ == "__main__":
    main()

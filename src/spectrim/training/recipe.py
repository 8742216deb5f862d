"""Recipes: every value of a training run, as typed data that a YAML file fills.

The range or the choices of a value stand on its field; `values.check_values` enforces them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..common.values import Range, number, one_of

# Load options a recipe may give: keyword arguments of `spectrim.load`. Length, device and dtype
# follow from the task and the run.
LOAD_OPTIONS = (
    *("stride", "mean", "std", "padding", "labels", "activation", "metric", "heads", "pool"),
    "trust_code",
)


@dataclass
class ModelPart:
    """The network.

    Attributes:
        preset: size and family of a model with random weights, such as "ast-tiny"; unused
            with `init`.
        frames: clip length in frames (10 ms; MAEST: 16 ms); null: the length that holds 95 % of
            the training clips.
        stride: of the patches; null: 16, or the stride of `init`.
        mean, std: of the log-mel features; null: measured on the training clips.
        padding: value after the end of a clip: "minimum" or "zero".
        drop_path: rate of the last block, growing linearly from 0 in the first.
        fresh_head: replace the head of `init`; null: only if the classes differ.
        head_std: standard deviation of a fresh head's truncated normal distribution.
    """

    preset: str = "ast-base"
    frames: int | None = number(None, least=1)
    stride: int | None = number(None, least=1)
    mean: float | None = None
    std: float | None = number(None, above=0)
    padding: str = one_of("minimum", "zero")
    drop_path: float = number(0.0, least=0, below=1)
    fresh_head: bool | None = None
    head_std: float = number(0.02, least=0)


@dataclass
class DataPart:
    """The clips.

    Attributes:
        manifest: one path or several, relative to the working directory.
        valid_manifest, test_manifest: one or several manifests whose rows all belong to that
            split, for corpora with one file per split. Null: `manifest` holds these rows too.
        train_split, valid_split, test_split: names in the column `split`.
        test_fold: fold of the test clips; all other folds are trained on.
        valid_fold: fold that chooses the best epoch; it is not trained on.
        holdout: fraction of the training clips of each class that is held out to choose the
            best epoch.
        labels: class names in the order of the logits, "audioset", or a file with one name per
            line; null: all labels of the training clips, sorted.
        channel: of every clip: a number from 0, "mix" (the mean of all) or "loudest".
        cache: folder of decoded waveforms, such as a RAM disk; null: in the run's folder.
        workers: decoding threads.
        on_device: decode all training clips once into the memory of the training device; null:
            if they fit. Otherwise threads decode them, or read the cache, in every epoch. The
            result is the same.
    """

    manifest: Any = "???"
    valid_manifest: Any = None
    test_manifest: Any = None
    train_split: str = "train"
    valid_split: str = "valid"
    test_split: str = "test"
    test_fold: str | None = None
    valid_fold: str | None = None
    holdout: float = number(0.0, least=0, below=1)
    labels: Any = None
    channel: str = "mix"
    cache: str | None = None
    workers: int = number(2, least=1)
    on_device: bool | None = None


@dataclass
class AugmentPart:
    """Random changes of a training clip.

    Attributes:
        roll: rotate the waveform by a random number of samples.
        gain: multiply it by Beta(10, 10) + 0.5.
        mixup: fraction of clips that are mixed with another one.
        mixup_alpha: both parameters of the Beta distribution of the mixing ratio.
        spec_time, spec_frequency: maximum widths of SpecAugment's masks, in frames and mel bins.
        noise: maximum amplitude of uniform noise on the normalised features.
        shift: maximum rotation of the features, in frames.
        token_columns, token_rows: fraction of time columns and frequency rows of patches to
            keep, drawn again for each clip and epoch.
        join: fill the network's window with further random clips. Only for pre-training, because
            labels are not joined.

    SpecAugment and token masking end when pruning starts.
    """

    roll: bool = False
    gain: bool = False
    mixup: float = number(0.0, least=0, most=1)
    mixup_alpha: float = number(10.0, above=0)
    spec_time: int = number(0, least=0)
    spec_frequency: int = number(0, least=0)
    noise: float = number(0.0, least=0)
    shift: int = number(0, least=0)
    token_columns: float = number(1.0, least=0, most=1)
    token_rows: float = number(1.0, least=0, most=1)
    join: bool = False


@dataclass
class OptimPart:
    """Optimiser and learning rate.

    Attributes:
        name: "adamw", or "adam", whose weight decay is an L2 term of the gradient.
        lr: peak learning rate. Alternatively base_lr: for 256 clips, scaled by the batch size.
        batch_size: total over all processes.
        betas, weight_decay: of the optimiser.
        decay_all: also decay biases, norms, prefix tokens and positions.
        layer_decay: factor of the learning rate from each layer to the one below it.
        schedule: "cosine" (to `min_lr`), "step" (times `step_factor` after `step_start` epochs
            and again after every `step_every`) or "constant".
        warmup_epochs: the rate grows from 0 for this many epochs. Alternatively warmup_steps:
            for this many steps, changing every `warmup_every` steps.
        clip: maximum norm of the gradient; null: no limit.
    """

    name: str = one_of("adamw", "adam")
    lr: float | None = number(None, above=0)
    base_lr: float | None = number(None, above=0)
    batch_size: int = number(32, least=1)
    betas: list[float] = field(
        default_factory=lambda: [0.9, 0.999],
        metadata={"range": Range(least=0, below=1), "length": 2},
    )
    weight_decay: float = number(0.0, least=0)
    decay_all: bool = False
    layer_decay: float = number(1.0, above=0)
    schedule: str = one_of("cosine", "step", "constant")
    min_lr: float = number(0.0, least=0)
    step_start: int = number(1, least=1)
    step_every: int = number(1, least=1)
    step_factor: float = number(1.0, least=0)
    warmup_epochs: float = number(0.0, least=0)
    warmup_steps: int = number(0, least=0)
    warmup_every: int = number(1, least=1)
    clip: float | None = number(None, above=0)


@dataclass
class RunPart:
    """How the run computes. Apart from rounding, none of these values changes the result.

    Attributes:
        precision: "auto" (on a GPU bf16 if supported, otherwise fp16), "no", "bf16" or "fp16".
            A CPU uses float32 unless "bf16" is given, which is faster only with AMX.
        device: "auto" or "cpu".
        threads: CPU threads; null: PyTorch's default.
        micro_batch: clips that a process computes at a time; null: its whole part of the batch.
            The gradient is the same, except that model.drop_path draws other residuals.
        save_every: seconds between saved states, in addition to the ends of epochs.
        save_epochs: the state and the model `last/` are saved after every this many epochs, and
            after the last. For epochs of a few seconds.
        tensorboard: write scalars for TensorBoard.
    """

    precision: str = one_of("auto", "no", "bf16", "fp16")
    device: str = one_of("auto", "cpu")
    threads: int | None = number(None, least=1)
    micro_batch: int | None = number(None, least=1)
    save_every: float = number(300.0, least=0)
    save_epochs: int = number(1, least=1)
    tensorboard: bool = True


@dataclass
class SchedulePart:
    """How much is pruned, and when, in epochs counted from 0.

    Attributes:
        start, length: the keep rate is 1.0 until `start` and then falls for `length` epochs; in
            elastic training this is the lowest keep rate.
        masks_end: from `start` on, SpecAugment and token masking are off if patches are pruned, as
            in the paper. "always": also at keep rate 1.0, the control of pruned runs. "never":
            they continue.
        kind: "cosine" trains for `keep_rate`; "elastic" trains for every keep rate from 1.0 to
            `low`. Each step of elastic training has an unpruned pass, a pass at `low`, and passes
            with random plans; see `elastic`. The other keys are for elastic training.
        low: lowest keep rate of a stage.
        high: highest keep rate of a random plan; the rate of each stage is drawn on its own.
        plans: number of random plans in a step.
        scores: the score of a pruned pass is drawn from them; empty: always `score`.
        distil: weight of each pruned pass's divergence from the unpruned pass's probabilities.
        label_weight: weight of each pruned pass's loss with the labels.
        align: weight with which the attention that ranks patches learns from the mean attention
            over all blocks; see `alignment`.
    """

    start: float = number(0.0, least=0)
    length: float = number(0.0, least=0)
    masks_end: str = one_of("pruned", "always", "never")
    kind: str = one_of("cosine", "elastic")
    low: float = number(0.4, above=0, most=1)
    high: float = number(1.0, above=0, most=1)
    plans: int = number(1, least=0)
    scores: list[str] = field(default_factory=list)
    distil: float = number(1.0, least=0)
    label_weight: float = number(0.0, least=0)
    align: float = number(0.0, least=0)


@dataclass
class LossPart:
    """ "bce", "ce", or "auto" (by the labels); `smoothing` of the labels."""

    name: str = one_of("auto", "bce", "ce")
    smoothing: float = number(0.0, least=0, most=1)


@dataclass
class TeacherPart:
    """Distillation from the logits of another model, computed on the same waveforms.

    `weight` is the teacher's fraction of the loss. The logits of both sides are divided by
    `temperature`. `load` holds load options of the teacher, as in `Recipe`.
    """

    model: str | None = None
    load: dict[str, Any] = field(default_factory=dict, metadata={"keys": LOAD_OPTIONS})
    weight: float = number(0.5, least=0, most=1)
    temperature: float = number(1.0, above=0)


@dataclass
class SelectPart:
    """The best epoch.

    Attributes:
        split: "valid", "test" (as in the paper), or "auto": "valid" if there is one.
        from_epoch: first eligible epoch, counted from 0.
        metric: "accuracy", "mAP", or "auto" (by the labels).
        every: evaluate every this many epochs, and after the last.
    """

    split: str = one_of("auto", "valid", "test")
    from_epoch: int = number(0, least=0)
    metric: str = one_of("auto", "accuracy", "mAP")
    every: int = number(1, least=1)


@dataclass
class Recipe:
    """A supervised run, from random weights or from the checkpoint `init`.

    Attributes:
        seed: of the weights, the order of the clips and every random draw.
        epochs: passes over the training clips.
        init: built-in name, hub id, folder or file, as in `spectrim.load`; null: random weights.
        load: load options, for settings that a foreign checkpoint does not store.
        keep_rate, score, reduction, blocks: pruning at the end of the schedule, as arguments of
            `spectrim.prune`; keep rate 1.0 prunes nothing. Elastic training has `schedule.low`
            instead of a keep rate.
    """

    seed: int = number(0, least=0)
    epochs: int = number(30, least=1)
    init: str | None = None
    load: dict[str, Any] = field(default_factory=dict, metadata={"keys": LOAD_OPTIONS})
    keep_rate: float = number(1.0, above=0, most=1)
    score: str = "attention"
    reduction: str = "keep-top"
    blocks: list[Any] = field(default_factory=lambda: [3, 6, 9])
    schedule: SchedulePart = field(default_factory=SchedulePart)
    model: ModelPart = field(default_factory=ModelPart)
    data: DataPart = field(default_factory=DataPart)
    augment: AugmentPart = field(default_factory=AugmentPart)
    optim: OptimPart = field(default_factory=OptimPart)
    loss: LossPart = field(default_factory=LossPart)
    teacher: TeacherPart = field(default_factory=TeacherPart)
    select: SelectPart = field(default_factory=SelectPart)
    run: RunPart = field(default_factory=RunPart)

    @property
    def lowest_keep_rate(self) -> float:
        """The lowest keep rate of the run."""
        return self.schedule.low if self.schedule.kind == "elastic" else self.keep_rate


@dataclass
class PretrainRecipe:
    """Masked auto-encoding of unlabelled audio.

    Attributes:
        seed, epochs, init: as in `Recipe`.
        mask: fraction of patches to reconstruct.
        decoder_width, decoder_depth, decoder_heads: of the transformer that reconstructs them;
            saved models do not contain it.
    """

    seed: int = number(0, least=0)
    epochs: int = number(33, least=1)
    init: str | None = None
    mask: float = number(0.8, above=0, below=1)
    decoder_width: int = number(512, least=1)
    decoder_depth: int = number(8, least=1)
    decoder_heads: int = number(16, least=1)
    model: ModelPart = field(default_factory=lambda: ModelPart(preset="audiomae-base"))
    data: DataPart = field(default_factory=DataPart)
    augment: AugmentPart = field(default_factory=AugmentPart)
    optim: OptimPart = field(default_factory=OptimPart)
    run: RunPart = field(default_factory=RunPart)

"""Recipes: every value of a training run, as typed data that a YAML file fills."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ModelPart:
    """The network.

    Attributes:
        preset: its size and family where `init` gives none, such as "ast-tiny".
        frames: length of a clip, 10 ms each; null: what holds 95 % of the training clips.
        stride: of the patches; null: 16, or what `init` has.
        mean, std: of the log-mel; null: measured on the training clips.
        padding: "minimum" or "zero", what the network is fed past a clip's end.
        drop_path: of the last block, growing linearly from 0 in the first.
        fresh_head: drop the head that `init` has; null: only where the classes differ.
        head_std: of a fresh head's normal distribution, truncated.
    """

    preset: str = "ast-base"
    frames: int | None = None
    stride: int | None = None
    mean: float | None = None
    std: float | None = None
    padding: str = "minimum"
    drop_path: float = 0.0
    fresh_head: bool | None = None
    head_std: float = 0.02


@dataclass
class DataPart:
    """The clips.

    Attributes:
        manifest: one or several; a relative path is looked up from where the command runs.
        valid_manifest, test_manifest: one or several, all of whose rows choose the best epoch, or
            are the test: for corpora with a file a split. Null: `manifest` holds these rows too.
        train_split, valid_split, test_split: names in the column `split`.
        test_fold: its rows are the test clips, all others are trained on.
        valid_fold: its rows choose the best epoch, and are not trained on.
        holdout: share of the training clips, class by class, that is held out to choose the
            best epoch.
        labels: the classes in the order of the logits, or "audioset", or a file of one a
            line; null: all labels of the training clips, sorted.
        cache: folder of decoded waveforms, such as a RAM disk; null: beside the run's results.
        workers: decoding threads.
    """

    manifest: Any = "???"
    valid_manifest: Any = None
    test_manifest: Any = None
    train_split: str = "train"
    valid_split: str = "valid"
    test_split: str = "test"
    test_fold: str | None = None
    valid_fold: str | None = None
    holdout: float = 0.0
    labels: Any = None
    cache: str | None = None
    workers: int = 2


@dataclass
class AugmentPart:
    """What is done to a clip before the network sees it.

    Attributes:
        roll: turn the waveform by any amount.
        gain: scale it by Beta(10, 10) + 0.5.
        mixup: share of clips mixed with another one.
        mixup_alpha: both parameters of the Beta distribution of the mixture.
        spec_time, spec_frequency: SpecAugment's largest widths, in frames and mel bins.
        noise: largest amplitude of uniform noise on the normalised features.
        shift: largest turn of the features, in frames.
        token_columns, token_rows: share of the time columns and frequency rows of patches that
            stay, drawn anew for each clip.
        join: fill the network's window: a short clip is followed by others, drawn at random. For
            pre-training, as labels are not joined.

    SpecAugment and token masking end when pruning starts.
    """

    roll: bool = False
    gain: bool = False
    mixup: float = 0.0
    mixup_alpha: float = 10.0
    spec_time: int = 0
    spec_frequency: int = 0
    noise: float = 0.0
    shift: int = 0
    token_columns: float = 1.0
    token_rows: float = 1.0
    join: bool = False


@dataclass
class OptimPart:
    """Optimiser and learning rate.

    Attributes:
        name: "adamw" or "adam" (whose weight decay is an L2 term of the gradient).
        lr: learning rate; or base_lr: for 256 clips, scaled by the total batch.
        batch_size: in total, over all processes.
        betas, weight_decay: the optimiser's.
        decay_all: whether biases, norms, tokens and positions decay too.
        layer_decay: factor of the learning rate from each layer to the one under it.
        schedule: "cosine" (to `min_lr`), "step" (`step_factor` after `step_start` epochs and
            after every `step_every` more) or "constant".
        warmup_epochs: the rate grows from 0 over so many epochs; or
        warmup_steps: over so many steps, moving every `warmup_every`.
        clip: largest norm of the gradient; null: any.
    """

    name: str = "adamw"
    lr: float | None = None
    base_lr: float | None = None
    batch_size: int = 32
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.0
    decay_all: bool = False
    layer_decay: float = 1.0
    schedule: str = "cosine"
    min_lr: float = 0.0
    step_start: int = 1
    step_every: int = 1
    step_factor: float = 1.0
    warmup_epochs: float = 0.0
    warmup_steps: int = 0
    warmup_every: int = 1
    clip: float | None = None


@dataclass
class RunPart:
    """How it runs; none of these changes what is trained, but for rounding.

    Attributes:
        precision: "auto" (bf16 or else fp16 where a GPU has it), "no", "bf16" or "fp16"; a CPU
            computes in float32 unless "bf16" is asked for, which pays where it has AMX.
        device: "auto" or "cpu".
        threads: of the processor; null: as PyTorch chooses.
        micro_batch: clips that a process computes at a time; null: its share of the batch. The
            gradient is the same, but where model.drop_path draws other residuals to drop.
        save_every: seconds between savings of the state, besides each epoch's end.
        tensorboard: whether to write scalars for TensorBoard.
    """

    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    micro_batch: int | None = None
    save_every: float = 300.0
    tensorboard: bool = True


@dataclass
class SchedulePart:
    """Keep-rate schedule, in epochs from 0: 1.0 until `start`, then falling for `length`.

    From `start` on SpecAugment and token masking are off where patches are pruned, as in the paper;
    with masks_end "always" at keep-rate 1.0 too, to compare with what pruned runs train on.
    """

    start: float = 0.0
    length: float = 0.0
    masks_end: str = "pruned"


@dataclass
class LossPart:
    """ "bce", "ce", or "auto": by the labels; `smoothing` of the labels."""

    name: str = "auto"
    smoothing: float = 0.0


@dataclass
class TeacherPart:
    """Distillation: the logits of another model, which hears the same waveforms.

    `weight` is its share of the loss; both sides' logits are divided by `temperature`. `load` is
    for what its file does not say, such as labels, as in `Recipe`.
    """

    model: str | None = None
    load: dict[str, Any] = field(default_factory=dict)
    weight: float = 0.5
    temperature: float = 1.0


@dataclass
class SelectPart:
    """The best epoch.

    Attributes:
        split: "valid", "test" (as the paper does), or "auto": "valid" where there is one.
        from_epoch: earlier ones are not eligible; from 0.
        metric: "accuracy", "mAP", or "auto": by the labels.
        every: evaluate after every so many epochs, and after the last.
    """

    split: str = "auto"
    from_epoch: int = 0
    metric: str = "auto"
    every: int = 1


@dataclass
class Recipe:
    """A supervised run: from scratch, or from the checkpoint `init`.

    Attributes:
        seed: of the weights, the order of the clips and every draw.
        epochs: how often each training clip is heard.
        init: built in, hub id, folder or file, as for `spectrim.load`; null: random weights.
        load: what a foreign checkpoint does not say: stride, mean, std, padding, labels,
            activation, metric or trust_code, as arguments of `spectrim.load`.
        keep_rate, score, reduction, blocks: the pruning that the schedule ends with, as arguments
            of `spectrim.prune`; 1.0: none.
    """

    seed: int = 0
    epochs: int = 30
    init: str | None = None
    load: dict[str, Any] = field(default_factory=dict)
    keep_rate: float = 1.0
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


@dataclass
class PretrainRecipe:
    """Masked auto-encoding of unlabelled audio.

    Attributes:
        seed, epochs, init: as in `Recipe`.
        mask: the share of patches to guess.
        decoder_width, decoder_depth, decoder_heads: of the transformer that guesses them; it is
            left out of the models that are saved.
    """

    seed: int = 0
    epochs: int = 33
    init: str | None = None
    mask: float = 0.8
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    model: ModelPart = field(default_factory=lambda: ModelPart(preset="audiomae-base"))
    data: DataPart = field(default_factory=DataPart)
    augment: AugmentPart = field(default_factory=AugmentPart)
    optim: OptimPart = field(default_factory=OptimPart)
    run: RunPart = field(default_factory=RunPart)

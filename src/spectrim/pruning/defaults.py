"""Default settings of pruning, for Python and the command line alike.

This module imports nothing, so `spectrim COMMAND --help` can print the defaults without torch.
"""

DEFAULT_SCORE = "attention"
DEFAULT_REDUCTION = "keep-top"
# The names of `reductions.REDUCTIONS` and `scores.SCORES`; a test compares them.
REDUCTION_NAMES = (
    "keep-top", "evit", "tome", "pitome", "diffrate", "ats", "segments", "adjacent",
)  # fmt: skip
SCORE_NAMES = (
    "attention", "intensity", "variation", "intensity-padded", "variation-padded", "random",
    "received", "value-attention", "head-max", "shift", "pagerank",
)  # fmt: skip
DEFAULT_BLOCKS = (3, 6, 9)  # counted from 0: the paper's blocks 4, 7 and 10
KEEP_RATES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # the paper's, with 1.0 for no pruning
SWEEP_KEEP_RATES = (1.0, 0.9, 0.7, 0.5)  # few enough that the table fits a screen
PAPER_SCORES = ("attention", "intensity-padded", "variation-padded")
SWEEP_SCORES = ("attention", "intensity", "variation", "random")
BENCH_KEEP_RATES = (1.0, 0.7, 0.5)
RECOMMENDED = "recommended"  # name of the recommended plan where others are named by their score
# The plan that is recommended for a model on which none was measured: `tome` in every block.
GENERIC_REDUCTION = "tome"
GENERIC_KEEP_RATE = 0.9
TRAINED_KEEP_RATE = 0.7  # of a model that was trained to be pruned, if its range allows it

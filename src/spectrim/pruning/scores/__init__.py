"""Scores by name; one file for each kind, and one line here."""

from . import paper as paper  # isort: skip  # first in messages and help texts
from . import attention_scores as attention_scores
from .registry import SCORES as SCORES
from .registry import Score as Score
from .registry import needs_attention_map as needs_attention_map
from .registry import register as register

"""Reductions by name; one file for each kind, and one line here."""

from ..merging import merged as merged  # this and `ranked` serve reductions of your own
from ..ranking import ranked as ranked
from . import adjacent as adjacent
from . import ats as ats
from . import diffrate as diffrate
from . import evit as evit
from . import pitome as pitome
from . import segments as segments
from . import tome as tome
from .keep_top import keep_top as keep_top
from .registry import REDUCTIONS as REDUCTIONS
from .registry import Reduction as Reduction

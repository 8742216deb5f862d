"""Rows of a table of recordings: tags, one column per class, or embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from ...audio.channels import Channel, check_channel
from ...common.errors import SpectrimError
from ...common.text import storable
from ..events import Event, EventRule
from ..read_thresholds import Thresholds, class_thresholds, plain_thresholds
from ..runner import Runner
from ..tag import aggregated, check_aggregate, check_top, labels_of
from ..windowed import Compute, SoundOutput
from .input_recordings import Recording

OK = "ok"
NO_LABEL = "no label"  # no class reaches the threshold
NO_EVENT = "no event"
FAILED = "failed"

Row = dict[str, Any]


@dataclass(frozen=True)
class TableColumn:
    """A column of a table.

    Attributes:
        name: as in the header.
        dtype: "text", "float64" or "float32".
        width: number of values in each cell; 0: one value, not a list.
    """

    name: str
    dtype: str
    width: int = 0


POSITION = (
    TableColumn("file", "text"),
    TableColumn("start", "float64"),
    TableColumn("end", "float64"),
)
OUTCOME = (
    TableColumn("channel", "text"),
    TableColumn("status", "text"),
    TableColumn("error", "text"),
)


@dataclass
class Table(ABC):
    """What is written about each recording.

    Every recording has at least one row. Its `status` is "ok", "no label", "no event" or "failed".
    A failed row names the `error`; the windows before the damage have rows of their own.

    Attributes:
        runner: the model.
        one_row: as for `deploy.tag.tag`.
        channel: recorded in each row.
    """

    runner: Runner
    one_row: str | None
    channel: Channel
    columns: list[TableColumn] = field(init=False)
    command: ClassVar[str]

    def __post_init__(self) -> None:
        check_aggregate(self.one_row)
        self.channel = check_channel(self.channel)
        self.columns = self.make_columns()

    @abstractmethod
    def make_columns(self) -> list[TableColumn]:
        """The columns in their order."""

    @property
    @abstractmethod
    def compute(self) -> Compute:
        """The function of the model whose outputs are written."""

    @abstractmethod
    def cells_of(self, output: SoundOutput) -> Iterator[Row]:
        """The cells of each row for a recording; the others are added by `rows`."""

    def settings(self) -> dict[str, Any]:
        """What rows depend on, by the names of the command's options."""
        return {"aggregate": self.one_row, "channel": self.channel}

    def rows(self, recording: Recording, output: SoundOutput) -> list[Row]:
        """The rows of a recording, without cells that are empty."""
        name = storable(recording.path)
        rows: list[Row] = [
            {"file": name, "channel": str(self.channel)} | cells for cells in self.cells_of(output)
        ]
        if output.error is not None:
            failed: Row = {"file": name, "start": recording.start, "end": recording.end}
            error = storable(str(output.error))
            rows.append(failed | {"channel": str(self.channel), "status": FAILED, "error": error})
        return rows


class WindowTable(Table):
    """A table whose rows belong to single windows, or to the aggregate of all of them."""

    @abstractmethod
    def cells(self, values: Any) -> Iterator[Row]:
        """The cells of each row for the output of a window, except its place."""

    def cells_of(self, output: SoundOutput) -> Iterator[Row]:
        """The cells of each window, with start and end."""
        for start, end, values in aggregated(output, self.one_row):
            for cells in self.cells(values):
                yield {"start": start, "end": end} | cells


@dataclass
class TagTable(WindowTable):
    """One row per window and label, the most probable label first.

    Attributes:
        top, threshold: as for `deploy.tag.tag`.
    """

    top: int = 5
    threshold: Thresholds = 0.0
    command: ClassVar[str] = "tag"

    def __post_init__(self) -> None:
        check_top(self.top)
        self.thresholds = class_thresholds(self.threshold, self.runner.labels)
        super().__post_init__()

    def make_columns(self) -> list[TableColumn]:
        """Place, label and probability."""
        return [
            *POSITION,
            TableColumn("label", "text"),
            TableColumn("probability", "float64"),
            *OUTCOME,
        ]

    @property
    def compute(self) -> Compute:
        """Probabilities."""
        return self.runner.probabilities

    def settings(self) -> dict[str, Any]:
        """Also the number of labels and their threshold."""
        threshold = plain_thresholds(self.thresholds, self.runner.labels)
        return super().settings() | {"top": self.top, "threshold": threshold}

    def cells(self, values: Any) -> Iterator[Row]:
        """A label and its probability; one row without them if there is no label."""
        labels = labels_of(self.runner.labels, values, self.top, self.thresholds)
        for label in labels:
            yield label | {"status": OK}
        if not labels:
            yield {"status": NO_LABEL}


@dataclass
class EventTable(Table):
    """One row per event, by start. A recording without an event has one row from start to end.

    Attributes:
        rule: how events follow from the probabilities of the windows.
    """

    one_row: str | None = field(init=False, default=None)
    rule: EventRule = field(default_factory=EventRule)
    command: ClassVar[str] = "tag --events"

    def make_columns(self) -> list[TableColumn]:
        """Place, label and probabilities."""
        values = [TableColumn(name, "float64") for name in ("peak", "mean")]
        return [*POSITION, TableColumn("label", "text"), *values, *OUTCOME]

    @property
    def compute(self) -> Compute:
        """Probabilities."""
        return self.runner.probabilities

    def settings(self) -> dict[str, Any]:
        """The channel and the rule."""
        return {"channel": self.channel} | self.rule.settings(self.runner.labels)

    def cells_of(self, output: SoundOutput) -> Iterator[Row]:
        """An event; one row without a label if there is none."""
        events = self.rule.events(output.starts, output.ends, output.values, self.runner.labels)
        for event in events:
            yield asdict(event) | {"status": OK}
        if output.starts and not events:
            start, end = round(output.starts[0], 3), round(output.ends[-1], 3)
            yield {"start": start, "end": end, "status": NO_EVENT}

    def events_in(self, rows: Sequence[Row], span: tuple[float, float]) -> list[Event]:
        """The events in rows that lie within a span in seconds."""
        events = [
            Event(*(row[column] for column in ("label", "start", "end", "peak", "mean")))
            for row in rows
            if row["status"] == OK
        ]
        # Times in tables have three decimals.
        first, last = span[0] - 0.001, span[1] + 0.001
        return [event for event in events if first <= event.start and event.end <= last]


@dataclass
class WideTable(WindowTable):
    """One row per window, with the probability of each class in a column of its name."""

    command: ClassVar[str] = "tag --wide"

    def make_columns(self) -> list[TableColumn]:
        """Place, outcome, then the classes.

        Raises:
            SpectrimError: two columns would have the same name.
        """
        names = [column.name for column in (*POSITION, *OUTCOME)]
        for label in self.runner.labels:
            if label in names:
                raise SpectrimError(
                    f"--wide: two columns would be called {label!r}, because classes have this "
                    "name. Leave out --wide."
                )
            names.append(label)
        classes = [TableColumn(label, "float32") for label in self.runner.labels]
        return [*POSITION, *OUTCOME, *classes]

    @property
    def compute(self) -> Compute:
        """Probabilities."""
        return self.runner.probabilities

    def cells(self, values: Any) -> Iterator[Row]:
        """The probability of each class."""
        yield {"status": OK} | dict(zip(self.runner.labels, values, strict=True))


@dataclass
class EmbeddingTable(WindowTable):
    """One row per window, with the embedding in a column of lists."""

    command: ClassVar[str] = "embed"

    def make_columns(self) -> list[TableColumn]:
        """Place, outcome and embedding."""
        return [
            *POSITION,
            *OUTCOME,
            TableColumn("embedding", "float32", self.runner.embedding_width),
        ]

    @property
    def compute(self) -> Compute:
        """Embeddings."""
        return self.runner.embeddings

    def cells(self, values: Any) -> Iterator[Row]:
        """The embedding."""
        yield {"status": OK, "embedding": values}


def names_of_columns(columns: Sequence[TableColumn]) -> list[str]:
    """Flat names: a column of lists is `name_0`, `name_1`, ... in a format without lists."""
    names: list[str] = []
    for column in columns:
        flat = [f"{column.name}_{index}" for index in range(column.width)]
        names += flat or [column.name]
    return names

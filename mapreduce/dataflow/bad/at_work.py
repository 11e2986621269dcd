"""What the user's function is about to see, and what is told of it if that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mapreduce.dataflow.context import shorten
from mapreduce.quick_dataclass import dataclass


@dataclass(slots=True)
class Story:
    """What is known of a record, or group, that failed: who was at work on it, where it is, what it was.

    `content` is what the function got, and `text` gives the record as it stands in its file, where that is another.
    """

    function: str
    role: str
    path: str | None = None
    offset: int | None = None
    key: str | None = None
    content: Any = None
    text: Callable[[], str | bytes] | None = None

    def kept(self) -> Any:
        """What is kept of the record, to be mended: as it stands in its file, if that is known."""
        return self.content if self.text is None else self.text()


@dataclass(frozen=True, slots=True)
class AtWork:
    """What the user's function is about to see: `count` records from the `ordinal`-th on, and the story of the first.

    Ordinals count the records (or groups) of an attempt from 0 on; see also `series`.
    """

    ordinal: int
    count: int
    story: Callable[[], Story]

    def told(self) -> tuple[str, str, str | None, int | None, str | None, str | None]:
        """What is told of the first: function, its role, path, offset, key, and the record, shortened."""
        story = self.story()
        shown = None if story.content is None else shorten(story.content)
        return story.function, story.role, story.path, story.offset, story.key, shown

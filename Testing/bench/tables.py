"""The README's table of speed and memory, from ``bench.json``: ``make bench-tables`` writes it there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
for folder in (REPOSITORY / "AHNetSegment", HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from results import machine_text, read_results

README, RESULTS = REPOSITORY / "README.md", HERE / "bench.json"
BEGIN, END = "<!-- make bench-tables: -->", "<!-- :make bench-tables -->"


def table(results: dict[str, Any]) -> str:
    """What was measured on, and a row for each figure, in Markdown."""
    numbers: dict[str, list[str]] = {}
    for number, part in sorted(results.items()):
        text = f"{machine_text(part['machine'])}; medians of {part['rounds']} runs"
        numbers.setdefault(text, []).append(number)
    alone = len(numbers) == 1
    lines = [f"{text}:" if alone else f"- parts {', '.join(parts)}: {text}" for text, parts in numbers.items()]
    lines += ["", "| figure | here | target | |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for _, part in sorted(results.items()) for row in part["table"]]
    return "\n".join(lines)


def with_table(readme: str, written: str) -> str:
    """The README with another table between its two marks.

    Raises:
        ValueError: it lacks one of them.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks {BEGIN} or {END}, between which the table stands")
    return f"{before}{BEGIN}\n{written}\n\n{END}{after}"


if __name__ == "__main__":
    found = with_table(README.read_text(encoding="utf-8"), table(read_results(RESULTS)))
    README.write_text(found, encoding="utf-8")
    print(f"Written: {README}")

"""Run an example and draw what it prints as a terminal.

python docs/draw_terminal.py examples/langchain_answers.py docs/assets/hit.svg
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 92


def drawn(script: str) -> str:
    """The picture, as SVG, of a run of a script."""
    done = subprocess.run([sys.executable, script], capture_output=True, encoding="utf-8", check=True)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(f"$ python {script}", style="bold"))
    for line in done.stdout.splitlines():
        text = Text(line)
        text.highlight_regex(r"'hit': '\w+'|'saved_\w+': [\d.]+|[\d.]+ s and \$[\d.]+ saved", "bold green")
        console.print(text, soft_wrap=False)
    svg = console.export_svg(title="askonce", unique_id="hit")
    # Pictures of the documentation load nothing from elsewhere.
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(drawn(sys.argv[1]), encoding="utf-8")

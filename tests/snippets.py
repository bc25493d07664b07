"""The READMEs' snippets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
READMES: Final = (Path("README.md"), *sorted(path.relative_to(ROOT) for path in ROOT.glob("clients/*/README.md")))
_FENCED: Final = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """A fenced block that names its language, and the heading above it."""

    readme: str
    section: str
    language: str
    text: str

    def commands(self) -> list[str]:
        """Of a shell, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [command for line in lines if (command := re.sub(r"(^|\s)#.*", "", line).strip())]


def snippets(readme: Path) -> Iterator[Snippet]:
    """In their order. Headings are not looked for within other snippets."""
    text = (ROOT / readme).read_text()
    prose = _FENCED.sub(lambda found: " " * len(found.group()), text)
    headings = [(found.start(), found.group(1)) for found in _HEADING.finditer(prose)]
    for found in _FENCED.finditer(text):
        section = [title for start, title in headings if start < found.start()][-1]
        yield Snippet(str(readme), section, found["language"], found["text"])


ALL_SNIPPETS: Final = tuple(snippet for readme in READMES for snippet in snippets(readme))

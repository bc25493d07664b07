"""The configs that the house carries: the sizes of the two papers, and small ones.

Each is a `config.json` by the name of the model. A `note` in it says where a size is our own choice.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

_SUFFIX = ".json"


@cache
def shipped_names() -> tuple[str, ...]:
    names = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def shipped_config(name: str) -> Any:
    """The parsed config of one of `shipped_names`."""
    return json.loads(files(__name__).joinpath(name + _SUFFIX).read_text(encoding="utf-8"))

"""`--inputs`: what replayed requests carry, by the words and files that the option takes."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alpaserve_cli.inputs import (
    ByModel,
    InputSource,
    no_inputs,
    random_texts,
    read_json,
    read_json_lines,
    read_npz,
    read_texts,
)
from alpaserve_cli.replay.per_model import PerModel
from alpaserve_cli.tokenizing import open_tokenizer
from services.core.errors import InvalidArgument

INPUTS_HELP = (
    "[MODEL=]SOURCE, repeatable: random (128 tokens), random:64, random:16-256 (uniform), random:lognormal:128:0.5 "
    "(mean, CV), FILE.npz (an example a row), FILE.json, FILE.jsonl (an example a line), FILE.txt (a text a line, "
    "with --tokenizer), or none."
)
_DEFAULT_LENGTH = "128"
_NUM_TEXTS = 256
_MOST_TOKENS = 65_536


def input_source(inputs: Sequence[str], inputs_json: Path | None, tokenizers: Sequence[str], seed: int) -> InputSource:
    """Raises: InvalidArgument, naming the option and what it got."""
    if inputs_json is not None:
        if inputs:
            raise InvalidArgument(f"give --inputs or --inputs-json, not both: {inputs[0]!r} and {inputs_json}")
        return read_json(inputs_json)
    wanted, directories = PerModel.of("--inputs", inputs), PerModel.of("--tokenizer", tokenizers)
    sources = {model: _source(text, directories.text_for(model), seed) for model, text in wanted.by_model.items()}
    otherwise = wanted.otherwise if wanted.otherwise is not None else None if sources else "random"
    rest = None if otherwise is None else _source(otherwise, directories.otherwise, seed)
    return ByModel(sources, rest) if sources or rest is None else rest


def _source(text: str, tokenizer: str | None, seed: int) -> InputSource:
    if text == "none":
        return no_inputs
    word, _, lengths = text.partition(":")
    if word == "random":
        return random_texts(_lengths(text, lengths or _DEFAULT_LENGTH, seed), seed)
    path = Path(text)
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix == ".json":
        return read_json(path)
    if suffix == ".jsonl":
        return read_json_lines(path)
    if suffix == ".txt":
        if tokenizer is None:
            raise InvalidArgument(f"--inputs {text} needs --tokenizer")
        return read_texts(path, open_tokenizer(Path(tokenizer)))
    if suffix == ".npz":
        return read_npz(path)
    raise InvalidArgument(f"--inputs {text!r} is neither random, none nor a file .npz, .json, .jsonl or .txt")


def _lengths(text: str, lengths: str, seed: int) -> NDArray[np.int64]:
    """Of `64`, `16-256` or `lognormal:MEAN:CV`, (256,). Raises: InvalidArgument."""
    rng = np.random.default_rng(seed)
    words = lengths.split(":")
    try:
        if words[0] == "lognormal" and len(words) == 3:
            drawn = _lognormal(float(words[1]), float(words[2]), rng)
        else:
            low, _, high = lengths.partition("-")
            drawn = rng.integers(int(low), int(high or low), size=_NUM_TEXTS, endpoint=True)
    except (ValueError, OverflowError):
        raise InvalidArgument(f"--inputs {text!r}: lengths are N, LOW-HIGH or lognormal:MEAN:CV") from None
    if drawn.min() < 1 or drawn.max() > _MOST_TOKENS:
        raise InvalidArgument(f"--inputs {text!r}: lengths must be from 1 to {_MOST_TOKENS}")
    return drawn


def _lognormal(mean: float, cv: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Raises: ValueError for a mean or CV that is none."""
    if not (1 <= mean <= _MOST_TOKENS and 0 <= cv < math.inf):
        raise ValueError(mean, cv)
    variance = math.log1p(cv**2)
    drawn = rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), _NUM_TEXTS)
    return np.clip(np.rint(drawn), 1, _MOST_TOKENS).astype(np.int64)

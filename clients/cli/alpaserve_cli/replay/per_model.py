"""Options that are given once for all models, or `MODEL=` for some: what each model gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class PerModel:
    """Texts of an option by model, and the one for the others."""

    by_model: Mapping[str, str]
    otherwise: str | None

    @classmethod
    def of(cls, option: str, values: Sequence[str]) -> "PerModel":
        """Raises: InvalidArgument for a model, or no model, that comes twice."""
        by_model: dict[str, str] = {}
        otherwise = None
        for value in values:
            model, equals, text = value.partition("=")
            if not equals or Path(value).exists():
                if otherwise is not None:
                    raise InvalidArgument(f"{option} is given twice for all models: {otherwise!r} and {value!r}")
                otherwise = value
            elif not model or not text or model in by_model:
                raise InvalidArgument(f"{option} must be [MODEL=]VALUE, once a model, got {value!r}")
            else:
                by_model[model] = text
        return cls(by_model, otherwise)

    def check(self, option: str, names: Sequence[str]) -> None:
        """Raises: InvalidArgument for a model that is not among the names."""
        for model in self.by_model:
            if model not in names:
                raise InvalidArgument(f"{option} names model {model!r}; the workload has {', '.join(names)}")

    def text_for(self, model: str) -> str | None:
        return self.by_model.get(model, self.otherwise)

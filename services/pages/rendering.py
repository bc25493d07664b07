"""Templates to text: one environment, everything escaped unless a template says otherwise."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from services.pages import figures

_ENVIRONMENT = Environment(
    loader=PackageLoader("services.pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_ENVIRONMENT.filters |= {
    "percent": figures.percent,
    "points": figures.points,
    "seconds": figures.seconds,
    "rate": figures.rate,
    "bytes": figures.num_bytes,
}


def render(template: str, **context: Any) -> str:
    """The page that a template makes of its context."""
    return _ENVIRONMENT.get_template(template).render(**context)


def source(template: str) -> str:
    """A template's own text, of style and script."""
    text, _, _ = _ENVIRONMENT.loader.get_source(_ENVIRONMENT, template) if _ENVIRONMENT.loader else ("", None, None)
    return text

"""The packages that only the analysis needs: asked for late, and named when they are missing."""

from importlib.util import find_spec

from competition.errors import UserError

INSTALL = "pip install -e '.[analysis]'"


def is_missing(package: str) -> bool:
    """Return whether a package is not installed."""
    return find_spec(package) is None


def missing_message(package: str, purpose: str) -> str:
    """Return one sentence: what cannot be made without the package, and how to get it."""
    return f"{purpose} needs the package {package}, which is not installed: {INSTALL}"


def require(package: str, purpose: str) -> None:
    """Raise UserError when a package is missing; ``purpose`` begins the sentence."""
    if is_missing(package):
        raise UserError(missing_message(package, purpose))

"""Find and read the YAML file of a search space."""

from pathlib import Path
from typing import Any

import yaml

from competition.errors import UserError, did_you_mean

FOLDER = Path(__file__).parent / "spaces"


def named_spaces() -> list[str]:
    """Return the names of the spaces that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_space(name_or_path: str) -> Path:
    """Return the file of a named space, or the file that is named; raises UserError where there is none."""
    if name_or_path in named_spaces():
        return FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"--space {name_or_path}: there is no such file")
    known = named_spaces()
    raise UserError(
        f"--space {name_or_path!r} is unknown{did_you_mean(name_or_path, known)}: "
        f"take one of {', '.join(known)}, or a .yaml file"
    )


def read_space(path: Path) -> dict[str, Any]:
    """Read the lines of a space; raises UserError for what is no YAML mapping, and for a name given twice."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"--space {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--space {path} is not valid YAML: {error}") from None
    if not isinstance(values, dict) or node is None:
        raise UserError(f"--space {path}: expected lines such as learning_rate: {{low: 0.001, high: 0.02, log: true}}")
    names = [str(key.value) for key, _ in node.value]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}: given twice: {', '.join(twice)}")
    return values

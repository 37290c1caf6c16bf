"""``generate report``: one HTML page about runs of ``generate train``: samples, losses, figures, neighbours, verdicts.

It shows what is there: a run that was not measured or judged lacks those parts. Several runs stand side by side, with
the settings in which they differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition.errors import UserError
from competition.generative import perceptual
from competition.generative.checkpoint import DESCRIPTION
from competition.generative.interpolate import RECORDS
from competition.generative.run import reopen_settings
from competition.generative.watch import alike_words, collapse_words
from competition.page import Cell, Section, paragraph, picture, render_page, table
from competition.runs import read_json, write_atomically

MEASURED, JUDGED = Path("measured", "measure.json"), Path("judged", "judge.json")


@dataclass(frozen=True)
class RunFacts:
    """What a run folder tells; parts that are not there are empty.

    Attributes:
        name: what the page calls it: the name of its folder, or its path where another run's is named alike.
        interpolations: what each was made with, see `interpolate`.
        outdated: the files of another model, which are left out, each with the verb that makes it anew.
    """

    folder: Path
    name: str
    settings: dict[str, Any]
    result: dict[str, Any]
    measured: dict[str, Any]
    judged: dict[str, Any]
    interpolations: list[dict[str, Any]]
    outdated: dict[Path, str]

    @property
    def sheets(self) -> list[Path]:
        """The sample sheets, by step."""
        return sorted((self.folder / "sheets").glob("step_*.png"))


def write_report(folders: Sequence[Path], out: Path | None) -> Path:
    """Write the page and return its path; the first run's folder is where it goes by itself.

    Raises:
        UserError: a folder that is no run of ``generate train``, a name that does not end in .html, or a run named
            twice.
    """
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: the page is HTML; name a file that ends in .html")
    twice = sorted({str(folder) for folder in folders if folders.count(folder) > 1})
    if twice:
        raise UserError(f"named twice: {', '.join(twice)}")
    names = [folder.absolute().name for folder in folders]  # "." has none of its own
    runs = [
        read_facts(folder, name if names.count(name) == 1 else str(folder))
        for folder, name in zip(folders, names, strict=True)
    ]
    sections = [
        _overview(runs),
        *([_differences(runs)] if len(runs) > 1 else []),
        _samples(runs),
        _losses(runs),
        *_maybe("Between two pictures", "between", [_interpolations(run) for run in runs]),
        *_maybe("Class by class", "classes", [_class_table(run) for run in runs]),
        *_maybe("Memorised or new?", "neighbours", [_neighbours(run) for run in runs]),
        *_maybe("Does it help a classifier?", "judged", [_judgement(run) for run in runs]),
        *_maybe("Notes", "notes", [_notes(run) for run in runs]),
    ]
    path = out or runs[0].folder / "report.html"
    models = ", ".join(f"{run.name}: {run.settings['model']}" for run in runs)
    write_atomically(path, render_page("Generative models" if len(runs) > 1 else runs[0].name, sections, models))
    return path


def read_facts(folder: Path, name: str) -> RunFacts:
    """Read what a run folder tells, under a name for the page; raises UserError where it is no run."""
    settings = reopen_settings(folder).plain()

    def read(file: Path) -> dict[str, Any]:
        return dict(read_json(folder / file)) if (folder / file).exists() else {}

    now = read(Path(DESCRIPTION)).get("sha256")
    paths = sorted(path.relative_to(folder) for path in folder.glob(RECORDS))
    verbs = {MEASURED: "measure", JUDGED: "judge", **dict.fromkeys(paths, "interpolate")}
    found = {file: read(file) for file in verbs}
    # Figures that do not name their model are from before they did.
    outdated = {file: verb for file, verb in verbs.items() if found[file].get("generator") not in (None, now)}
    measured, judged, *interpolations = ({} if file in outdated else values for file, values in found.items())
    interpolations = list(filter(None, interpolations))
    return RunFacts(folder, name, settings, read(Path("result.json")), measured, judged, interpolations, outdated)


def _overview(runs: Sequence[RunFacts]) -> Section:
    distances = list(dict.fromkeys(name for run in runs for name in _figures(run)))
    columns = ["run", "model", "parameters", "steps", "diversity", "measured against", *distances, "macro F1 gained"]
    rows: list[list[Cell]] = []
    for run in runs:
        figures, judged = _figures(run), run.judged
        gained = judged["both"]["difference"]["macro_f1"] if judged else None
        shown: list[Cell] = [figures.get(name) for name in distances]
        facts = [*map(run.result.get, ("parameters", "steps", "diversity")), run.measured.get("against")]
        rows.append([run.name, run.settings["model"], *facts, *shown, gained])
    caption = "Distances: less is better; precision and recall: more is better; diversity: as a share of real pictures'"
    text = [table(columns, rows, caption)]
    for run in runs:
        if run.result.get("is_collapsed"):
            text.append(paragraph(f"{run.name}: {collapse_words(run.result['steps'], run.result['kept_step'])}"))
        if run.result.get("alike_classes"):
            text.append(paragraph(f"{run.name}: {alike_words(run.result['alike_classes'])}"))
        if not run.result:
            text.append(paragraph(f"{run.name} is not finished"))
        for name, verb in run.outdated.items():
            text.append(paragraph(f"{run.name}: {name} is of an earlier model and left out: {verb} again"))
    return Section("Overview", "".join(text), "overview")


def _figures(run: RunFacts) -> dict[str, float]:
    """Return the figures that compare runs: everything of a measurement that is one number."""
    plain = {name: value for name, value in run.measured.items() if isinstance(value, float)}
    seen = run.measured.get(perceptual.NAME) or {}
    return plain | {f"{perceptual.NAME}, {name}": value for name, value in seen.items()}


def _differences(runs: Sequence[RunFacts]) -> Section:
    names = [name for name in runs[0].settings if len({repr(run.settings.get(name)) for run in runs}) > 1]
    rows: list[list[Cell]] = [[name, *(str(run.settings.get(name)) for run in runs)] for name in names if name != "run"]
    text = table(["setting", *(run.name for run in runs)], rows) if rows else paragraph("all settings are the same")
    return Section("What differs", text, "differences")


def _samples(runs: Sequence[RunFacts]) -> Section:
    parts = []
    for run in runs:
        sheets = [run.sheets[0], run.sheets[-1]] if len(run.sheets) > 1 else run.sheets
        for sheet in sheets:
            step = int(sheet.stem.removeprefix("step_"))
            words = f"{run.name}, step {step:,}"
            parts.append(picture(sheet.read_bytes(), f"pictures that {run.name} made at step {step:,}", words))
    return Section("Samples", "".join(parts) or paragraph("no sheets yet"), "samples")


def _losses(runs: Sequence[RunFacts]) -> Section:
    parts = [
        picture(path.read_bytes(), f"curves of the losses of {run.name} over its steps", run.name)
        for run in runs
        if (path := run.folder / "losses.png").exists()
    ]
    return Section("Losses", "".join(parts) or paragraph("no losses yet"), "losses")


def _interpolations(run: RunFacts) -> str:
    parts = []
    for made in run.interpolations:
        source, target, alpha, search = made["from"], made["to"], made["settings"]["alpha"], made["settings"]["search"]
        best = f", the best of {search} pairs first" if search > 1 else ""
        shown = {
            made["sheet"]: f"{source} to {target}{best}",
            made["picture"]: f"{alpha:g} {source} + {1 - alpha:g} {target}",
        }
        for name, words in shown.items():
            if (run.folder / name).exists():
                data = (run.folder / name).read_bytes()
                parts.append(picture(data, f"pictures by {run.name} between two ends: {words}", f"{run.name}: {words}"))
    return "".join(parts)


def _class_table(run: RunFacts) -> str:
    classes = run.measured.get("per_class") or {}
    if not classes:
        return ""
    columns = list(next(iter(classes.values())))
    rows: list[list[Cell]] = [[name, *(values[column] for column in columns)] for name, values in classes.items()]
    return table(["class", *columns], rows, run.name)


def _neighbours(run: RunFacts) -> str:
    found = run.measured.get("nearest training images")
    if not found:
        return ""
    text = paragraph(f"{run.name}: {found['verdict']}.")
    sheet = run.folder / MEASURED.parent / "neighbours.png"
    if sheet.exists():
        alt = f"generated pictures of {run.name}, each above the training image nearest to it"
        text += picture(sheet.read_bytes(), alt, "rows of generated pictures, each above its nearest training image")
    return text


def _judgement(run: RunFacts) -> str:
    if not run.judged:
        return ""
    rows: list[list[Cell]] = []
    for arm in ("real", "generated", "both"):
        standing = run.judged[arm]
        interval = f"{standing['interval']['low']:.3f} to {standing['interval']['high']:.3f}"
        rows.append([arm, standing["macro_f1"], interval, (standing["difference"] or {}).get("macro_f1")])
    columns = ["trained on", "macro F1", "95 % interval", "difference to real"]
    changes = run.judged["both"]["difference"]["classes"]
    classes: list[list[Cell]] = [
        [change["name"], change["before"], change["after"], change["interval"]["low"], change["interval"]["high"]]
        for change in changes
    ]
    heads = ["class", "F1, real", "F1, both", "difference, low", "difference, high"]
    caption = "F1 of each class, and the 95 % interval of the difference"
    return paragraph(run.judged["verdict"]) + table(columns, rows, run.name) + table(heads, classes, caption)


def _notes(run: RunFacts) -> str:
    notes = [*run.measured.get("notes", []), *run.judged.get("notes", [])]
    return "".join(paragraph(f"{run.name}: {note}") for note in notes)


def _maybe(heading: str, anchor: str, parts: Sequence[str]) -> list[Section]:
    """Return a section of what the runs have to say, or none."""
    text = "".join(parts)
    return [Section(heading, text, anchor)] if text else []

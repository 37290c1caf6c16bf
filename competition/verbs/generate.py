"""Train a generative model, look between its pictures, write labelled folders of new ones, measure and judge them.

python -m competition generate train --data PATH --model flow --classes all
python -m competition generate interpolate runs/NAME --from bird --to horse
python -m competition generate export runs/NAME --per-class 100 --out FOLDER
python -m competition generate measure runs/NAME|FOLDER --against REAL
python -m competition generate judge runs/NAME|FOLDER --data REAL
python -m competition generate report runs/NAME
"""

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from competition.cli import Parser, parse_settings
from competition.errors import UserError, counted, did_you_mean
from competition.generative.measure_settings import MeasureSettings
from competition.generative.settings import ExportSettings, GenerateSettings, InterpolateSettings
from competition.judging.settings import JudgeSettings


def main(argv: Sequence[str]) -> int:
    """Find the sub-verb and run it."""
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        print("generate VERB --help explains each of: " + ", ".join(SUBVERBS))
        return 0
    if words[0] not in SUBVERBS:
        known = ", ".join(SUBVERBS)
        raise UserError(f"unknown verb generate {words[0]!r}{did_you_mean(words[0], SUBVERBS)}; there are {known}")
    return SUBVERBS[words[0]](words[1:])


def train(argv: Sequence[str]) -> int:
    """Train a generative model on labelled images. The same command goes on where it was killed."""
    start = time.perf_counter()
    parser = Parser(train.__doc__ or "", prog="python -m competition generate train")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings to start from; flags override them")
    settings, _ = parse_settings(parser, GenerateSettings, argv)

    from competition.generative.fit import fit  # late: torch is not needed to refuse a flag
    from competition.generative.run import open_run
    from competition.generative.watch import alike_words, collapse_words
    from competition.stop import Stop, Stopped

    run, stop = open_run(settings), Stop.after(settings.time_limit, start)
    try:
        result = fit(run, stop)
    except Stopped:
        stop.raise_if_signalled()
        print(f"{run.folder}: not finished; the same command goes on")
        return 3
    losses = ", ".join(f"{name} {value:.4g}" for name, value in result["losses"].items())
    print(f"{run.folder}: {result['steps']:,} steps, {losses}, diversity {result['diversity']:.2f} of real pictures'")
    if result["is_collapsed"]:
        print(f"note: {collapse_words(result['steps'], result['kept_step'])}")
    if result["alike_classes"]:
        print(f"note: {alike_words(result['alike_classes'])}")
    if run.design.is_labelled:
        words = ["generate", "export", str(run.folder), "--per-class", "100", "--out", f"{run.folder}/export"]
        print(shlex.join(["python", "-m", "competition", *words]))
    return 0


def interpolate(argv: Sequence[str]) -> int:
    """Decode what lies between two pictures: alpha * FROM + (1 - alpha) * TO."""
    parser = Parser(interpolate.__doc__ or "", prog="python -m competition generate interpolate")
    parser.add_argument("folder", metavar="RUN", type=Path, help="a run of generate train")
    ends = "a class, an image of the run's data, an image file, or sample: a drawn latent of any class"
    end = "CLASS|IMAGE|sample"
    parser.add_argument("--from", dest="source", metavar=end, required=True, help=f"where the path begins: {ends}")
    parser.add_argument("--to", dest="target", metavar=end, required=True, help="where it ends: likewise")
    settings, values = parse_settings(parser, InterpolateSettings, argv)

    from competition.generative.interpolate import SHOWN_PAIRS
    from competition.generative.interpolate import interpolate as draw

    source, target = values.source, values.target
    done = draw(values.folder, source, target, settings)
    print(f"the best of {len(done.pairs)} by {done.criterion}:")
    for first, second, score in done.pairs[:SHOWN_PAIRS]:
        print(f"  {score:.4g}  {first}  {second}")
    print(f"paths: {done.sheet}\n{settings.alpha:g} {source} + {1 - settings.alpha:g} {target}: {done.picture}")
    return 0


def export(argv: Sequence[str]) -> int:
    """Write labelled folders of generated pictures. The same command goes on where it was stopped."""
    parser = Parser(export.__doc__ or "", prog="python -m competition generate export")
    parser.add_argument("folder", metavar="RUN", type=Path, help="a run of generate train")
    settings, values = parse_settings(parser, ExportSettings, argv)
    if settings.out is None:
        raise UserError("--out is missing: name the folder to write")

    from competition.generative.export import export as write

    out, made = write(values.folder, settings)
    classes = [folder for folder in (out / "train").iterdir() if folder.is_dir()]
    trains = f"; python train.py --data {shlex.quote(str(out))}" if len(classes) > 1 else ""  # one alone is refused
    print(f"{out}: {counted(made, 'picture')} made{trains}")
    return 0


def measure(argv: Sequence[str]) -> int:
    """Measure generated images against real ones: distances, precision and recall, classes, copies."""
    parser = Parser(measure.__doc__ or "", prog="python -m competition generate measure")
    parser.add_argument("path", metavar="RUN|FOLDER", type=Path, help="a run of generate train, or images")
    settings, values = parse_settings(parser, MeasureSettings, argv)

    from competition.generative.measure import in_words
    from competition.generative.measure import measure as take

    out, figures = take(values.path, settings)
    print(f"{in_words(figures)}\n{out}/measure.json")
    return 0


def judge(argv: Sequence[str]) -> int:
    """Train classifiers on real images, on generated ones and on both; compare them on real images."""
    start = time.perf_counter()
    parser = Parser(judge.__doc__ or "", prog="python -m competition generate judge")
    parser.add_argument("path", metavar="RUN|FOLDER", type=Path, help="a run of generate train, or labelled images")
    settings, values = parse_settings(parser, JudgeSettings, argv)
    path = values.path

    from competition.data.prepare import find_data
    from competition.generative.image_sets import beside, data_of, is_run, resize_of
    from competition.generative.run_pictures import pictures_to_judge
    from competition.judging.judge import in_words
    from competition.judging.judge import judge as decide
    from competition.stop import Stop, Stopped

    settings = settings.replace(resize=settings.resize or resize_of(path))
    if is_run(path):
        if settings.data is None:
            settings = settings.replace(**data_of(path, settings))
        find_data(settings)  # what is not there is told before pictures are made
    out = settings.out or (path / "judged" if is_run(path) else beside(path, "judged"))
    pictures, unseen = pictures_to_judge(path, out, settings.per_class, settings.seed, settings.device)
    stop = Stop.after(settings.time_limit, start)
    try:
        findings = decide(pictures, unseen, settings, out, stop)
    except Stopped:
        stop.raise_if_signalled()
        print(f"{out}: not finished; the same command goes on")
        return 3
    print(f"{in_words(findings)}\n{out}/judge.json")
    return 0


def report(argv: Sequence[str]) -> int:
    """Write one HTML page: samples, losses, figures, neighbours and verdicts; several runs stand side by side."""
    parser = Parser(report.__doc__ or "", prog="python -m competition generate report")
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="runs of generate train")
    parser.add_argument("--out", metavar="FILE.html", type=Path, help="auto: report.html in the first run's folder")
    values = parser.parse(argv)

    from competition.generative.run_page import write_report

    path = write_report(values.runs, values.out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


SUBVERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "interpolate": interpolate,
    "export": export,
    "measure": measure,
    "judge": judge,
    "report": report,
}

"""Look for everything wrong with a data set before any training."""

from collections.abc import Sequence

from competition.cli import Parser, parse_settings
from competition.config import CheckSettings


def main(argv: Sequence[str]) -> int:
    """Print every problem of a data set; exit code 2 where training would be refused."""
    parser = Parser(__doc__ or "", prog="python -m competition check")
    parser.add_argument("path", nargs="?", metavar="DATA", help="folder or zip; without it, the embedded sample")
    settings, values = parse_settings(parser, CheckSettings, argv)
    if values.path:
        settings = settings.replace(data=values.path)

    from competition.data.checks import check, format_report
    from competition.data.prepare import decode, fatal_problems, find_data, natural_size

    catalog = find_data(settings)
    store = decode(settings, catalog, natural_size(catalog), "squash")
    problems = check(catalog, store.facts, folds=settings.folds)
    print(format_report(problems, catalog, settings.is_strict))
    return 2 if fatal_problems(settings, problems) else 0

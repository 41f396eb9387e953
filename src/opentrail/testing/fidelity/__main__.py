"""``python -m opentrail.testing.fidelity RECORDS...``: how many real records Opentrail would have written alike."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from opentrail.server.catalog import BotocoreCatalog
from opentrail.server.recording_rules import load_rules
from opentrail.testing.fidelity.cases import distinct_cases, is_api_call, read_records
from opentrail.testing.fidelity.rebuild import Rebuilder
from opentrail.testing.fidelity.replay import InProcess, Replay, run_through_server
from opentrail.testing.fidelity.report import Report, format_page, format_table


def measure(files: Sequence[Path], *, in_process: bool = False) -> Report:
    """Each distinct shape among the records of ``files``, made again and compared."""
    catalog, rules = BotocoreCatalog(), load_rules()
    rebuilder, report = Rebuilder(catalog, rules), Report()
    with ExitStack() as stack:
        replay: Replay = InProcess(catalog, rules) if in_process else stack.enter_context(run_through_server())
        for case in distinct_cases(read_records(files)):
            try:
                rebuilt = rebuilder.rebuild(case.record)
                report.add(case, None if rebuilt is None else replay.replay(rebuilt))
            except Exception as error:  # noqa: BLE001  anyone's records: one that is like no call costs its own case
                report.add(case, None, trouble=f"{type(error).__name__}: {error}")
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or JSON; the exit code says whether every difference has its reason."""
    parser = argparse.ArgumentParser(prog="python -m opentrail.testing.fidelity", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="NDJSON or log files, gzipped or not")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page of docs/fidelity.md there")
    parser.add_argument("--in-process", action="store_true", help="without a server: quicker, the same result")
    options = parser.parse_args(arguments)
    files = [file for file in options.files if file.exists()]
    if not files:
        sys.stderr.write("no records are there to be compared\n")
        return 0
    report = measure(files, in_process=options.in_process)
    if options.page is not None:
        counts = {file.name: sum(map(is_api_call, read_records([file]))) for file in files}
        options.page.write_text(format_page(report, counts))
    if options.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=1) + "\n")
    else:
        sys.stdout.write(format_table(report.rows()) + "\n")
    unexplained = [each for each in report.remaining() if not each.reason]
    for each in unexplained:
        difference = each.difference
        sys.stderr.write(f"{each.service} {each.event}: {difference.path} {difference.how}\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())

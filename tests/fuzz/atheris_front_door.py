"""Coverage-guided fuzzing of the front door: ``python tests/fuzz/atheris_front_door.py [SECONDS]`` (``make fuzz``).

The requests are those of ``testing.request_maker``, steered by libFuzzer instead of drawn at random; every answer must
keep the rules of ``testing.front_door``.  A finding ends the run with a traceback and the request, and exit code 77.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

PREPARE_EVERY = 300  # calls: what fuzzing has deleted is made again


class SteeredRandom(Random):
    """Draws that a fuzzer decides; zeros once its bytes are used up."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        super().__init__(0)

    def seed(self, *_arguments: Any, **_options: Any) -> None:
        """There is no seed."""

    def getrandbits(self, bits: int, /) -> int:
        drawn: int = self._provider.ConsumeIntInRange(0, (1 << bits) - 1)
        return drawn

    def random(self) -> float:
        return self.getrandbits(32) / (1 << 32)


def fuzz(folder: Path, seconds: int) -> None:
    """Fuzz for ``seconds``, in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["opentrail"]):
        from opentrail.server.config import Settings
        from opentrail.server.service_table import SERVICES
        from opentrail.testing.front_door import FrontDoorOracle, prepare
        from opentrail.testing.local_endpoint import LocalRequest, run_local_endpoint
        from opentrail.testing.request_maker import TEXTS, make_anything, make_call, make_foreign_call, operations_of

    operations = operations_of(SERVICES)
    with run_local_endpoint(Settings(data_dir=folder / "data", account_id="123456789012")) as endpoint:
        oracle = FrontDoorOracle(endpoint)
        catalog = endpoint.runtime.door.catalog
        foreign = ("ec2", "dynamodb", "lambda", "route53", "cloudwatch", "sqs", "sns", "kms")
        words = TEXTS + prepare(oracle, endpoint) * 5
        turns = 0

        def one(data: bytes) -> None:
            nonlocal turns, words
            turns += 1
            if turns % PREPARE_EVERY == 0:
                words = TEXTS + prepare(oracle, endpoint) * 5
            random = SteeredRandom(atheris.FuzzedDataProvider(data))
            kind = random.randrange(8)
            signing_name, proven = "s3", kind < 6
            if kind < 5:
                name, operation = random.choice(operations)
                model = catalog.service(name)
                request: LocalRequest = make_call(random, model, model.operations[operation], words)
                signing_name = model.signing_name
            elif kind == 5:
                name = random.choice(foreign)
                request, signing_name = make_foreign_call(random, catalog, name), catalog.service(name).signing_name
            else:
                request = make_anything(random)
            try:
                sent = request if kind == 7 else request.signed(endpoint.key, signing_name, "us-east-1")
                oracle.check(sent, proven=proven)
            except BaseException:
                sys.stderr.write(f"{request}\n")
                raise

        atheris.Setup(
            [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-len_control=0", "-rss_limit_mb=0",
             f"-artifact_prefix={folder}/"],
            one,
        )  # fmt: skip
        atheris.Fuzz()


def main() -> int:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    if len(sys.argv) > 2:
        fuzz(Path(sys.argv[2]), seconds)
        return 0
    try:
        import atheris  # noqa: F401  is it there?
    except ImportError:
        sys.stdout.write("skipped: atheris is not installed here (pip install atheris; Linux alone has wheels)\n")
        return 0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="opentrail-fuzz-", dir=memory if os.access(memory, os.W_OK) else None
    ) as folder:
        return subprocess.run([sys.executable, __file__, str(seconds), folder], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

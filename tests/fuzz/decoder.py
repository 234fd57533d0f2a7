"""`make fuzz`: the decoder against any bytes, led by coverage (libFuzzer through atheris).

Each input is judged by `judge` of tests/contracts/test_event_contract.py, beside JSON Schema and Python's own parsers.
Before, `--single-bytes` messages with one byte changed are decoded by shape and one by one, and compared.
Inputs that reach new code stay in out/fuzz/corpus for the next run; one that breaks a promise is written beside it.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "tests" / "contracts" / "test_event_contract.py"
BY_SHAPE = ROOT / "tests" / "unit" / "schemas" / "test_decode_by_shape.py"
SLICE = 5_000
MAX_INPUT_BYTES = 8 * 1024 + 64  # both sides of the limit of a message
MAX_RESIDENT_MIB = 1024
SLOWEST_S = 5
TOKENS = r"""
    { } [ ] , : null true -0.0 1e999 NaN \\u0000 \\ud800 T Z +0500 -23:59 .999999999 2026-02-30 0000-01-01 9999-12-31
    \"name\": \"{ \xff\xfe \xef\xbb\xbf riverton medical cancelled officer_initiated
"""  # in libFuzzer's spelling


def main() -> int:
    """0: no finding in the time. 1: an input broke a promise; it is kept. 2: the fuzzer did not run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--single-bytes", type=int, default=200_000)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "fuzz")
    parser.add_argument("--in-process", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process is not None:
        fuzz(options.in_process)
    change_single_bytes(options.single_bytes)
    return report(options.out, options.seconds)


def change_single_bytes(count: int) -> None:
    """Raises AssertionError where the two ways of decoding differ; a third of each slice of 5,000 is changed."""
    test = module(BY_SHAPE)
    random = np.random.default_rng()
    for _ in range(0, count, SLICE // 3):
        values = [*test.GOOD, *test.GOOD[: SLICE - SLICE // 3 - len(test.GOOD)]]
        values += test.mutated(random, test.GOOD, SLICE // 3)
        test.assert_both_ways_agree([values[i] for i in random.permutation(len(values))])
    sys.stdout.write(f"{count:,} messages with one byte changed: decoding by shape and one by one agree\n")


def report(out: Path, seconds: int) -> int:
    """Run the fuzzer in a process of its own, because it ends its process, and say what it did."""
    corpus = out / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    before = set(out.glob("finding-*"))
    words = out / "words.dict"
    words.write_text("\n".join(f'"{word}"' for word in (*TOKENS.split(), *fields())), encoding="utf-8")
    command = [sys.executable, __file__, "--in-process", str(corpus), str(seeds(out)), f"-max_total_time={seconds}"]
    command += [f"-artifact_prefix={out}/finding-", f"-dict={words}", f"-max_len={MAX_INPUT_BYTES}"]
    command += [f"-rss_limit_mb={MAX_RESIDENT_MIB}", f"-timeout={SLOWEST_S}", "-print_final_stats=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, env=environment, check=False)
    said = ran.stdout.decode(errors="replace") + ran.stderr.decode(errors="replace")
    (out / "log.txt").write_text(said, encoding="utf-8")
    findings = sorted(set(out.glob("finding-*")) - before)
    executed = re.findall(r"stat::number_of_executed_units: *(\d+)", said)
    edges = re.findall(r"cov: (\d+)", said)
    if not executed:
        sys.stdout.write(f"the fuzzer did not run (exit code {ran.returncode}):\n{said[-2000:]}\n")
        return 2
    sys.stdout.write(
        f"executions {int(executed[-1]):,}, edges {edges[-1] if edges else 0}, "
        f"corpus {len(list(corpus.iterdir()))} inputs, findings {len(findings)}\n"
    )
    if ran.returncode or findings:
        why = re.findall(r"=== Uncaught Python exception: ===\n(.*?)\n\n", said, re.DOTALL)
        sys.stdout.write("".join(f"kept: {path}\n" for path in findings) + (why or [said[-2000:]])[0] + "\n")
        return 1
    return 0


def seeds(out: Path) -> Path:
    """A folder with every example, poison and largest message of the contract's test."""
    folder = out / "seeds"
    folder.mkdir(exist_ok=True)
    test = module(CONTRACT)
    for number, value in enumerate((*test.CORPUS, *test.LARGEST.values())):
        (folder / f"{number:03d}").write_bytes(value)
    return folder


def fields() -> list[str]:
    return [f'\\"{name}\\":' for name in module(CONTRACT).Event.__struct_fields__]


def module(test: Path):
    """A test's file as a module; it stands in no package."""
    spec = importlib.util.spec_from_file_location(test.stem, test)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fuzz(arguments: list[str]) -> None:
    """Judge inputs until the time is up. Does not return."""
    import atheris

    with atheris.instrument_imports(include=["schemas", "json"]):
        judge = module(CONTRACT).judge

    def judged(value: bytes) -> None:  # any other return value than None tells libFuzzer to forget the input
        judge(value)

    atheris.Setup([__file__, *arguments], judged)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

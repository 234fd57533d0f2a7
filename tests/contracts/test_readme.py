"""Pages: commands, settings and commits that they name exist; tables say what types and kept runs say.

Every command that README and tutorial show takes its arguments. The other pages also name commands in passing, with
placeholders: there the command and its options must exist.
"""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import kafka
import msgspec
import pytest
import typer

from benchmarks.__main__ import app as benchmarks_app
from docs.written import PARTS, PLACE, files, filled, run_days
from incident_risk import app
from lifecycle.gate import GatePlan, read_plan
from schemas.decode import decode_messages
from schemas.event import ORIGINS, REASONS, Event
from schemas.limits import MAX_EVENT_BYTES
from streaming.artifacts_in_force import load_artifact, spec_of
from streaming.settings import environment_names
from tests.harness.toy import toy_messages

ROOT = Path(__file__).parents[2]
FIRST_EVENT = ROOT / "docs" / "tutorial" / "first-event.md"
WALKED = (ROOT / "README.md", FIRST_EVENT)
APPS = {"risk": app, "python -m benchmarks": benchmarks_app}
PAGES = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "*/README.md", "docs/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
NAMING = {"README.md", "docs/reference/commands.md", "deploy/README.md", "models/README.md", "docs/explanation/load.md"}
NAMED = re.compile(
    r"(?:^|\s)((?:[A-Z][A-Z0-9_]*=\S+ )*)(?:\S*/)?(?<!--org )(" + "|".join(map(re.escape, APPS)) + r"|make)(?=\s|$)(.*)"
)
ENDS_A_COMMAND = {"&&", "||", "|", ";", "&", ">"}
USAGE_ERROR = typer.BadParameter.__base__  # the common base of all that can be wrong with arguments
FENCE = re.compile(r"^( *)```.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(?:console|bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands():
    """Commands in the console blocks of the README and the tutorial; prompts and comments removed, lines joined."""
    blocks = [block for page in WALKED for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def fault(line):
    """Why a command cannot be run as it stands; None when it can."""
    if line.startswith("export "):
        return next(filter(None, map(fault_in_variable, shlex.split(line)[1:])), None)
    if (command := command_in(line)) is None:
        return "not a command that this test knows"
    _, program, words = command
    return fault_in_name(*command) or (None if program == "make" else fault_in_arguments(APPS[program], words))


def fault_in_targets(words):
    """`words`: targets of make, and variables of the Makefile that are set."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    names = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE) + re.findall(r"^([A-Z_]+ \?=)", makefile, re.MULTILINE)
    unknown = [word for word in words if re.sub(r"^([A-Z_]+)=.*", r"\1 ?=", word) not in names]
    return f"Makefile has no target or variable {unknown}" if unknown else None


def fault_in_variable(assignment):
    name = assignment.partition("=")[0]
    names = environment_names()
    return None if name in names or name.removesuffix("_FILE") in names else f"{name} is not a setting"


def fault_in_arguments(app, words):
    command, name = typer.main.get_command(app), "app"
    while getattr(command, "commands", None):
        if not words or words[0] not in command.commands:
            return f"{name} has no command {words[:1]}"
        name, *words = words
        command = command.commands[name]
    try:
        command.make_context(name, list(words))
    except typer.Exit:  # --help
        return None
    except USAGE_ERROR as error:
        return f"{type(error).__name__}: {error}"
    return None


def code_in(text):
    """The lines of a page's fences, joined where they go on, and its inline code."""
    blocks = [block.replace("\\\n", " ") for _, block in FENCE.findall(text)]
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return lines + [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def named_commands(text):
    """Our commands that a page names, in fences of any language and in inline code: (variables, program, words)."""
    yield from filter(None, map(command_in, code_in(text)))


def command_in(line):
    """(variables, program, words) of our command in a line; None where there is none."""
    match = NAMED.search(line)
    if match is None or (match[2] == "make" and match.start(2)):
        return None
    words = shlex.split(match[3], comments=True)
    ends = [number for number, word in enumerate(words) if word in ENDS_A_COMMAND]
    return match[1].split(), match[2], words[: min(ends, default=len(words))]


def fault_in_name(variables, program, words):
    """Why nothing of that name exists; None where command and options do. Values are not looked at."""
    if said := next(filter(None, map(fault_in_variable, variables)), None):
        return said
    if program == "make":
        return fault_in_targets(words)
    return fault_in_options(typer.main.get_command(APPS[program]), program, words)


def fault_in_options(command, name, words):
    """A group's own options may stand before its command, and `start|stop` names two of its commands."""
    options = {"--help"}.union(*(parameter.opts + parameter.secondary_opts for parameter in command.params))
    for number, word in enumerate(words):
        if word.startswith("--"):
            if word.partition("=")[0] not in options:
                return f"{name} has no option {word}"
        elif getattr(command, "commands", None) and word != "...":
            for choice in word.split("|"):
                if choice not in command.commands:
                    return f"{name} has no command {choice}"
                if said := fault_in_options(command.commands[choice], f"{name} {choice}", words[number + 1 :]):
                    return said
            return None
    return None


def test_a_command_of_readme_and_tutorial_exists_and_takes_its_arguments():
    shown = commands()
    assert {"make demo", "make test", "risk run", "risk broker"} <= set(shown)
    assert {line: said for line in shown if (said := fault(line))} == {}


def test_the_check_finds_what_is_wrong():
    for line, word in {
        "make coffee": "coffee",
        "make load HOURS=3": "HOURS",
        "export RISK_SINKS=influxdb": "RISK_SINKS",
        "RISK_TOPICS=a risk run": "RISK_TOPICS",
        "risk fly": "fly",
        "risk feedback send|fly": "fly",
        "risk feedback": "feedback",
        "risk run --klock event": "klock",
        "risk replay some.csv --layout chicago --region chicago --speed fast": "number",
        "rm -rf /": "knows",
    }.items():
        assert word in fault(line)


def test_commands_and_options_that_a_page_names_exist():
    named = {page: list(named_commands((ROOT / page).read_text(encoding="utf-8"))) for page in PAGES}
    assert all(named[page] for page in NAMING)
    commands_of_pages = [(page, command) for page, names in named.items() for command in names]
    wrong = {(page, str(command)): fault_in_name(*command) for page, command in commands_of_pages}
    assert {place: said for place, said in wrong.items() if said} == {}


def test_the_event_that_the_tutorial_sends_is_counted(monkeypatch):
    """Its Python, word for word, with a stand-in for the client; decoded as the bundled region's job would."""
    (snippet,) = re.findall(r"^```python\n(.*?)^```", FIRST_EVENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    sent = []

    class Producer:
        def __init__(self, *, bootstrap_servers):
            assert bootstrap_servers == "127.0.0.1:9092"

        def send(self, topic, *, key, value):
            sent.append((topic, key, value))
            return SimpleNamespace(get=lambda timeout: None)

    monkeypatch.setattr(kafka, "KafkaProducer", Producer)
    exec(snippet, {})  # noqa: S102 - our own page
    ((topic, key, value),) = sent
    assert (topic, key.decode()) == ("incidents.v1", json.loads(value)["incident_id"])
    (folder,) = (ROOT / "streaming" / "sample" / "artifacts" / "montgomery").iterdir()
    now_ms = 1_800_000_000_000
    decoded = decode_messages(toy_messages([value], now_ms), {"montgomery": spec_of(str(folder))}, now_ms=now_ms)
    assert decoded.rejections == {}
    (occurred_s,) = decoded.incidents["montgomery"].occurred_s
    assert occurred_s >= load_artifact(str(folder)).manifest.data.cutoff_s + 86_400  # after the day that is replayed


CITED = re.compile(r"\bcommits? ((?:[0-9a-f]{7,40}(?:, and |, | and | to )?)+)")


def paragraphs_with_commits():
    """(page, paragraph, commits) of each paragraph or item that cites any."""
    for page in PAGES:
        for paragraph in re.split(r"\n\s*\n|\n(?=\s*- )", (ROOT / page).read_text(encoding="utf-8")):
            text = " ".join(paragraph.split())
            if commits := [name for words in CITED.findall(text) for name in re.findall(r"[0-9a-f]{7,40}", words)]:
                yield page, text, commits


def test_every_commit_that_a_page_cites_exists():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no history")
    is_shallow = subprocess.run([git, "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True)
    assert is_shallow.stdout.strip() == "false", "fetch the whole history: git fetch --unshallow"
    cited = {(page, commit) for page, _, commits in paragraphs_with_commits() for commit in commits}
    assert len(cited) > 10
    missing = {
        (page, commit)
        for page, commit in cited
        if subprocess.run([git, "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True).returncode
    }
    assert missing == set()


def test_a_page_says_when_the_figures_of_a_commit_were_measured():
    """In a form from which the site tells their age."""
    assert [(page, text) for page, text, _ in paragraphs_with_commits() if not list(run_days(text))] == []


def test_a_file_is_what_code_writes():
    differing = [path.name for path, content in files().items() if path.read_bytes() != content]
    assert differing == [], "run `make pages` and commit the result"


def test_every_part_that_code_writes_has_one_page():
    places = [name for page in PAGES for name in PLACE.findall((ROOT / page).read_text(encoding="utf-8"))]
    assert sorted(places) == sorted(PARTS)


def test_what_code_writes_of_a_page_tells_what_is_declared():
    page = filled((ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8"))
    assert "- `RISK_TRIGGER_S`: Shortest time between two batches, seconds (default `0.5`)" in page
    codes = PARTS["exit codes"]()
    assert "- 9: `EventsGone`: Kafka deleted events" in codes
    assert "- `incident_risk_events_total{region,outcome}`: " in PARTS["metrics"]()
    assert "risk executor" not in PARTS["live commands"](), "it is hidden"
    assert "### `risk feedback send`" in PARTS["live commands"]().replace("#### ", "### ")


FOLDER = ROOT / "schemas"
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")
NAMES = (ROOT / "docs" / "reference" / "names-elsewhere.md").read_text(encoding="utf-8")


def table_after(heading, text=TEXT):
    """The rows of the first table after a heading, header and rule left out."""
    lines = text[text.index(heading) :].split("\n")
    start = next(at for at, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_fields_is_the_event_with_the_limits_of_its_schema():
    rows = table_after("## For the programmer of a producer")
    told = [(name, required == "yes") for fields, _, required, _ in rows for name in names(fields)]
    assert told == [(field.name, field.required) for field in msgspec.structs.fields(Event)]
    schema = json.loads((FOLDER / "event.schema.json").read_text(encoding="utf-8"))["properties"]
    described = {name: row[1] for row in rows for name in names(row[0])}
    assert names(described["origin"]) == list(ORIGINS)
    assert sorted(names(described["status"])) == schema["status"]["enum"]
    assert str(schema["revision"]["maximum"]) in described["revision"]
    assert f"1 to {schema['incident_id']['maxLength']} " in described["incident_id"]
    for name, limit in (("type_code", "maxLength"), ("priority", "maximum"), ("accuracy_m", "maximum")):
        assert str(schema[name]["anyOf"][0][limit]) in described[name]
    assert f"{MAX_EVENT_BYTES:,} bytes" in TEXT


def test_every_field_has_its_names_elsewhere():
    rows = table_after("# Names in other systems", NAMES)
    assert {name for row in rows for name in names(row[0])} == set(Event.__struct_fields__)


def test_every_reason_is_explained():
    section = TEXT.partition("## When a message is refused")[2].partition("\n#")[0]
    assert re.findall(r"^- `([a-z_]+)`: ", section, re.MULTILINE) == list(REASONS)


def test_the_event_on_the_page_is_an_example():
    [block] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert json.loads(block) == json.loads((FOLDER / "examples" / "good" / "new_incident.json").read_bytes())


EVALUATED = {
    "Chicago 3 km, day": "chicago-3km-daily",
    "Chicago 1 km, hour": "chicago-1km-hourly",
    "Montgomery 2 km, hour": "montgomery-2km-hourly",
}
EVALUATION = "docs/explanation/evaluation.md"


def rows_below(page, heading):
    """Of the one table of a page that begins so."""
    (table,) = (ROOT / page).read_text(encoding="utf-8").split(f"\n{heading}")[1:]
    return table.partition("\n\n")[0].splitlines()[2:]


def kept(folder, name):
    """What a run left."""
    return json.loads((ROOT / folder / f"{name}.json").read_bytes())


def against(compared):
    spread = f"({compared['percent_low']:+.3f}, {compared['percent_high']:+.3f})"
    return f"{compared['percent']:+.3f} % {spread}: {compared['verdict']}"


def row_of(*cells):
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def test_the_tables_of_the_evaluation():
    origins = [kept("docs/evaluation", stem)["origins"] for stem in EVALUATED.values()]
    networks = [next(row for row in each["rows"] if row["model"] == "network") for each in origins]
    rivals = ("versus_best_baseline", "versus_best_rule", "versus_own_baseline")
    assert rows_below(EVALUATION, "| task | best rival |") == [
        row_of(task, each["best_baseline"], *(against(network[versus]) for versus in rivals))
        for task, each, network in zip(EVALUATED, origins, networks, strict=True)
    ]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    days, *hours = (f"{-network['versus_own_baseline']['percent']:.2f} %" for network in networks)
    assert f"{days} of the log score for Chicago's days (a tie), {hours[0]} for its hours and {hours[1]} for" in readme
    rules = sorted(-network["versus_best_rule"]["percent"] for network in networks)
    assert f"is {rules[0]:.2f} to {rules[-1]:.2f} % worse than the network; regression and boosting tie" in readme
    assert [network["versus_best_baseline"]["verdict"] for network in networks] == ["tie"] * 3


def test_the_table_of_delays():
    rows = []
    for days in (0, 1, 3, 7):
        evaluated = kept("docs/evaluation", f"chicago-3km-daily-delay-{days}" if days else "chicago-3km-daily")
        network = next(row for row in evaluated["rows"] if row["kind"] == "network")
        compared = (against(network["versus_best_baseline"]), against(network["versus_best_rule"]))
        rows.append(row_of(str(days), f"{network['forecast_over_actual']:.3f}", *compared))
    assert rows_below(EVALUATION, "| delay, days |") == rows


def test_the_table_of_what_training_and_evaluation_cost():
    runs = [kept("benchmarks", name)["costs"] for name in ("training", "evaluation")]
    of_two_years = [[cost for cost in costs if cost["years"] == 2] for costs in runs]
    rows = []
    for costs in zip(*of_two_years, strict=True):
        (cells,) = {(cost["cells"], cost["incidents"]) for cost in costs}
        took = (f"{cost['seconds']:,.0f}, {cost['peak_mib'] / 1024:.1f}" for cost in costs)
        rows.append(row_of(*(f"{number:,}" for number in cells), *took))
    assert rows_below(EVALUATION, "| cells | incidents |") == rows


def test_the_table_of_the_gate():
    """Where neighbouring days correlate."""
    assert rows_below("docs/how-to/retraining.md", "| margin | mean difference |") == [
        row_of(
            f"{trial['margin']:g}",
            f"{trial['mean']:g}",
            f"{100 * trial['promoted']:.1f} %",
            f"{trial['median_day']:g}",
            f"{100 * trial['stopped']:.1f} %",
        )
        for trial in kept("benchmarks", "gate")["gate"]
        if trial["correlation"]
    ]


def test_the_plan_that_is_shipped_has_every_key_with_its_default():
    path = ROOT / "deploy" / "gate.toml"
    assert read_plan(path)[0] == GatePlan()
    assert set(tomllib.loads(path.read_text())) == set(msgspec.structs.asdict(GatePlan()))


def ratio(results, rival):
    """The median of the rounds, with the lowest and the highest."""
    low, high = results[f"ratio_to_{rival}_spread"]
    return f"{results[f'ratio_to_{rival}']:.2f} ({low:.2f} to {high:.2f})"


def test_readme_and_table_have_the_newest_throughput_and_latency():
    results = kept("benchmarks", "results")
    rounds = results["throughput_4_regions_rounds"]
    assert all(4 * each["warm_up_events"] == each["events"] for each in rounds)
    with_first_batch = median(each["total_eps"] for each in rounds)
    latency, floor = results["latency_ms"], results["spark_floor_latency_ms"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for figure in (
        results["date"][:10],
        f"commit {results['commit']}",
        f"{round(results['throughput_4_regions_eps'], -3):,} events/s",
        f"{round(with_first_batch, -3):,.0f}",
        f"{latency['p50'] / 1000:.2f} s",
        f"{results['latency_rate_per_s']:,.0f} events/s",
        f"{floor['p50'] / 1000:.2f} s",
    ):
        assert figure in readme
    page = "docs/explanation/load.md"
    rows = [row.split("|") for row in rows_below(page, "| figure |")]
    assert {row[1].strip(): (row[2].strip(), row[4].strip()) for row in rows} == {
        "the same with the first batch": (f"{with_first_batch:,.0f}", ""),
        "4 regions, events/s": (f"{results['throughput_4_regions_eps']:,}", f"{results['spark_floor_eps']:,}"),
        "1 region, events/s": (f"{results['throughput_1_region_eps']:,}", ""),
        "times the plain loop": (ratio(results, "plain_loop"), ""),
        "times Pathway": (ratio(results, "pathway"), ""),
        "latency p50 / p99, ms": tuple(f"{of['p50']:.0f} / {of['p99']:.0f}" for of in (latency, floor)),
        "full frame of 48x48 cells, ms": (f"{results['full_frame_ms']['48x48']:.0f}", ""),
    }
    assert f"commit {results['commit']}" in (ROOT / page).read_text(encoding="utf-8")

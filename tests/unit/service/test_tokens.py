"""Who may ask: hashes in a file, regions, roles, how often; and the commands `serve` and `token`."""

import hashlib
import json
import os
import re
import socket
from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from incident_risk import app
from schemas.errors import SettingsError
from service.tokens import Rates, Tokens, make_token, read_tokens
from tests.harness.service import Client, Clock, leave_frame, waited
from tests.unit.service.conftest import DECISIONS, POSTS, SCORES, UNUSUAL, made_token, problem, served


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def made(folder):
    return {name: made_token(folder, name, regions) for name, regions in {"cad": [], "north": ["riverton"]}.items()}


@pytest.fixture(scope="module")
def base(folder, made):
    for region in ("riverton", "lakeside"):
        leave_frame(folder, region)
    with served(folder) as client:
        yield client.base


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.jsonl"


def test_the_file_holds_no_token(folder, made):
    text = (folder / "tokens.jsonl").read_text(encoding="utf-8")
    assert all(token not in text for token in made.values())
    assert {len(token) for token in made.values()} == {43}  # of 256 random bits
    assert [caller.name for caller in read_tokens(folder / "tokens.jsonl")] == ["cad", "north"]


@pytest.mark.parametrize("header", ["Bearer", "Basic eDp5", "Bearer " + "x" * 5000])
def test_what_is_no_known_token_opens_nothing(base, header):
    answer = Client(base).get("/v1/regions", Authorization=header)
    assert problem(answer)[0] == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_figures_of_all_regions_are_for_tokens_that_open_them_all(base, made):
    answers = {name: Client(base, token).get("/metrics") for name, token in made.items()}
    assert (answers["cad"].status, answers["north"].status) == (200, 403)
    assert b"lakeside" in answers["cad"].data
    assert b"lakeside" not in answers["north"].data
    health = Client(base).get("/health")  # needs none, and names no region
    assert (health.status, b"riverton" in health.data) == (200, False)


def test_a_token_that_a_proxy_sends_for_its_people_opens_the_map(base, made):
    assert [Client(base, token).get("/").status for token in (made["north"], None, "wrong")] == [200, 303, 303]


def test_a_token_opens_its_regions_alone(base, made):
    everything, north = Client(base, made["cad"]), Client(base, made["north"])
    assert [entry["region"] for entry in everything.json("/v1/regions")["regions"]] == ["lakeside", "riverton"]
    assert [entry["region"] for entry in north.json("/v1/regions")["regions"]] == ["riverton"]
    for path in ("/v1/regions/{}/scores", "/v1/regions/{}/outlines"):
        assert north.get(path.format("riverton")).status == 200
        closed, unknown = north.get(path.format("lakeside")), north.get(path.format("nowhere"))
        assert (closed.status, unknown.status) == (404, 404)
        assert closed.data.replace(b"lakeside", b"nowhere") == unknown.data


def test_a_token_ends_within_seconds_of_its_line(base, folder):
    file, client = folder / "tokens.jsonl", Client(base, made_token(folder, "passing"))
    assert waited(lambda: client.get("/v1/regions").status == 200)
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n", encoding="utf-8")
    assert waited(lambda: client.get("/v1/regions").status == 401)


# A role that is misspelt would open everything.
LINE = b'{"name": "a", "sha256": "%s", ' % (b"0" * 64)
MISSPELT = [LINE + b'"rol": "official"}', LINE + b'"role": "chief"}']


@pytest.mark.parametrize("damage", [b"not json", b'{"name": "a"}', b'{"name": "\xff"}', *MISSPELT, None])
def test_a_file_that_cannot_be_used_opens_nothing_and_is_said_once_each_time(path, caplog, damage):
    remedy, tokens, token = "make it with `token NAME --tokens FILE`", Tokens(path), ""
    no_line = f"the tokens' file {path} has a line that is no token's: {remedy}"
    faults = [f"the tokens' file {path} cannot be read (No such file or directory): {remedy}"]
    faults.append(no_line if damage else faults[0])
    for fault in faults:
        for _ in range(2):
            tokens.look()
            assert (tokens.is_broken, tokens.caller(token)) == (True, None)
        with pytest.raises(SettingsError, match=f"^{re.escape(fault)}$"):  # without a word of the file
            read_tokens(path)
        path.unlink(missing_ok=True)
        token = make_token(path, "cad", [])
        tokens.look()
        assert (tokens.is_broken, tokens.caller(token).name) == (False, "cad")
        path.unlink()
        if damage:
            path.write_bytes(damage)
    assert caplog.messages == [f"no token is accepted: {fault}" for fault in faults]


def test_a_token_is_at_most_200_characters_long(path):
    lines = [
        {"name": f"t{length}", "sha256": hashlib.sha256(b"x" * length).hexdigest(), "regions": [], "screen": False}
        for length in (200, 201)
    ]
    path.write_text("\n\n".join(map(json.dumps, lines)))
    tokens = Tokens(path)
    tokens.look()
    assert tokens.caller("x" * 200).name == "t200"
    assert tokens.caller("x" * 201) is None
    assert tokens.caller("\udcff") is None  # a byte of a header that is no text


def made_by_command(path, name, *words):
    """The token that the command prints."""
    return CliRunner().invoke(app, ["token", name, "--tokens", str(path), *words]).stdout.strip()


def test_a_new_token_of_a_name_replaces_the_old_one(path):
    old, new = made_by_command(path, "cad"), made_by_command(path, "cad", "--region", "riverton")
    tokens = Tokens(path)
    tokens.look()
    assert tokens.caller(old) is None
    assert tokens.caller(new).regions == ("riverton",)
    made_by_command(path, "wall", "--region", "riverton", "--region", "lakeside", "--screen")
    cad, wall = read_tokens(path)
    assert (cad.name, cad.screen) == ("cad", False)
    assert (wall.name, wall.regions, wall.screen) == ("wall", ("lakeside", "riverton"), True)


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o644])
def test_a_token_that_is_added_lets_the_same_users_read_the_file(path, mode):
    make_token(path, "cad", [])
    path.chmod(mode)
    before = os.umask(0o077)
    try:
        make_token(path, "desk", [])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(("name", "regions"), [("a b", []), ("", []), ("cad", ["No Region"])])
def test_a_token_that_could_not_be_read_again_is_not_made(path, name, regions):
    with pytest.raises(SettingsError, match=re.escape(f"token {name!r} for {regions} cannot be (")) as refused:
        make_token(path, name, regions)
    assert refused.value.remedy.startswith("choose a name of letters, digits")
    assert not list(path.parent.iterdir())


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path):
    with pytest.raises(SettingsError, match=re.escape(f"{tmp_path} cannot be read (Is a directory): make it with")):
        make_token(tmp_path, "cad", [])
    (tmp_path / ".tokens.jsonl.part").mkdir()
    with pytest.raises(SettingsError, match=r"tokens\.jsonl cannot be written .*: choose another file with --tokens"):
        make_token(tmp_path / "tokens.jsonl", "cad", [])


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.5, 20))
def test_no_caller_gets_more_than_the_rate_and_a_burst(waits, per_s):
    now = [0.0]
    rates = Rates(per_s, lambda: now[0])
    answered = 0
    for wait in waits:
        now[0] += wait
        answered += rates.wait_s("cad") == 0
    assert answered <= max(1, per_s * 5) + now[0] * per_s + 1e-6


def test_a_caller_may_ask_for_five_seconds_at_once_and_is_told_how_long_to_wait():
    now = [100.0]
    rates, rare = Rates(2.0, lambda: now[0]), Rates(0.125, lambda: now[0])
    assert [rates.wait_s("cad") for _ in range(12)] == [0.0] * 10 + [0.5] * 2
    assert [rare.wait_s("cad") for _ in range(2)] == [0.0, 8.0]
    for passed_s, asks, waits in ((0.25, 1, [0.25]), (0.25, 2, [0.0, 0.5]), (3600, 11, [0.0] * 10 + [0.5])):
        assert rates.wait_s(f"desk after {now[0]}") == 0.0
        now[0] += passed_s
        assert [rates.wait_s("cad") for _ in range(asks)] == waits


def test_without_tokens_only_this_machine_is_answered(tmp_path):
    leave_frame(tmp_path)
    with served(tmp_path) as client:
        assert client.get("/v1/regions").status == 200
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
            assert problem(client.get("/v1/regions", Host=host))[0] == 421


@pytest.mark.parametrize(("screen", "lasting_s"), [(False, 12 * 3600), (True, 400 * 86_400)])
def test_a_sign_in_lasts_from_its_last_use(tmp_path, screen, lasting_s):
    leave_frame(tmp_path)
    token, clock = made_token(tmp_path, screen=screen), Clock()
    with served(tmp_path, clock=clock) as client:
        fields = {"fields": {"token": token}, "encode_multipart": False}
        answer = client.ask("/login", method="POST", redirect=False, **fields)
        for ahead_s, path in ((0, ""), (1800, "/v1/regions"), (5400, "/v1/regions"), (10_800, "/")):
            clock.ahead_s = ahead_s
            cookies = SimpleCookie("; ".join(answer.headers.getlist("Set-Cookie")))
            sent = "; ".join(f"{name}={cookies[name].value}" for name in ("risk_token", "risk_signed_in"))
            assert int(cookies["risk_token"]["max-age"]) == lasting_s
            if path:
                used = client.get(path, Cookie=sent)
                assert ("Set-Cookie" in used.headers) == (ahead_s != 1800)  # not within the hour
                answer = answer if ahead_s == 1800 else used
        cookies = SimpleCookie("; ".join(answer.headers.getlist("Set-Cookie")))
        assert abs(int(cookies["risk_signed_in"].value) - clock() - lasting_s) < 60
        assert "Set-Cookie" not in Client(client.base, token).get("/v1/regions").headers


DECISION = {"what": "acknowledged", "category": "all", "first": "r001c001", "last": "r002c002", "reason": "unit sent"}
# What every role opens. Then what is asked: posts, decide, record, metrics.
EACH = ("/", "/health", "/v1/regions", SCORES, UNUSUAL)
RIGHTS = {
    None: (200, 200, 200, 200),
    "dispatcher": (200, 200, 403, 403),
    "analyst": (200, 403, 403, 403),
    "operator": (403, 403, 200, 200),
    "official": (403, 403, 200, 403),
    "screen": (403, 403, 403, 403),
}


@pytest.mark.parametrize("role", RIGHTS)
def test_a_role_opens_what_it_is_for_and_a_refusal_names_those_that_open_it(tmp_path, path, role):
    leave_frame(tmp_path, answered_by=("battery",))
    words = ("--screen",) if role == "screen" else ("--role", role) if role else ()
    with served(tmp_path, made_by_command(path, "desk", *words)) as client:
        opened = [client.get(address).status for address in EACH]
        in_force = client.json(DECISIONS)
        asked = (
            client.post(POSTS, {"units": []}),
            client.post(DECISIONS, DECISION),
            client.get(f"{DECISIONS}/record"),
            client.get("/metrics"),
        )
    assert opened == [200] * 5
    assert tuple(answer.status for answer in asked) == RIGHTS[role]
    assert in_force == {"region": "riverton", "may_decide": RIGHTS[role][1] == 200, "decisions": []}
    refused = [problem(answer)[1] for answer in asked if answer.status == 403]
    assert all(re.search("ask with (another token|one that was made with --role )", said) for said in refused)


def test_a_role_that_does_not_exist_is_refused(path):
    ran = CliRunner().invoke(app, ["token", "x", "--tokens", str(path), "--role", "chief"])
    assert (ran.exit_code, list(path.parent.iterdir())) == (2, [])


@pytest.fixture
def serve(monkeypatch):
    """serve(*words): the command up to where it would listen. Gives the run, and the applications that it made."""
    applications = []
    monkeypatch.setattr("uvicorn.run", lambda application, **_: applications.append(application))
    monkeypatch.setattr("socket.create_server", lambda *_, **__: socket.socket())  # it may be no address of ours
    return lambda *words: (CliRunner().invoke(app, ["serve", *words]), applications)


@pytest.mark.parametrize(
    ("listen", "opens"),
    [
        ("0.0.0.0:9000", "http://127.0.0.1:9000/"),
        ("[::]:9000", "http://[::1]:9000/"),
        ("192.168.0.7:80", "http://192.168.0.7:80/"),
    ],
)
def test_the_address_that_is_said_opens(tmp_path, path, serve, listen, opens):
    make_token(path, "cad", [])
    ran, _ = serve("--frames", str(tmp_path), "--tokens", str(path), "--listen", listen)
    assert f"the map is at {opens}, the document of the interface at {opens}openapi.json" in ran.stderr


def test_the_command_lets_the_named_origins_read(tmp_path, serve):
    named = ["http://localhost:5173", "https://map.example.org"]
    ran, applications = serve("--frames", str(tmp_path), "--origin", named[0], "--origin", named[1])
    assert (ran.exit_code, applications[0].allow_origins) == (0, named)


@pytest.mark.parametrize("is_there", [True, False])
def test_the_command_says_that_no_job_has_written_frames_yet(tmp_path, serve, is_there):
    frames = tmp_path if is_there else tmp_path / "fames"
    ran, _ = serve("--frames", str(frames))
    assert (f"--frames {frames} is not there yet" in ran.stderr) is not is_there


@pytest.mark.parametrize(
    "words",
    [
        *(("--listen", at) for at in ("0.0.0.0:8321", "192.168.0.7:80", "8321", "127.0.0.1:0", "localhost:x")),
        *(
            ("--origin", of)
            for of in ("*", "null", "map.example.org", "https://map.example.org/", "https://*.example.org")
        ),
    ],
)
def test_the_command_refuses_to_answer_others_without_tokens_and_what_is_no_origin_of_a_web_app(words):
    assert isinstance(CliRunner().invoke(app, ["serve", *words]).exception, SettingsError)


def test_the_command_says_no_address_that_another_program_has(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = CliRunner().invoke(app, ["serve", "--frames", str(tmp_path), "--listen", listen])
    assert isinstance(ran.exception, SettingsError)
    assert f"--listen {listen}: nothing can listen there" in str(ran.exception)
    assert "the map is at" not in ran.stderr

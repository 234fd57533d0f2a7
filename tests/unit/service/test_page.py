"""The service's pages let only its own parts in, and its parts are guarded."""

import json
import re

from tests.harness.service import Client, leave_frame, running, toy_service


def test_both_pages_are_in_the_language_of_the_service_and_their_catalogue_is_data(tmp_path):
    leave_frame(tmp_path)
    with running(toy_service(tmp_path, language="de")) as base:
        answers = [Client(base).get(path) for path in ("/", "/login")]
    pages = [answer.data.decode() for answer in answers]
    assert all('<html lang="de">' in page for page in pages)
    assert "<h1>Vorfallrisiko</h1>" in pages[1]
    (data,) = re.findall('<script type="application/json" id="catalogue">(.*)</script>', pages[0])
    assert json.loads(data)["STALE"] == "VERALTET"
    assert "script-src 'self';" in answers[0].headers["Content-Security-Policy"]  # which lets no script in a page run


def test_the_pages_let_only_their_own_scripts_run(tmp_path):
    leave_frame(tmp_path)
    with running(toy_service(tmp_path)) as base:
        client = Client(base)
        for path in ("/", "/login", "/page/from_service.js"):
            answer = client.get(path)
            assert answer.status == 200
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
        for path in ("/page/index.html", "/page/..%2Fapp.py", "/page/%2e%2e/app.py", "/page/nothing.js"):
            assert client.get(path).status == 404
        assert client.ask("/login", method="POST", body=b"\xff" * 100).status == 303

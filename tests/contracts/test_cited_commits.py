"""A page cites only commits that are in the history, and says with each how old its figures are."""

import re
import shutil
import subprocess

import pytest

from docs.written import run_days
from tests.contracts.test_readme import PAGES, ROOT

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

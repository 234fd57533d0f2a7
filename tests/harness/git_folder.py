"""A folder under git, for what reads commits."""

from tests.harness.processes import run


def git(folder, *words):
    """What git printed, without the last line break; it asks for no key and knows its author."""
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    ran = run("git", *names, *words, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def commit_all(folder):
    """All files of a new repository in `folder`, committed."""
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")

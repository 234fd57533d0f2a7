import pytest

from schemas.errors import BrokerError, errors_in_one_line


@pytest.mark.parametrize("remedy", ["", "start one: `broker`"])
def test_an_error_becomes_a_line_with_its_remedy_and_the_exit_code_of_its_kind(capsys, remedy):
    message = "no [bold]broker[/bold] " + 40 * "far away "  # no markup, and longer than a terminal is wide
    with pytest.raises(SystemExit) as ended, errors_in_one_line():
        raise BrokerError(message, remedy)
    assert ended.value.code == 5
    assert capsys.readouterr().err == f"error: {BrokerError(message, remedy)}\n"

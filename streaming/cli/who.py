"""Who decides: for the audit log."""

import getpass

from schemas.errors import SettingsError
from streaming.settings import Settings


def who_decides(settings: Settings) -> str:
    """RISK_BY, or the user of this machine. Raises SettingsError without either."""
    try:
        return settings.by or getpass.getuser()
    except (KeyError, OSError) as error:
        raise SettingsError("this machine does not know who you are", "set RISK_BY to your name") from error

"""Every alert, in the order of the runbook. A new one is a row in one of these files."""

from generator.alerts.alert import Alert
from generator.alerts.messages import ON_MESSAGES
from generator.alerts.models import ON_MODELS
from generator.alerts.scores import ON_SCORES

ALERTS: tuple[Alert, ...] = (*ON_SCORES, *ON_MESSAGES, *ON_MODELS)

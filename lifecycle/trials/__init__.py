"""Trials as the job leaves them, judged: the points of a trial, and the judged hours that the gate reads."""

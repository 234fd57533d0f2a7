#!/usr/bin/env python3
"""Stands for InfluxDB's CLI 2.7.5 over a store in a JSON file: the commands and options that deploy/influxdb/setup.sh
uses, as cmd/influx/{bucket,task,auth}.go of influx-cli declares them. Lists are tables with tabs, padded as by Go."""

import json
import os
import sys
from pathlib import Path

OPTIONS = {  # command -> option -> whether it takes a value
    ("bucket", "list"): {"--hide-headers": False},
    ("bucket", "create"): {"--name": True, "--retention": True},
    ("bucket", "update"): {"--id": True, "--retention": True},
    ("task", "list"): {"--hide-headers": False},
    ("task", "create"): {"--file": True},
    ("task", "update"): {"--id": True, "--file": True},
    ("auth", "list"): {"--hide-headers": False},
    ("auth", "create"): {"--description": True, "--read-bucket": True, "--write-bucket": True, "--json": False},
    ("auth", "delete"): {"--id": True},
}


def main():
    path = Path(os.environ["FAKE_INFLUX"])
    state = json.loads(path.read_text())
    if os.environ["INFLUX_TOKEN"] != state["admin"] or os.environ["INFLUX_ORG"] != "risk":
        sys.exit("unauthorized")
    state["commands"].append(sys.argv[1:])
    kind, verb, *rest = sys.argv[1:]
    given = {}
    while rest:
        option = rest.pop(0)
        takes_value = OPTIONS[kind, verb][option]
        given.setdefault(option, []).append(rest.pop(0) if takes_value else True)
    rows = state[kind]
    number = f"{kind[0]}{state['next']:015x}"
    if verb == "list":
        for key, row in rows.items():
            gap = "\t" if len(row["name"]) > 8 else "\t\t"
            sys.stdout.write(gap.join((key, row["name"], "more\t\tcolumns")) + "\n")
    elif verb == "create":
        state["next"] += 1
        row = {"name": (given.get("--name") or given.get("--description") or ["risk_long"])[0], **given}
        rows[number] = row
        if kind == "auth":
            row["token"] = f"token-{number}=="
            shown = {"id": number, "description": row["name"], "token": row["token"]}
            sys.stdout.write(json.dumps(shown, indent="\t") + "\n")
    elif verb == "update":
        rows[given["--id"][0]] |= given
    else:
        del rows[given["--id"][0]]
    path.write_text(json.dumps(state))


main()

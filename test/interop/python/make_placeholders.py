"""Renders queries with flytekit's own SQL tasks; what comes out is what the placeholder helper is compared with.

flytekit's pattern takes any character for the dot, so that it renders `{{ inputs.a }}`, too; no such text is among the cases.

Usage: make_placeholders.py OUTPUT_FILE
"""

import json
import sys
from pathlib import Path

from flytekit.core.base_sql_task import SQLTask

CASES = [
    ("select {{ .inputs.a }}", {"a": "x"}),
    ("select {{.inputs.a}} and {{ .Inputs.a }}", {"a": "twice"}),
    ("select {{   .inputs.first_one   }}, {{.inputs.b2}}", {"first_one": 1, "b2": -7}),
    ("{{ .inputs.whole }}", {"whole": 2**53 + 1}),
    ("{{ .inputs.part }}", {"part": 0.25}),
    ("{{ .inputs.text }}", {"text": "naïve ☃ 'quoted'\nline"}),
    ("{{ .inputs.day }} '{{ .rawOutputDataPrefix }}' {{ .outputPrefix }}", {"day": "2026-01-02"}),
    ("{ .inputs.a } {{ .inputs.a }}", {"a": "only the last"}),
]


def shown(value):
    return str(value) if isinstance(value, int) and abs(value) > 2**53 else value


cases = [
    {
        "template": template,
        "inputs": {name: shown(value) for name, value in inputs.items()},
        "rendered": SQLTask.interpolate_query(template, **inputs),
    }
    for template, inputs in CASES
]
Path(sys.argv[1]).write_text(json.dumps(cases, ensure_ascii=False, indent=2) + "\n")

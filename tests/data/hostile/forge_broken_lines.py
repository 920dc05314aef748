"""Writes lines that a careless reader stumbles over: cases that are not there, no objects, doubled keys, depth."""

import contextlib
import os

LINES = (
    b"null\n[]\n5\n{}\n",
    b'{"case": -1, "value": 6}\n{"case": 99999999999999999999, "value": 6}\n{"case": "0", "value": 6}\n',
    b'{"case": 0, "case": 1, "value": 6, "value": 1}\n{"case": 0.0, "value": 1e999}\n{"case": true, "value": NaN}\n',
    b'{"case": [0], "value": 6}\n{"case": {"a": 0}, "value": 6}\n{"case": null, "value": 6}\n{"case": 0}\n',
    b"[" * 100_000 + b"\n" + b'{"value":' * 100_000 + b"\n",
    b'{"case": 0, "value": ' + b"9" * 100_000 + b"}\n\xff\xfe\n\x00\n\n\r\n",
)


def add(a, b):
    for descriptor in range(1, 256):
        for line in LINES:
            with contextlib.suppress(OSError):
                os.write(descriptor, line)
    return None

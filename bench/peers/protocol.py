"""The other end of bench/subject.ts: a line of JSON in, a line of JSON out."""

import json
import os
import sys


def serve(introduce, answer):
    """Introduces this process, then answers requests until standard input ends."""
    # What a library prints must not get between the lines.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(make):
        try:
            line = {"answer": make()}
        except Exception as error:  # told to the other side, which knows what to do
            line = {"error": f"{type(error).__name__}: {error}".strip().split("\n")[0]}
        out.write(json.dumps(line) + "\n")
        out.flush()

    say(introduce)
    for line in sys.stdin:
        say(lambda: answer(json.loads(line)))

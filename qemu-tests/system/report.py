"""What was tried and what came of it: lines while it runs, a table at the end."""

import threading
import time
import traceback

LOCK = threading.Lock()


class Stop(Exception):
    """What comes next has no ground to stand on."""


class Report:
    """The results of one machine."""

    def __init__(self, arch, system, made=None):
        self.arch, self.system, self.made = arch, system, made or {}
        self.rows, self.figures = [], {}

    @classmethod
    def of(cls, facts):
        """As `facts` left it."""
        one = cls(facts["arch"], facts["system"], facts.get("made"))
        one.figures = facts["figures"]
        one.rows = [(row["name"], row["passed"], row["seconds"], row["remark"]) for row in facts["steps"]]
        return one

    def facts(self):
        """What is kept of it, for JSON."""
        steps = [{"name": row[0], "passed": row[1], "seconds": round(row[2], 1), "remark": row[3]} for row in self.rows]
        return {"arch": self.arch, "system": self.system, "made": self.made, "figures": self.figures, "steps": steps}

    def step(self, name, action, evidence=None):
        """Runs an action that raises when it failed, and returns its value; text is a remark. Stops what follows."""
        started = time.monotonic()
        try:
            value = action()
        except Exception as error:  # whatever it is, it is this step that failed
            seconds = time.monotonic() - started
            self.add(name, False, seconds, f"{error}" or error.__class__.__name__)
            self.show_evidence(error, evidence)
            raise Stop(name) from error
        self.add(name, True, time.monotonic() - started, value if isinstance(value, str) else "")
        return value

    def add(self, name, passed, seconds, remark=""):
        with LOCK:
            self.rows.append((name, passed, seconds, remark))
            word = "ok  " if passed else "FAIL"
            print(f"{word} {self.arch} {self.system}: {name} ({seconds:.0f} s){': ' + remark if remark else ''}", flush=True)

    def show_evidence(self, error, evidence):
        text = "" if evidence is None else evidence()
        if not isinstance(error, (RuntimeError, AssertionError)):
            text += "\n" + "".join(traceback.format_exception(error)[-6:])
        with LOCK:
            for line in text.splitlines()[-120:]:
                print("     " + line[:240])

    @property
    def passed(self):
        return sum(1 for row in self.rows if row[1])

    @property
    def failed(self):
        return sum(1 for row in self.rows if not row[1])


def table(reports):
    """The results as a Markdown table: a line for each step, a column for each machine."""
    names = []
    for report in reports:
        names += [row[0] for row in report.rows if row[0] not in names]
    heads = [f"{report.arch} {report.system}" for report in reports]
    lines = ["| step | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for name in names:
        cells = []
        for report in reports:
            rows = [row for row in report.rows if row[0] == name]
            seconds = f"{sum(row[2] for row in rows):.0f} s"
            cells.append("" if not rows else f"ok, {seconds}" if all(row[1] for row in rows) else "**failed**")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

"""The figures of each machine as a table, and the files with the results of a run."""

import json

from pathlib import Path

from . import report
from .report import Report

# Key, what it is called, and how it is written.
COLUMNS = (
    ("rss_kb", "RSS, KB"),
    ("pss_kb", "PSS, KB"),
    ("boot_to_session_s", "userland to session, s"),
    ("join_s", "join, s"),
    ("join_bytes", "written by join, bytes"),
    ("rotation_bytes", "by a renewal, bytes"),
    ("idle_bytes_per_day", "by an idle day, bytes"),
)
TOP = Path(__file__).resolve().parent.parent.parent
# README's table is between these lines.
BEGIN, END = "<!-- from qemu-tests/results/systems.json, by `qemu-tests/run.sh --readme` -->", "<!-- end -->"


def table(reports):
    lines = ["| system | " + " | ".join(title for _, title in COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for one in reports:
        if "join_s" in one.figures:
            cells = [f"{one.figures[key]:,}" if key in one.figures and is_long(key, one) else "" for key, _ in COLUMNS]
            lines.append(f"| {one.arch} {one.system} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def is_long(key, one):
    """A minute says nothing of a day."""
    return key != "idle_bytes_per_day" or one.figures["idle_seconds"] >= 600


def save(folder, reports):
    """Keeps these results beside those of other machines, which an earlier run left there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "systems.json"
    kept = [Report.of(facts) for facts in json.loads(path.read_text())] if path.exists() else []
    made = {(one.arch, one.system) for one in reports}
    kept = [one for one in kept if (one.arch, one.system) not in made] + reports
    kept.sort(key=lambda one: (one.arch, one.system.startswith(("19", "20")), one.system))
    path.write_text(json.dumps([one.facts() for one in kept], indent=1) + "\n")
    text = "\n\n".join(("# Whole systems", origin(kept), report.table(kept), table(kept)))
    (folder / "systems.md").write_text(text + "\n")


def readme():
    """Puts the figures of the committed results into README; tests/figures.rs compares them."""
    page = TOP / "README.md"
    kept = [Report.of(facts) for facts in json.loads((TOP / "qemu-tests/results/systems.json").read_text())]
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    shown = table([one for one in kept if "rss_kb" in one.figures])
    page.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}")


def origin(reports):
    """By which run each machine's results were made."""
    lines = ["| system | made on | form | seed | took, s | with all others of its run, s |",
             "| --- | --- | --- | --- | ---: | ---: |"]
    keys = ("date", "form", "seed", "seconds", "run_seconds")
    return "\n".join(lines + [f"| {one.arch} {one.system} | " + " | ".join(str(one.made.get(key, "")) for key in keys) + " |"
                              for one in reports])

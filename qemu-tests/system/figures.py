"""The figures of each machine as a table, and the files with the results of a run."""

import json
import time

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


def table(reports):
    lines = ["| system | " + " | ".join(title for _, title in COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for one in reports:
        if "join_s" in one.figures:
            cells = [f"{one.figures[key]:,}" if key in one.figures else "" for key, _ in COLUMNS]
            lines.append(f"| {one.arch} {one.system} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def save(folder, reports, wish, text, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    form = "the long form" if wish.long else "the short form"
    head = f"Made on {time.strftime('%Y-%m-%d')} by {form}, seed {wish.seed}, in {seconds / 60:.0f} minutes.\n\n"
    (folder / "systems.md").write_text("# Whole systems\n\n" + head + text + "\n")
    facts = [{"arch": one.arch, "system": one.system, "figures": one.figures,
              "steps": [{"name": row[0], "passed": row[1], "seconds": round(row[2], 1), "remark": row[3]} for row in one.rows]}
             for one in reports]
    (folder / "systems.json").write_text(json.dumps(facts, indent=1) + "\n")

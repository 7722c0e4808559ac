"""The HTML report: one file with everything in it (style, picture, tables), so that it can be mailed or kept."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from .chart import colour
from .report import HEAD, Report, cells, label, rows, verdicts

STYLE = """
:root { color-scheme: light dark; --ink: #22303c; --pale: #6b7a88; --line: #e3e8ec; --paper: #fff; --good: #0b7a75; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --pale: #9aa7b4; --line: #2b3640; --paper: #12181e; --good: #3fb8b0; --bad: #ff8a80 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem; margin: 2.5rem auto; padding: 0 1.25rem }
h1 { font-size: 1.7rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem }
p, .machine { color: var(--pale) } .machine { font-size: .9rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .35rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--pale); font-weight: 500; font-size: .85rem } th:first-child, td:first-child { text-align: left }
tr.base td { font-weight: 600 } .bar { width: 26% ; text-align: left } .bar i { display: block; height: .8rem; border-radius: 2px }
.ok { color: var(--good) } .missed { color: var(--bad); font-weight: 600 } .why { color: var(--bad); font-size: .9rem }
img { width: 100%; height: auto; margin-top: 1.2rem; border-radius: 6px; background: #fff }
"""


def _cell(text: str) -> str:
    state = ' class="missed"' if text.endswith("MISSED") else ' class="ok"' if text.endswith(" ok") else ""
    return f"<td{state}>{html.escape(text)}</td>"


def _load_sections(report: Report) -> list[str]:
    out = []
    for outcome in report.outcomes:
        table = rows(outcome)
        longest = max([row.ratio for row in table] + [1.0])
        out.append(f"<h2>{html.escape(outcome.title)}</h2><div class=scroll><table><tr>")
        out.append(
            "".join(f"<th>{html.escape(name)}</th>" for name in HEAD)
            + f"<th class=bar>CPU / {label(outcome.base)}</th></tr>"
        )
        for row in table:
            own = row.proxy == outcome.base
            width = 100 * (1.0 if own else row.ratio) / longest
            texts = cells(row, outcome.base)
            out.append(f"<tr{' class=base' if own else ''}>" + "".join(map(_cell, texts)))
            out.append(f'<td class=bar><i style="width:{width:.1f}%;background:{colour(row.proxy)}"></i></td></tr>')
        out.append("</table></div>")
        out.extend(
            f"<p class=why>{html.escape(row.label)}: {html.escape(why)}</p>"
            for row in table
            for why in dict.fromkeys(row.failed)
        )
        out.extend(f"<p>{html.escape(note)}</p>" for note in outcome.notes)
    return out


def _fact_section(report: Report) -> list[str]:
    if not report.facts:
        return []
    out = [
        "<h2>Further figures</h2><div class=scroll><table><tr><th></th><th>measured</th><th>wanted</th><th></th></tr>"
    ]
    for fact in report.facts:
        wanted = "" if fact.wanted is None else f"≤ {fact.wanted:g} {'ok' if fact.ok else 'MISSED'}"
        measured = _cell(f"{fact.value:.4g} {fact.unit}")
        out.append(f"<tr><td>{html.escape(fact.about)}</td>{measured}{_cell(wanted)}{_cell(fact.detail)}</tr>")
    return [*out, "</table></div>"]


def write(report: Report, path: Path, picture: Path | None) -> None:
    judged = verdicts(report)
    reached = sum(verdict.ok for verdict in judged)
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items() if value)
    versions = "; ".join(f"{label(name)}: {text}" for name, text in report.versions.items())
    image = ""
    if picture is not None and picture.exists():
        encoded = base64.b64encode(picture.read_bytes()).decode()
        image = f'<img alt="CPU time per request, as multiples of mosnpy&#39;s" src="data:image/png;base64,{encoded}">'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>mosnpy bench, {report.machine['date']}</title><style>{STYLE}</style>"
        "<h1>mosnpy beside its peers</h1>"
        "<p>CPU time per request on one core, same load, interleaved rounds. Ratios are taken within a round: median, least, most. "
        f"{reached} of {len(judged)} wanted figures reached.</p>"
        f"<p class=machine>{html.escape(machine)}<br>{html.escape(versions)}</p>{image}"
        + "\n".join(_load_sections(report) + _fact_section(report))
        + "".join(f"<p>{html.escape(note)}</p>" for note in report.notes)
        + "\n</html>\n"
    )

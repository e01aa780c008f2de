"""The style sheet of HTML reports."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --text: #1c2430; --quiet: #5d6b7c; --line: #dfe5ec; --panel: #f5f7fa;
  --accent: #17698f; --caution: #8a5a00; --caution-ground: #fff5df;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161c; --text: #e4e9ef; --quiet: #97a4b4; --line: #2b333e; --panel: #1a2028;
    --accent: #63b9e0; --caution: #f2c66d; --caution-ground: #2d2514;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.2rem 2rem 3rem; max-width: 64rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 "Segoe UI", system-ui, -apple-system, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif;
}
header { border-bottom: 2px solid var(--accent); padding-bottom: 1rem; }
h1 { margin: 0; font-size: 1.8rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 0 0 .6rem; font-size: 1.05rem; }
section { margin-top: 1.8rem; }
.kind { margin: 0; color: var(--accent); font-size: .82rem; font-weight: 600; letter-spacing: .04em; }
.date { margin: .2rem 0 .8rem; color: var(--quiet); }
.notice { margin: 0; font-weight: 600; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { color: var(--quiet); font-size: .82rem; font-weight: 600; text-align: left; vertical-align: bottom; }
th, td { padding: .42rem .7rem; border-bottom: 1px solid var(--line); }
td { vertical-align: baseline; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
.upright th:not(:first-child) { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
.upright th:not(:first-child), .upright td:not(:first-child) { padding-left: .3rem; padding-right: .3rem; }
.unit { color: var(--quiet); font-size: .88em; }
.none { color: var(--quiet); }
.swatch {
  display: inline-block; width: .8em; height: .8em; margin-right: .55em; border-radius: 3px;
  box-shadow: inset 0 0 0 1px rgba(128, 128, 128, .55);
}
.checks { margin: 1rem 0 0; padding: .7rem 1rem .7rem 2rem; border-radius: 6px; }
.checks { background: var(--caution-ground); color: var(--caution); }
.fine, .legend { margin: .8rem 0 0; color: var(--quiet); }
.legend { font-size: .88em; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); column-gap: 2.2rem; }
dl { margin: 0; }
dt { color: var(--quiet); font-size: .82rem; }
dd { margin: 0 0 .5rem; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: 1.5rem; }
.tile { min-width: 8rem; padding: .7rem 1.1rem; border-radius: 8px; background: var(--panel); }
.tile b { display: block; font-size: 1.7rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: .85rem; }
.strip { width: 8rem; height: 1.1rem; vertical-align: middle; }
.strip path { fill: none; vector-effect: non-scaling-stroke; }
.strip .axis { stroke: var(--line); }
.strip .case { stroke: var(--quiet); stroke-width: 1; }
.strip .mean { stroke: var(--accent); stroke-width: 2.5; }
.shade { display: inline-block; margin: 0 -.35em; padding: 0 .35em; border-radius: 4px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; }
img { display: block; max-width: 100%; border-radius: 6px; background: #000; }
figcaption { margin-top: .3rem; color: var(--quiet); font-size: .88em; }
footer { margin-top: 2rem; padding-top: .8rem; border-top: 1px solid var(--line); }
footer { color: var(--quiet); font-size: .88em; }
@page { margin: 16mm; }
@media print {
  :root {
    --ground: #ffffff; --text: #000000; --quiet: #4a4a4a; --line: #c8c8c8; --panel: #f5f5f5;
    --accent: #17698f; --caution: #6b4500; --caution-ground: #fff5df;
  }
  body { max-width: none; padding: 0; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .wide { overflow: visible; }
  th, td { padding: .3rem .45rem; }
  .upright th:not(:first-child), .upright td:not(:first-child) { padding-left: .2rem; padding-right: .2rem; }
  .strip { width: 6rem; }
  .columns { grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); }
  tr, figure, .tile, .columns > section { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""

#!/usr/bin/env python3
"""Draws the figures of docs/performance.md from the JSON of eum-bench.

    bench/plot.py bench.json [--into docs/figures] [--format svg]

Needs matplotlib. Figures for which the run has no data are left out, and said.
SPDX-License-Identifier: MIT OR Apache-2.0
"""
import argparse
import json
import pathlib
import re
import sys

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "engram_um"  # the same data give the same file
import matplotlib.pyplot as plt  # noqa: E402

TOP = 3.0  # ratios beyond it are drawn as triangles at the edge
LIBRARY = {"auto": "#1f6fb4", "role": "#d1641f", "one map": "#b4376f", "parts": "#d98cb3", "acquire": "#b4a11f", "wrap": "#2d8f57", "array": "#7a3fa0", "anywhere": "#3fa09a"}
RIVALS = {
    "pinned copies": ("#444444", "o"),
    "pageable copies": ("#888888", "s"),
    "pipelined": ("#a06ab4", "D"),
    "in place": ("#b49b2c", "^"),
    "managed in place": ("#8a7a3a", "v"),
    "naive managed": ("#c23b3b", "x"),
    "recipe": ("#e08a8a", "+"),
}


def size_text(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"


def cases_of(run, pattern):
    return sorted((c for c in run["cases"] if c["pattern"] == pattern), key=lambda c: c["bytes"])


def ratio_of(case, library):
    """The ratio to the fastest rival, or None."""
    for ratio in case["ratios"]:
        if ratio["library"] == library and ratio["rival"] == case["best_rival"] and ratio["ratio"]["median"] is not None:
            return ratio["ratio"]
    return None


def time_of(case, name):
    for contender in case["contenders"]:
        if contender["name"] == name and contender["ns"]["median"] is not None:
            return contender["ns"]["median"]
    return None


def subtitle(run):
    clock = "virtual time" if run["device"]["virtual_time"] else f"CPU's work on {run['threads']} threads"
    return f"{run['device']['name']}, {clock}"


def draw_ratios(run):
    """The library over the fastest rival, for every pattern and size."""
    patterns = list(dict.fromkeys(case["pattern"] for case in run["cases"]))
    if not patterns:
        return None
    columns = min(4, len(patterns))
    rows = (len(patterns) + columns - 1) // columns
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 3.0 * rows + 0.8), squeeze=False, sharey=True)
    top = 1.3
    for axis, pattern in zip(axes.flat, patterns):
        cases = cases_of(run, pattern)
        places = range(len(cases))
        noise = [case["a_a"]["ratio"] for case in cases]
        for place, estimate in zip(places, noise):
            if estimate["low"] is not None:
                axis.fill_between([place - 0.45, place + 0.45], estimate["low"], estimate["high"], color="#dddddd", linewidth=0)
        axis.axhline(1, color="#444444", linewidth=0.8)
        axis.axhline(1.05, color="#444444", linewidth=0.6, linestyle=":")
        libraries = [library for library in LIBRARY if any(ratio_of(case, library) for case in cases)]
        for shift, library in enumerate(libraries):
            color = LIBRARY[library]
            points = [(place, ratio_of(case, library)) for place, case in zip(places, cases)]
            points = [(place + (shift - 1) * 0.18, ratio) for place, ratio in points if ratio is not None]
            middle = [ratio["median"] for _, ratio in points]
            below = [ratio["median"] - ratio["low"] for _, ratio in points]
            above = [ratio["high"] - ratio["median"] for _, ratio in points]
            axis.errorbar([x for x, _ in points], middle, [below, above], fmt="o", color=color, markersize=4, linewidth=1.2, label=library)
            top = max(top, min(TOP, max(middle) * 1.1))
            beyond = [x for (x, _), value in zip(points, middle) if value > TOP]
            axis.plot(beyond, [TOP * 0.97] * len(beyond), "^", color=color, markersize=6, clip_on=False)
        axis.set_title(pattern, fontsize=10)
        axis.set_xticks(list(places), [size_text(case["bytes"]) for case in cases], rotation=60, fontsize=7)
    for axis in list(axes.flat)[len(patterns):]:
        axis.axis("off")
    axes[0][0].set_ylim(0, top)
    handles = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="upper right", ncol=3, fontsize=8, frameon=False)
    figure.suptitle("Library / fastest rival by hand: below 1 is faster (grey: the same rival twice)\n" + subtitle(run), fontsize=10, x=0.01, ha="left")
    return figure


def draw_contenders(run, pattern, title):
    """Times of all, relative to pinned copies by hand (or the first rival)."""
    cases = cases_of(run, pattern)
    if not cases:
        return None
    names = list(dict.fromkeys(c["name"] for case in cases for c in case["contenders"] if not c["name"].endswith(" again")))
    base = next((name for name in RIVALS if name in names), None)
    figure, axis = plt.subplots(figsize=(8.5, 4.2))
    for name in names:
        points = [(case["bytes"], time_of(case, name), time_of(case, base)) for case in cases]
        points = [(size, time / reference) for size, time, reference in points if time and reference]
        color, marker = (LIBRARY[name], "o") if name in LIBRARY else RIVALS.get(name, ("#000000", "."))
        axis.plot([x for x, _ in points], [y for _, y in points], color=color, marker=marker, markersize=5,
                  linewidth=2 if name in LIBRARY else 1, label=f"library, {name}" if name in LIBRARY else name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks([case["bytes"] for case in cases], [size_text(case["bytes"]) for case in cases], rotation=45, fontsize=8)
    axis.minorticks_off()
    axis.set_yticks([0.2, 0.5, 1, 2, 5, 10, 20], ["0.2", "0.5", "1", "2", "5", "10", "20"])
    axis.set_ylabel(f"time / {base}")
    axis.set_title(f"{title}\n{subtitle(run)}", fontsize=10, loc="left")
    axis.grid(True, color="#eeeeee")
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_reuse(run):
    """A cycle over its scores, by how often the targets are used."""
    patterns = {int(p.split("-")[1]): p for p in {c["pattern"] for c in run["cases"]} if p.startswith("reuse-")}
    sizes = sorted({c["bytes"] for c in run["cases"] if c["pattern"] in patterns.values()})
    if len(patterns) < 2:
        return None
    size = min(sizes, key=lambda s: abs(s - 3072000))
    figure, axis = plt.subplots(figsize=(7, 4.2))
    drawn = {}
    for uses, pattern in sorted(patterns.items()):
        for case in cases_of(run, pattern):
            if case["bytes"] == size:
                for contender in case["contenders"]:
                    if contender["ns"]["median"] is not None and not contender["name"].endswith(" again"):
                        drawn.setdefault(contender["name"], []).append((uses, contender["ns"]["median"] / uses / 1e3))
    for name, points in drawn.items():
        color, marker = (LIBRARY[name], "o") if name in LIBRARY else RIVALS.get(name, ("#000000", "."))
        axis.plot([x for x, _ in points], [y for _, y in points], color=color, marker=marker, markersize=5,
                  linewidth=2 if name in LIBRARY else 1, label=f"library, {name}" if name in LIBRARY else name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sorted(patterns), [str(uses) for uses in sorted(patterns)])
    axis.minorticks_off()
    axis.set_xlabel("scores between two writes")
    axis.set_ylabel("us a score")
    axis.set_title(f"Targets of {size_text(size)}, written, then scored again and again\n{subtitle(run)}", fontsize=10, loc="left")
    axis.grid(True, color="#eeeeee")
    axis.legend(fontsize=8, frameon=False, ncol=2)
    return figure


def draw_copies(run):
    """Host-to-device rates."""
    lines = {}
    for row in run["rows"]:
        match = re.match(r"(.*) of (\d+x\d+|\d+[KMG]): rate", row["name"])
        if row["group"] == "copies" and match and row["value"] is not None and "score" not in match[1]:
            lines.setdefault(match[1], []).append((match[2], row["value"]))
    if not lines:
        return None
    sizes = [size for size, _ in max(lines.values(), key=len)]
    figure, axis = plt.subplots(figsize=(7, 4))
    for name, points in lines.items():
        known = [(sizes.index(size), rate) for size, rate in points if size in sizes]
        axis.plot([x for x, _ in known], [y for _, y in known], marker="o", label=name)
    axis.set_xticks(range(len(sizes)), sizes)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("GB/s")
    axis.set_title(f"From the host to the device\n{subtitle(run)}", fontsize=10, loc="left")
    axis.grid(True, color="#eeeeee")
    axis.legend(fontsize=8, frameon=False)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("json", type=pathlib.Path, help="what eum-bench --output wrote")
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "docs" / "figures")
    parser.add_argument("--format", choices=["svg", "png"], default="svg")
    arguments = parser.parse_args()
    run = json.loads(arguments.json.read_text())
    if run.get("program") != "eum-bench" or run.get("format") != 1:
        sys.exit(f"{arguments.json} is not JSON of eum-bench in format 1")
    figures = {
        "ratios": draw_ratios(run),
        "produce": draw_contenders(run, "produce", "The CPU computes the targets, the GPU scores them once, the CPU reads"),
        "write": draw_contenders(run, "write", "Targets from pageable memory, scored once"),
        "reuse": draw_reuse(run),
        "copies": draw_copies(run),
    }
    arguments.into.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        if figure is None:
            print(f"{name}: no data in this run", file=sys.stderr)
            continue
        figure.tight_layout(rect=(0, 0, 1, 0.96) if name == "ratios" else None)
        if name == "ratios":
            figure.subplots_adjust(hspace=0.6)  # the sizes are written upwards
        path = arguments.into / f"{name}.{arguments.format}"
        figure.savefig(path, dpi=150, metadata={"Date": None} if arguments.format == "svg" else None)
        print(path)


if __name__ == "__main__":
    main()

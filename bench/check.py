#!/usr/bin/env python3
"""Says what of the library's promises about speed a run of eum-bench keeps.

    bench/check.py bench.json

Prints one line a promise and, indented, what does not keep it. Ends with 1 if something does not. Needs only Python's standard library.
SPDX-License-Identifier: MIT OR Apache-2.0
"""
import argparse
import json
import pathlib
import sys

LEAST = 65536 - 3072  # "64 KiB" in whole rows of 768


class Promises:
    def __init__(self):
        self.broken = 0

    def say(self, promise, measured, failures, promised=True):
        """failures: None where nothing was measured. promised: else it is told for comparison, and nothing is broken."""
        word = "not measured" if failures is None else "kept" if not failures else "BROKEN" if promised else "beside"
        print(f"{word:12}  {promise}" + (f": {measured}" if measured else ""))
        for failure in failures or []:
            print(f"                {failure}")
        self.broken += bool(failures) and promised


def ratio(case, library, rival):
    for entry in case["ratios"]:
        if entry["library"] == library and entry["rival"] == rival and entry["ratio"]["median"] is not None:
            return entry["ratio"]
    return None


def interval(estimate):
    return f"{estimate['median']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def noisy(case, limit):
    """The same rival twice differs as much as that."""
    noise = case["a_a"]["ratio"]
    return noise["median"] is not None and (noise["high"] >= limit or noise["low"] <= 1 / limit)


def never_slower(run, promises, library, small, promised=True):
    limit, kept, failures = 1.15 if small else 1.05, 0, []
    for case in run["cases"]:
        estimate = ratio(case, library, case["best_rival"])
        if case["pattern"] == "source" and library == "auto":  # that is the pattern "write": it is there to be compared with
            continue
        if estimate is None or (case["bytes"] < LEAST) != small:
            continue
        good = estimate["median"] <= limit or (estimate["low"] <= limit and noisy(case, limit))
        kept += good
        if not good:
            failures.append(f"{case['pattern']:10} {case['rows']}x{case['dim']}: {interval(estimate)} of {case['best_rival']}")
    total = kept + len(failures)
    promises.say(f"{library}: at most {limit} of the fastest rival, {'below' if small else 'from'} 64 KiB {'' if small else 'on'}".rstrip(),
                 f"{kept} of {total}", failures if total else None, promised)


def produce(run, promises):
    wanted = (("naive managed", 6.0), ("recipe", 5.0), ("pinned copies", 1 / 0.9))
    cases = [case for case in run["cases"] if case["pattern"] == "produce" and (case["rows"], case["dim"]) == (1000, 768)]
    for library in ("auto", "role"):
        failures, measured = [], []
        for case in cases:
            for rival, times in wanted:
                estimate = ratio(case, library, rival)
                if estimate is None:
                    continue
                measured.append(f"{1 / estimate['median']:.2f}x {rival}")
                if 1 / estimate["median"] < times:
                    failures.append(f"{rival}: {1 / estimate['median']:.2f} times as fast, not {times:.2f}")
        promises.say(f"{library}: produce at 1000 x 768 is 6, 5 and 1.11 times as fast", ", ".join(measured), failures if measured else None)


def figures(run, promises):
    rows = run["rows"]

    def check(promise, chosen, good, text, promised=True):
        chosen = list(chosen)
        failures = [f"{row['name'].strip()}: {text(row)}" for row in chosen if not good(row)]
        promises.say(promise, ", ".join(text(row) for row in chosen), failures if chosen else None, promised)

    def named(start, group):
        return (row for row in rows if row["group"] == group and row["name"].strip().startswith(start) and row["value"] is not None)

    for what, start, promised in (("copied", "eum_buffer_write from pinned memory of", True),
                                  ("copied and scored", "eum_buffer_write from pinned memory and a score of", False)):
        check(f"{what} from pinned memory: 0.98 of the rate by hand, from 1 MiB on",
              (row for row in named(start, "copies") if " of 64K:" not in row["name"] and "ratio" in row),
              lambda row: row["ratio"]["high"] >= 0.98, lambda row: f"{row['ratio']['median']:.2f}", promised)
    check("resident targets: at most 1.03 of the kernel on the device's own memory", (row for row in named("cosine of", "resident") if "ratio" in row),
          lambda row: row["ratio"]["median"] <= 1.03 or row["ratio"]["low"] <= 1.03, lambda row: f"{row['ratio']['median']:.3f}")
    check("no GPU fault in any launch", named("GPU faults in all", "faults"), lambda row: row["value"] == 0, lambda row: f"{row['value']:.0f}")
    check("the count of faults counts (control)", named("control", "faults"), lambda row: row["value"] > 0, lambda row: f"{row['value']:.0f}")
    check("a launch with nothing to move: at most 1.5 us over a bare one", named("the library's part", "launch"), lambda row: row["value"] <= 1.5,
          lambda row: f"{row['value']:.2f} us")
    check("create + destroy from the pool: below 1 us", named("create + destroy", "create"), lambda row: row["value"] < 1,
          lambda row: f"{row['value']:.2f} us")
    check("a context: below 5 MB of host memory", named("host memory", "context"), lambda row: row["value"] < 5, lambda row: f"{row['value']:.2f} MB")
    check("a context: below 64 MB of device memory", named("device memory", "context"), lambda row: row["value"] < 64,
          lambda row: f"{row['value']:.2f} MB")
    check("a buffer with one extent: at most 512 bytes of bookkeeping", named("bookkeeping", "context"), lambda row: row["value"] <= 512,
          lambda row: f"{row['value']:.0f} B")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("json", type=pathlib.Path, help="what eum-bench --output wrote")
    run = json.loads(parser.parse_args().json.read_text())
    if run.get("program") != "eum-bench" or run.get("format") != 1:
        sys.exit("that is not JSON of eum-bench in format 1")
    promises = Promises()
    print(f"{run['device']['name']}, {run['seconds']:.0f} s" + ("" if run["complete"] else ", INCOMPLETE"))
    for library in ("auto", "role"):
        never_slower(run, promises, library, False)
        never_slower(run, promises, library, True)
    for library in ("one map", "parts", "acquire", "wrap", "array", "anywhere"):
        never_slower(run, promises, library, False, promised=False)
        never_slower(run, promises, library, True, promised=False)
    produce(run, promises)
    figures(run, promises)
    return 1 if promises.broken else 0


if __name__ == "__main__":
    sys.exit(main())

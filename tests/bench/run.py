#!/usr/bin/env python3
"""eum-bench from the outside: run.py PATH/TO/eum-bench. What it prints, not how long anything takes.
SPDX-License-Identifier: MIT OR Apache-2.0"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

BENCH = sys.argv.pop(1) if len(sys.argv) > 1 else "build-release/eum-bench"


def bench(*arguments, code=0):
    run = subprocess.run([BENCH, *arguments], capture_output=True, text=True, timeout=120)
    if run.returncode != code:
        raise AssertionError(f"{arguments} gave {run.returncode}: {run.stderr[-500:]}")
    return run


class Json(unittest.TestCase):
    def test_it_has_every_contender_and_ratios_with_intervals(self):
        run = json.loads(bench("sim:hopper", "--json", "--patterns", "produce,pinned", "--sizes", "64x64,1000x768").stdout)
        self.assertTrue(run["complete"])
        self.assertTrue(run["device"]["virtual_time"])
        self.assertEqual([(case["pattern"], case["rows"]) for case in run["cases"]],
                         [("produce", 64), ("pinned", 64), ("produce", 1000), ("pinned", 1000)])
        for case in run["cases"]:
            names = [contender["name"] for contender in case["contenders"]]
            self.assertIn("auto", names)
            self.assertEqual("wrap" in names, case["pattern"] == "pinned")
            self.assertNotIn("one map", names)  # from 8 MiB on
            self.assertEqual(names[-1], "pinned copies again")
            self.assertIn("naive managed", names)
            for ratio in case["ratios"]:
                self.assertLessEqual(ratio["ratio"]["low"], ratio["ratio"]["median"])
                self.assertLessEqual(ratio["ratio"]["median"], ratio["ratio"]["high"])
            times = {contender["name"]: contender["ns"]["median"] for contender in case["contenders"] if not contender["library"]}
            self.assertEqual(times[case["best_rival"]], min(times.values()))
            first = next(contender for contender in case["contenders"] if contender["name"] == "auto")["first_ns"]
            self.assertTrue(len(first) == 3 and all(value > 0 for value in first))

    def test_virtual_time_is_the_same_from_run_to_run(self):
        arguments = ("sim:hopper", "--json", "--patterns", "produce,modify,changing", "--sizes", "1000x768")
        runs = [json.loads(bench(*arguments).stdout)["cases"] for _ in range(2)]
        medians = [[(c["pattern"], e["name"], e["ns"]["median"]) for c in cases for e in c["contenders"]] for cases in runs]
        self.assertEqual(*medians)

    def test_faulting_costs_what_it_costs_and_the_library_does_not_fault(self):
        run = json.loads(bench("sim:hopper", "--json", "--patterns", "produce,faults", "--sizes", "1000x768", "--quick").stdout)
        times = {contender["name"]: contender["ns"]["median"] for contender in run["cases"][0]["contenders"]}
        self.assertGreater(times["naive managed"], 5 * times["auto"])
        faults = [row["value"] for row in run["rows"] if row["name"].startswith("GPU faults in all launches")]
        self.assertEqual(faults, [0])

    def test_an_array_is_scored_without_a_buffer_on_the_device_and_anywhere(self):
        run = json.loads(bench("sim:hopper", "--json", "--patterns", "source", "--sizes", "1000x768", "--quick").stdout)
        contenders = {contender["name"]: contender for contender in run["cases"][0]["contenders"]}
        self.assertTrue(all(contenders[name]["library"] for name in ("auto", "array", "anywhere")))
        self.assertNotIn("role", contenders)
        self.assertGreater(contenders["array"]["ns"]["median"], 0)  # in virtual time: the device did it
        self.assertEqual(contenders["anywhere"]["ns"]["median"], 0)  # the CPU's work costs nothing there

    def moved(self, patterns, size):
        run = json.loads(bench("sim:hopper", "--json", "--patterns", patterns, "--sizes", size, "--quick").stdout)
        return {(case["pattern"], contender["name"]): contender.get("moved_bytes") for case in run["cases"] for contender in case["contenders"]}

    def test_what_the_library_moved_is_told(self):
        moved = self.moved("produce,reuse-16,results", "2731x768")
        self.assertEqual(moved["produce", "auto"], [0, 0])
        self.assertEqual(moved["produce", "parts"], [2731 * 768 * 4, 0])
        self.assertEqual(moved["reuse-16", "role"], [2731 * 768 * 4, 0])
        self.assertEqual(moved["results", "auto"], [0, 0])
        self.assertIsNone(moved["produce", "pinned copies"])

    def test_much_that_the_cpu_computes_moves_in_parts_meanwhile(self):
        moved = self.moved("produce", "11000x768")
        for way in ("auto", "role"):
            self.assertEqual(moved["produce", way], [11000 * 768 * 4, 0])
        self.assertEqual(moved["produce", "one map"], [0, 0])
        self.assertNotIn(("produce", "parts"), moved)
        self.assertIn(("changing", "one map"), self.moved("changing", "2731x768"))

    def test_a_file_gets_it_beside_the_table(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bench.json"
            run = bench("host", "--quick", "--patterns", "write,launch", "--sizes", "16x64", "--output", str(path))
            self.assertIn("A/A", run.stdout)
            self.assertIn("pin + unpin", run.stdout)
            written = json.loads(path.read_text())
            self.assertEqual([case["pattern"] for case in written["cases"]], ["write"])
            self.assertTrue(all(row["group"] == "launch" for row in written["rows"]))


class Check(unittest.TestCase):
    """bench/check.py on runs with known figures."""

    def check(self, change=lambda run: None):
        estimate = {"median": 1.0, "low": 0.99, "high": 1.02, "count": 9}
        case = {"pattern": "produce", "rows": 1000, "dim": 768, "bytes": 3072000, "best_rival": "pinned copies",
                "a_a": {"rival": "pinned copies", "ratio": dict(estimate)},
                "ratios": [{"library": "auto", "rival": "pinned copies", "ratio": {**estimate, "median": 0.8}},
                           {"library": "auto", "rival": "naive managed", "ratio": {**estimate, "median": 0.1}},
                           {"library": "auto", "rival": "recipe", "ratio": {**estimate, "median": 0.15}}]}
        run = {"program": "eum-bench", "format": 1, "complete": True, "seconds": 1, "device": {"name": "a device"}, "cases": [case],
               "rows": [{"group": "faults", "name": "GPU faults in all launches of the library (must be 0)", "value": 0, "unit": ""}]}
        change(run)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bench.json"
            path.write_text(json.dumps(run))
            script = pathlib.Path(__file__).resolve().parents[2] / "bench" / "check.py"
            done = subprocess.run([sys.executable, str(script), str(path)], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    def test_a_run_that_keeps_all_that_it_measured_is_fine(self):
        code, said = self.check()
        self.assertEqual(code, 0, said)
        self.assertNotIn("BROKEN", said)
        self.assertIn("not measured", said)

    def test_slower_than_the_fastest_rival_is_told_unless_it_is_noise(self):
        def slow(run):
            run["cases"][0]["ratios"][0]["ratio"] = {"median": 1.08, "low": 1.02, "high": 1.2, "count": 9}

        def slow_and_noisy(run):
            slow(run)
            run["cases"][0]["a_a"]["ratio"]["high"] = 1.1

        def slow_beyond_noise(run):
            slow_and_noisy(run)
            run["cases"][0]["ratios"][0]["ratio"]["low"] = 1.06
        self.assertIn("produce", self.check(slow)[1].split("auto: at most 1.05")[1].splitlines()[1])
        self.assertNotIn("BROKEN        auto: at most", self.check(slow_and_noisy)[1])
        self.assertIn("BROKEN        auto: at most", self.check(slow_beyond_noise)[1])

    def test_a_fault_is_told(self):
        code, said = self.check(lambda run: run["rows"][0].update(value=3))
        self.assertEqual(code, 1)
        self.assertIn("BROKEN        no GPU fault", said)


class Options(unittest.TestCase):
    def test_when_the_time_is_over_it_prints_what_it_has(self):
        run = bench("host", "--json", "--patterns", "reuse-256,changing", "--sizes", "64x64,16M", "--time-limit", "1")
        self.assertFalse(json.loads(run.stdout)["complete"])
        self.assertIn("time limit", run.stderr)

    def test_when_something_fails_it_says_so_and_prints_what_it_has(self):
        run = bench("sim:hopper,fail=submit:400", "--json", "--patterns", "produce,reuse-16", "--sizes", "16x64,64x64,1000x768", code=1)
        written = json.loads(run.stdout)
        self.assertFalse(written["complete"])
        self.assertTrue(0 < len(written["cases"]) < 6)
        self.assertIn("told to fail", run.stderr)

    def test_the_list_names_what_patterns_takes(self):
        listed = bench("--list").stdout
        for name in ("produce", "reuse-16", "faults", "naive managed", "wrap"):
            self.assertIn(name, listed)

    def test_misuse_is_said_and_measures_nothing(self):
        for arguments in (("--patterns", "nosuch"), ("--sizes", "12"), ("--sizes", "4K,"), ("--rounds", "0"), ("--time-limit", "x"), ("--threads",),
                          ("--nosuch",), ("host", "sim:hopper")):
            run = bench(*arguments, code=2)
            self.assertEqual(run.stdout, "")
            self.assertIn("usage", run.stderr)

    def test_a_device_that_is_not_there_is_said(self):
        self.assertIn("nosuch", bench("nosuch", code=1).stderr)


unittest.main()

#!/usr/bin/env python3
"""End-to-end tests of the engram-um program: run.py PATH/TO/engram-um

SPDX-License-Identifier: MIT OR Apache-2.0

Needs only Python's standard library. The expected scores are computed here, in double precision.
"""

import array
import ast
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest

TOOL = ""
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GLOVE = os.path.join(ROOT, "examples", "data", "glove-5k-100d.npy")
WORDS = os.path.join(ROOT, "examples", "data", "glove-5k-words.txt")
ROWS, DIM = 400, 37


def tool(*arguments, stdout=subprocess.PIPE, environment=None):
    settings = {k: v for k, v in os.environ.items() if k not in ("EUM_DEVICE", "EUM_BACKING", "EUM_LOG", "EUM_COSTS")}
    settings.update(environment or {})
    return subprocess.run([TOOL, *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, env=settings, timeout=120)


def npy(rows, shape=None, descr="<f4", order="False", version=1):
    """The bytes of an .npy file of the rows (lists of floats); the header may lie."""
    shape = shape or f"({len(rows)}, {len(rows[0])})"
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"
    prefix = 10 if version == 1 else 12
    header += " " * (-(prefix + len(header) + 1) % 64) + "\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    data = b"".join(array.array("f", row).tobytes() for row in rows)
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode("latin1") + data


def fvecs(rows):
    return b"".join(struct.pack("<i", len(row)) + array.array("f", row).tobytes() for row in rows)


def cosine(a, b):
    if not all(map(math.isfinite, a)) or not all(map(math.isfinite, b)):
        return math.nan
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b)) / norms if norms else 0.0


class ToolTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="engram_um_tool_")
        generator = random.Random(20140607)
        rows = [array.array("f", [generator.gauss(0, 1) for _ in range(DIM)]) for _ in range(ROWS)]
        rows[50] = array.array("f", [0.0] * DIM)
        rows[60][5] = math.nan
        rows[61][6] = math.inf
        rows[300] = rows[7]  # the same score as row 7, whatever the query
        cls.rows = [list(row) for row in rows]
        cls.vectors = cls.write("vectors.npy", npy(cls.rows))
        cls.fvecs = cls.write("vectors.fvecs", fvecs(cls.rows))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def write(cls, name, data):
        path = os.path.join(cls.folder.name, name)
        with open(path, "wb") as out:
            out.write(data)
        return path

    def search(self, *arguments):
        """The parsed answer of a search that must succeed, silently."""
        done = tool("search", *arguments, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return json.loads(done.stdout)

    def assert_fails(self, done, code, *says):
        sentence = done.stderr.decode("utf-8", "replace")
        self.assertEqual(done.returncode, code, sentence)
        self.assertEqual(done.stdout or b"", b"")
        self.assertTrue(sentence.startswith("engram-um: "), sentence)
        for words in says:
            self.assertIn(words, sentence)

    def assert_nearest(self, neighbors, query, top, skip=None):
        """Checks rows and scores against the definition; rows whose scores differ by rounding only may swap."""
        exact = {row: cosine(query, values) for row, values in enumerate(self.rows) if row != skip}
        order = sorted(exact, key=lambda row: (math.isnan(exact[row]), -exact[row] if exact[row] == exact[row] else 0, row))
        self.assertEqual(len(neighbors), min(top, len(order)))
        self.assertEqual(len({n["row"] for n in neighbors}), len(neighbors))
        for neighbor, expected in zip(neighbors, order):
            if math.isnan(exact[expected]):
                self.assertIsNone(neighbor["score"])
                self.assertEqual(neighbor["row"], expected)
                continue
            bound = 1e-6 + 1e-5 * abs(exact[neighbor["row"]])
            self.assertAlmostEqual(neighbor["score"], exact[neighbor["row"]], delta=bound)
            self.assertAlmostEqual(exact[neighbor["row"]], exact[expected], delta=2 * bound)


class Search(ToolTest):
    def test_rows_as_queries_find_what_the_definition_says(self):
        for path in (self.vectors, self.fvecs):
            for row in (0, 7, 50, 60, ROWS - 1):
                answer = self.search(path, "--query", row, "--top", 12)
                self.assertEqual([r["query"] for r in answer["results"]], [row])
                self.assert_nearest(answer["results"][0]["neighbors"], self.rows[row], 12)

    def test_json_has_the_documented_members_and_no_others(self):
        answer = self.search(self.vectors, "--query", 3, "--top", 2)
        self.assertEqual(list(answer), ["results", "run"])
        self.assertEqual(list(answer["results"][0]), ["query", "neighbors"])
        self.assertEqual(list(answer["results"][0]["neighbors"][0]), ["row", "score", "label"])
        self.assertEqual(list(answer["run"]), ["device", "backing", "ms", "bytes_moved", "gpu_faults"])
        self.assertIsNone(answer["results"][0]["neighbors"][0]["label"])
        self.assertGreater(answer["run"]["ms"], 0)

    def test_equal_scores_are_in_the_order_of_rows(self):
        for query in (7, 300, 3):
            rows = [n["row"] for n in self.search(self.vectors, "--query", query, "--top", ROWS)["results"][0]["neighbors"]]
            self.assertEqual(rows.index(300), rows.index(7) + 1)

    def test_rows_that_are_not_finite_come_last_with_a_null_score(self):
        neighbors = self.search(self.vectors, "--query", 0, "--top", ROWS)["results"][0]["neighbors"]
        self.assertEqual([(n["row"], n["score"]) for n in neighbors[-2:]], [(60, None), (61, None)])

    def test_top_beyond_the_rows_gives_all_rows(self):
        for top in (ROWS, ROWS + 1, 10**9, 2**63):
            neighbors = self.search(self.vectors, "--query", 1, "--top", top)["results"][0]["neighbors"]
            self.assert_nearest(neighbors, self.rows[1], ROWS)

    def test_top_is_10_where_it_is_not_given(self):
        self.assertEqual(len(self.search(self.vectors, "--query", 1)["results"][0]["neighbors"]), 10)

    def test_skip_self_leaves_the_own_row_out(self):
        neighbors = self.search(self.vectors, "--query", 7, "--top", ROWS, "--skip-self")["results"][0]["neighbors"]
        self.assertEqual(neighbors[0]["row"], 300)
        self.assert_nearest(neighbors, self.rows[7], ROWS, skip=7)
        one = self.write("one.npy", npy([[1.0, 2.0]]))
        self.assertEqual(self.search(one, "--query", 0, "--skip-self")["results"], [{"query": 0, "neighbors": []}])

    def test_each_row_of_a_query_file_is_a_query(self):
        queries = [self.rows[9], self.rows[50], [1.0] * DIM, self.rows[60]]
        for name, data in (("q.npy", npy(queries)), ("q.fvecs", fvecs(queries))):
            answer = self.search(self.fvecs, "--query", self.write(name, data), "--top", 5)
            self.assertEqual([r["query"] for r in answer["results"]], [0, 1, 2, 3])
            for result, query in zip(answer["results"], queries):
                self.assert_nearest(result["neighbors"], query, 5)

    def test_a_query_file_of_one_dimension_is_one_query(self):
        path = self.write("one-dimension.npy", npy([self.rows[9]], shape=f"({DIM},)"))
        answer = self.search(self.vectors, "--query", path, "--top", 5)
        self.assertEqual(len(answer["results"]), 1)
        self.assert_nearest(answer["results"][0]["neighbors"], self.rows[9], 5)

    def test_npy_versions_2_and_3_are_read(self):
        for version in (2, 3):
            path = self.write("version.npy", npy(self.rows, version=version))
            self.assert_nearest(self.search(path, "--query", 5)["results"][0]["neighbors"], self.rows[5], 10)

    def test_every_device_gives_the_same_answer(self):
        done = tool("info", "--json")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        found = json.loads(done.stdout)
        devices = {d["device"] for d in [found["chosen"], *found["others"]]} | {"host", "sim:pascal", "sim:hopper"}
        for device in sorted(devices):
            for path in (self.vectors, self.fvecs):
                answer = self.search(path, "--query", 11, "--top", ROWS, "--device", device)
                self.assert_nearest(answer["results"][0]["neighbors"], self.rows[11], ROWS)
                self.assertEqual(answer["run"]["device"], device.split(":")[0] if "sim" in device else device)

    def test_text_has_the_same_rows_and_says_how_it_ran(self):
        rows = [n["row"] for n in self.search(self.vectors, "--query", 3, "--top", 4)["results"][0]["neighbors"]]
        done = tool("search", self.vectors, "--query", 3, "--top", 4)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        lines = done.stdout.decode().splitlines()
        self.assertEqual(lines[0], "Nearest to row 3")
        self.assertEqual([int(line.split()[1]) for line in lines[2:6]], rows)
        self.assertRegex(lines[-1], r"^On .*, backing [a-z]+: [0-9.]+ ms, .* moved(, 0 GPU page faults)?$")

    def test_page_faults_are_counted_where_they_can_be(self):
        for device, expected in (("host", 0), ("sim:hopper", 0), ("sim:pascal", 0), ("sim:hopper,count=absent", None),
                                 ("sim:hopper,count=refused", None), ("sim:hopper,count=dropped", None)):
            for more in ((), ("--backing", "managed")) if device.startswith("sim") else ((),):
                answer = self.search(self.vectors, "--query", 3, "--device", device, *more)
                self.assertEqual(answer["run"]["gpu_faults"], expected, device)
        done = tool("search", self.vectors, "--query", 3, "--device", "sim:hopper")
        self.assertIn(b" moved, 0 GPU page faults\n", done.stdout)

    def test_page_faults_of_a_cuda_device_are_counted_when_asked_for(self):
        found = json.loads(tool("info", "--json").stdout)
        if not any(d["device"].startswith("cuda") for d in [found["chosen"], *found["others"]]):
            self.skipTest("no CUDA device")
        self.assertIsNone(self.search(self.vectors, "--query", 3, "--device", "cuda")["run"]["gpu_faults"])
        done = tool("search", self.vectors, "--query", 3, "--device", "cuda", "--count-faults", "--json")
        self.assertEqual(done.returncode, 0)
        faults = json.loads(done.stdout)["run"]["gpu_faults"]
        self.assertEqual(faults, None if done.stderr else 0, done.stderr)

    def test_the_vectors_are_not_written(self):
        with open(self.vectors, "rb") as before:
            expected = before.read()
        os.chmod(self.vectors, 0o400)
        self.search(self.vectors, "--query", 3)
        with open(self.vectors, "rb") as after:
            self.assertEqual(after.read(), expected)


class Scoring(ToolTest):
    """Metrics, elements, many queries at once and results as files."""

    @staticmethod
    def read(path):
        with open(path, "rb") as file:
            data = file.read()
        size = struct.unpack("<H", data[8:10])[0]
        header = ast.literal_eval(data[10:10 + size].decode())
        assert (10 + size) % 64 == 0 and not header["fortran_order"]
        values = array.array({"<i8": "q", "<f4": "f"}[header["descr"]], data[10 + size:])
        rows, top = header["shape"]
        assert len(values) == rows * top
        return [list(values[i * top:(i + 1) * top]) for i in range(rows)]

    def best(self, query, metric, rows=None, k=10):
        def score(row):
            if metric == "cosine":
                return cosine(query, row)
            if not all(map(math.isfinite, row)):
                return math.nan
            return math.fsum(a * b for a, b in zip(query, row)) if metric == "dot" else math.fsum((a - b) ** 2 for a, b in zip(query, row))
        scored = [(score(row), i) for i, row in enumerate(rows or self.rows)]
        return sorted(scored, key=lambda s: (math.isnan(s[0]), s[0] if metric == "l2" else -s[0], s[1]))[:k]

    def assert_best(self, found, expected):
        """The same scores, and the same rows where no other score is as near as rounding."""
        self.assertEqual(len(found), len(expected))
        for (row, score), (exact, _) in zip(found, expected):
            self.assertLess(abs(score - exact), 1e-4 * max(1, abs(exact)))
        self.assertEqual(sorted(row for row, _ in found[:5]), sorted(row for _, row in expected[:5]))

    def test_each_metric_finds_what_its_definition_says(self):
        for device in ("host", "sim:hopper"):
            for metric in ("cosine", "dot", "l2"):
                for row in (3, 299):
                    answer = self.search(self.vectors, "--query", row, "--metric", metric, "--device", device)
                    found = [(n["row"], n["score"]) for n in answer["results"][0]["neighbors"]]
                    self.assert_best(found, self.best(self.rows[row], metric))

    def test_more_results_than_a_selection_gives_come_from_all_scores(self):
        rows = [[float(i % 97), float(i % 89)] for i in range(1500)]
        vectors = self.write("many.npy", npy(rows))
        for metric in ("cosine", "dot", "l2"):
            answer = self.search(vectors, "--query", 3, "--top", 1400, "--metric", metric)["results"][0]["neighbors"]
            self.assertEqual(len({n["row"] for n in answer}), 1400)
            for n, (exact, _) in zip(answer, self.best(rows[3], metric, rows, 1400)):
                self.assertLess(abs(n["score"] - exact), 1e-4 * max(1, abs(exact)))

    def test_elements_of_16_bits_are_read_as_what_they_are(self):
        generator = random.Random(5)
        rows = [[generator.randrange(-64, 64) / 8 for _ in range(9)] for _ in range(70)]  # exact in both
        header = npy(rows, descr="<f2")[:128]
        half = self.write("half.npy", header + b"".join(struct.pack("<9e", *row) for row in rows))
        brain = self.write("brain.npy", npy(rows, descr="<u2")[:128] + b"".join(struct.pack("<f", x)[2:] for row in rows for x in row))
        for vectors, dtype in ((half, "float16"), (brain, "bfloat16")):
            for query in ("7", self.write("q.npy", npy(rows[7:9]))):
                answer = self.search(vectors, "--query", query, "--dtype", dtype, "--metric", "l2")
                found = [(n["row"], n["score"]) for n in answer["results"][0]["neighbors"]]
                self.assertEqual([s for _, s in found], [s for s, _ in self.best(rows[7], "l2", rows)])
                self.assertEqual([r for r, _ in found], [r for _, r in self.best(rows[7], "l2", rows)])
            self.assert_fails(tool("search", vectors, "--query", 0), 1, "float32")
        self.assert_fails(tool("search", half, "--query", 0, "--dtype", "bfloat16"), 1, "'<f2'", "'<u2'")
        self.assert_fails(tool("search", brain, "--query", 0, "--dtype", "float16"), 1, "'<u2'", "'<f2'")
        self.assert_fails(tool("search", self.fvecs, "--query", 0, "--dtype", "float16"), 1, ".fvecs")

    def test_results_of_many_queries_are_written_as_npy_files(self):
        generator = random.Random(6)
        queries = [[generator.gauss(0, 1) for _ in range(DIM)] for _ in range(1100)]  # more than are answered at once
        name = os.path.join(self.folder.name, "found")
        for file in (self.write("queries.npy", npy(queries)), self.write("queries.fvecs", fvecs(queries))):
            done = tool("search", self.vectors, "--query", file, "--metric", "dot", "--top", 7, "--output", name)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertEqual(done.stdout.count(b"\n"), 1, done.stdout)
            indices, scores = self.read(name + ".indices.npy"), self.read(name + ".scores.npy")
            self.assertEqual((len(indices), len(scores)), (1100, 1100))
            for q in range(0, 1100, 73):
                self.assert_best(list(zip(indices[q], scores[q])), self.best(queries[q], "dot", k=7))

    def test_results_that_cannot_be_written_are_an_error(self):
        self.assert_fails(tool("search", self.vectors, "--query", 0, "--output", "/nowhere/at/all"), 1, "/nowhere/at/all.indices.npy")

    def test_unknown_words_are_named(self):
        self.assert_fails(tool("search", self.vectors, "--query", 0, "--metric", "l1"), 2, "'l1'", "cosine, dot and l2")
        self.assert_fails(tool("search", self.vectors, "--query", 0, "--dtype", "int8"), 2, "'int8'", "bfloat16")


class Labels(ToolTest):
    def labels(self, *lines, ending=b"\n"):
        lines = list(lines) + [b"row %d" % row for row in range(len(lines), ROWS)]
        return self.write("labels.txt", ending.join(lines) + ending)

    def test_labels_are_printed_with_their_rows(self):
        for ending in (b"\n", b"\r\n"):
            path = self.labels(ending=ending)
            for neighbor in self.search(self.vectors, "--query", 3, "--labels", path)["results"][0]["neighbors"]:
                self.assertEqual(neighbor["label"], f"row {neighbor['row']}")
            done = tool("search", self.vectors, "--query", 3, "--labels", path, "--top", 1)
            self.assertIn(b"Nearest to row 3 (row 3)\n", done.stdout)
            self.assertTrue(done.stdout.splitlines()[2].endswith(b"  row 3"))

    def test_any_bytes_in_a_label_give_valid_json(self):
        path = self.labels(b'say "hi"\\', b"\xff\xc3\x28", "café €".encode(), b"\x1b[2J\ttab\x00")
        neighbors = self.search(self.vectors, "--query", 0, "--top", ROWS, "--labels", path)["results"][0]["neighbors"]
        found = {n["row"]: n["label"] for n in neighbors}
        self.assertEqual([found[row] for row in range(4)], ['say "hi"\\', "\ufffd\ufffd(", "café €", "\x1b[2J\ttab\x00"])
        text = tool("search", self.vectors, "--query", 3, "--top", 1, "--labels", path).stdout
        self.assertIn(b"?[2J?tab?", text)
        self.assertNotIn(b"\x1b", text)

    def test_another_number_of_labels_is_refused_with_both_numbers(self):
        path = self.write("few.txt", b"a\nb\n")
        self.assert_fails(tool("search", self.vectors, "--query", 0, "--labels", path), 1, "2 labels", f"{ROWS} rows", path)

    def test_labels_that_are_not_there_are_named(self):
        self.assert_fails(tool("search", self.vectors, "--query", 0, "--labels", "/nowhere/l"), 1, "/nowhere/l", "No such file")


class WrongFiles(ToolTest):
    def test_each_wrong_file_has_its_own_error(self):
        rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
        good = npy(rows)
        wrong = [
            ("a.npy", b"", "empty"),
            ("a.npy", b"1,2\n3,4\n", "no .npy file"),
            ("a.csv", b"1,2\n3,4\n", "these two formats"),
            ("a.npy", good[:-1], "truncated"),
            ("a.npy", good[:40], "truncated"),
            ("a.npy", good + b"junk", "something was appended"),
            ("a.npy", npy(rows, shape="(3000000, 2)"), "truncated, or its header is wrong"),
            ("a.npy", npy(rows, shape="(4611686018427387905, 4)"), "more than any file can hold"),
            ("a.npy", npy(rows, shape="(-3, 2)"), "negative"),
            ("a.npy", npy(rows, shape="(0, 2)"), "no rows"),
            ("a.npy", npy(rows, shape="(3, 0)"), "no elements"),
            ("a.npy", npy(rows, shape="(6,)"), "one dimension"),
            ("a.npy", npy(rows, shape="(3, 2, 1)"), "3 dimensions"),
            ("a.npy", npy(rows, descr="<f8"), "float64"),
            ("a.npy", npy(rows, descr=">f4"), "big-endian"),
            ("a.npy", npy(rows, order="True"), "Fortran order"),
            ("a.fvecs", fvecs(rows)[:-1], "row 2 is truncated"),
            ("a.fvecs", fvecs([*rows, [1.0]]), "row 3 (at byte 36) says that its dim is 1"),
            ("a.fvecs", b"\xff\xff\xff\xff", "dim is -1"),
        ]
        for name, data, says in wrong:
            with self.subTest(says):
                path = self.write(name, data)
                self.assert_fails(tool("search", path, "--query", 0), 1, path, says)
                if says != "one dimension":
                    self.assert_fails(tool("search", self.vectors, "--query", path, "--json"), 1, path, says)

    def test_what_is_no_file_has_its_own_error(self):
        self.assert_fails(tool("search", "/nowhere/a.npy", "--query", 0), 1, "/nowhere/a.npy", "No such file")
        self.assert_fails(tool("search", self.folder.name, "--query", 0), 1, "is a directory")
        self.assert_fails(tool("search", "/dev/null", "--query", 0), 1, "is a device")
        pipe = os.path.join(self.folder.name, "pipe.npy")
        os.mkfifo(pipe)
        self.assert_fails(tool("search", pipe, "--query", 0), 1, "is a pipe")

    @unittest.skipIf(os.geteuid() == 0, "the superuser may read everything")
    def test_a_file_that_may_not_be_read_has_its_own_error(self):
        path = self.write("secret.npy", npy([[1.0]]))
        os.chmod(path, 0)
        self.assert_fails(tool("search", path, "--query", 0), 1, path, "Permission denied")

    def test_queries_of_another_dim_are_refused_with_both_dims(self):
        path = self.write("other-dim.npy", npy([[1.0, 2.0]]))
        self.assert_fails(tool("search", self.vectors, "--query", path), 1, path, "dim 2", f"dim {DIM}")

    def test_a_row_that_is_not_there_is_refused(self):
        self.assert_fails(tool("search", self.vectors, "--query", ROWS), 1, f"no row {ROWS}", f"rows 0 to {ROWS - 1}")


class CommandLine(ToolTest):
    def test_what_is_wrong_on_the_command_line_is_named(self):
        wrong = [
            ([], "command is missing"),
            (["find"], "unknown command 'find'"),
            (["--bogus"], "unknown option '--bogus'"),
            (["info", "--bogus"], "option '--bogus'"),
            (["info", "more"], "unexpected argument 'more'"),
            (["info", "--backing", "paper"], "unknown backing 'paper'"),
            (["calibrate", "more"], "unexpected argument 'more'"),
            (["calibrate", "--output"], "'--output' needs a value"),
            (["calibrate", "--output", ""], "'--output' is empty"),
            (["calibrate", "--backing", "host"], "option '--backing'"),
            (["search"], "file with the vectors is missing"),
            (["search", "a.npy"], "'--query' is missing"),
            (["search", "a.npy", "--query"], "'--query' needs a value"),
            (["search", "a.npy", "--query", ""], "'--query' is empty"),
            (["search", "a.npy", "--query", "0", "--output", ""], "'--output' is empty"),
            (["search", "a.npy", "--query", "0", "--device"], "'--device' needs a value"),
            (["info", "--output", "x"], "option '--output'"),
            (["search", "a.npy", "--query", "-1"], "'-1' is no row"),
            (["search", "a.npy", "--query", "9" * 30], "is no row"),
            (["search", "a.npy", "b.npy", "--query", "0"], "unexpected argument 'b.npy'"),
            (["search", "a.npy", "--query", "0", "--topp", "3"], "option '--topp'"),
            (["search", "a.npy", "--query", "0", "-k"], "unknown option '-k'"),
            (["search", "a.npy", "--query", "0", "--json=yes"], "'--json=yes' takes no value"),
            (["search", "a.npy", "--query", "0", "--backing", "paper"], "unknown backing 'paper'"),
            (["search", "a.npy", "--query", "q.npy", "--skip-self"], "'--skip-self' needs a row"),
        ]
        wrong += [(["search", "a.npy", "--query", "0", "--top", top], "1 or more") for top in ("0", "-3", "ten", "3x", "1.5", "", "9" * 30)]
        for arguments, says in wrong:
            with self.subTest(arguments):
                self.assert_fails(tool(*arguments), 2, says, "--help")

    def test_help_and_version_go_to_standard_output(self):
        for arguments, says in (
            (["--help"], b"Usage: engram-um COMMAND"),
            (["-h"], b"Usage: engram-um COMMAND"),
            (["search", "--help"], b"Usage: engram-um search"),
            (["info", "-h"], b"Usage: engram-um info"),
            (["calibrate", "--help"], b"Usage: engram-um calibrate"),
            (["--version"], b"engram-um 0."),
            (["-V"], b"engram-um 0."),
        ):
            done = tool(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertIn(says, done.stdout)

    def test_options_may_stand_before_and_after_the_file(self):
        first = self.search("--query", "3", "--top=2", self.vectors)["results"]
        self.assertEqual(first, self.search(self.vectors, "--top", "2", "--query=3")["results"])

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full")
    def test_output_that_cannot_be_written_is_an_error(self):
        for arguments in (["search", self.vectors, "--query", 0, "--top", ROWS], ["info"], ["info", "--json"], ["calibrate"], ["--help"], ["--version"]):
            with open("/dev/full", "wb") as full:
                self.assert_fails(tool(*arguments, stdout=full), 1, "standard output cannot be written", "No space left")


class Devices(ToolTest):
    def test_info_says_what_there_is(self):
        found = json.loads(tool("info", "--json").stdout)
        self.assertEqual(list(found), ["version", "chosen", "others"])
        chosen = found["chosen"]
        self.assertTrue(chosen["name"] and chosen["why"] and chosen["backing_why"] and chosen["cpu_kernels"])
        self.assertGreaterEqual(chosen["worker_threads"], 1)
        self.assertGreater(chosen["memory_total"], chosen["memory_free"])
        self.assertIn("host", [d["device"] for d in [chosen, *found["others"]]])
        text = tool("info").stdout.decode()
        for words in (found["version"], chosen["name"], chosen["why"], chosen["backing_why"], chosen["cpu_kernels"]):
            self.assertIn(words, text)

    def test_the_host_can_always_be_asked_for(self):
        found = json.loads(tool("info", "--device", "host", "--json").stdout)
        self.assertEqual((found["chosen"]["device"], found["chosen"]["backing"], found["others"]), ("host", "host", []))
        self.assertIsNone(found["chosen"]["budget_bytes"])
        answer = self.search(self.vectors, "--query", 0, "--device", "host")
        self.assertEqual((answer["run"]["device"], answer["run"]["backing"], answer["run"]["bytes_moved"]), ("host", "host", 0))

    def test_a_device_that_is_not_there_is_an_error_that_says_why(self):
        for device in ("cuda:62", "toaster"):
            for arguments in (["info"], ["calibrate"], ["search", self.vectors, "--query", 0]):
                self.assert_fails(tool(*arguments, "--device", device), 1, "device could not be opened", "EUM_ERROR_")

    def test_the_environment_chooses_where_the_option_does_not(self):
        self.assert_fails(tool("info", environment={"EUM_DEVICE": "toaster"}), 1, "toaster")
        self.assertEqual(tool("info", "--device", "host", environment={"EUM_DEVICE": "toaster"}).returncode, 0)
        self.assertEqual(tool("info", environment={"EUM_DEVICE": ""}).returncode, 0)


class Calibrate(ToolTest):
    FIGURES = ["to_device_mbps", "to_host_mbps", "in_place_mbps", "memory_mbps", "copy_ns", "prefetch_ns", "prefetch_unit_ns",
               "prefetch_unit_bytes", "prefetch_batch_range_ns", "prefetch_batch_waits", "launch_ns", "macs_mhz", "host_copy_mbps", "host_copy_all_mbps"]

    def calibrate(self, *arguments, environment=None):
        done = tool("calibrate", "--json", *arguments, environment=environment)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return json.loads(done.stdout)

    def test_old_and_new_costs_stand_beside_each_other_and_a_file_keeps_them(self):
        path = os.path.join(self.folder.name, "costs")
        found = self.calibrate("--device", "sim:hopper", "--output", path)
        self.assertEqual(list(found), ["device", "name", "ms", "before", "after"])
        self.assertGreater(found["ms"], 0)
        for side, source in (("before", "default"), ("after", "measured")):
            self.assertEqual(list(found[side]), ["source", *self.FIGURES])
            self.assertEqual(found[side]["source"], source)
        self.assertIsNone(found["before"]["host_copy_mbps"])
        self.assertGreater(found["after"]["host_copy_all_mbps"], 0)
        for figure in self.FIGURES[:-2]:  # the simulator's clock gives what its preset says
            if not figure.startswith("prefetch_batch"):
                self.assertAlmostEqual(found["after"][figure] / found["before"][figure], 1, delta=0.02, msg=figure)
        self.assertEqual((found["before"]["prefetch_batch_range_ns"], found["before"]["prefetch_batch_waits"]), (0, 0))
        self.assertLess(found["after"]["prefetch_batch_range_ns"], found["after"]["prefetch_ns"] / 50)
        self.assertEqual(found["after"]["prefetch_batch_waits"], 0)
        again = self.calibrate("--device", "sim:hopper", environment={"EUM_COSTS": path})
        self.assertEqual(again["before"], {**found["after"], "source": "file"})

    def test_the_file_changes_what_info_says(self):
        path = os.path.join(self.folder.name, "slow")
        self.calibrate("--device", "sim:hopper", "--output", path)
        with open(path) as file:
            lines = [line.split() for line in file]
        with open(path, "w") as file:
            file.writelines(" ".join(["launch_ns", "1000000"] if line[0] == "launch_ns" else line) + "\n" for line in lines)
        rows = [json.loads(tool("info", "--json", "--device", "sim:hopper", environment={"EUM_COSTS": costs}).stdout)["chosen"]["break_even_rows_resident"]
                for costs in ("", path)]
        self.assertGreater(rows[1], 10 * rows[0])

    def test_text_shows_the_same(self):
        path = os.path.join(self.folder.name, "text")
        done = tool("calibrate", "--device", "sim:pascal", "--output", path)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        text = done.stdout.decode()
        self.assertRegex(text, r"(?m)^ +default +measured$")
        self.assertRegex(text, r"(?m)^copies to the device +12000 +1[12]\d{3}  MB/s$")
        self.assertRegex(text, r"(?m)^each further range of a call +16000 +16000  ns$")  # it has no such call
        self.assertRegex(text, r"(?m)^that call waits: 1; not: 0 +1 +1$")
        self.assertRegex(text, r"(?m)^copies by one thread +- +\d+  MB/s$")
        self.assertRegex(text, r"(?m)^Measured in [0-9.]+ ms\.$")
        self.assertIn(f"EUM_COSTS={path}", text)

    def test_the_host_has_only_its_own_copies_to_measure(self):
        found = self.calibrate("--device", "host")
        self.assertEqual([f for f in self.FIGURES if found["after"][f] is not None], ["host_copy_mbps", "host_copy_all_mbps"])
        self.assertNotIn("to the device", tool("calibrate", "--device", "host").stdout.decode())

    def test_what_cannot_be_written_or_read_is_an_error(self):
        self.assert_fails(tool("calibrate", "--device", "host", "--output", "/nowhere/costs"), 1, "could not be kept", "No such file")
        self.assert_fails(tool("calibrate", "--device", "sim:hopper,memory=32M"), 1, "could not be measured", "EUM_ERROR_OVER_BUDGET")
        damaged = self.write("damaged", b"engram_um costs 1\nnonsense\n")
        for command in ("info", "calibrate"):
            self.assert_fails(tool(command, environment={"EUM_COSTS": damaged}), 1, "line 2", "unset EUM_COSTS")
            self.assert_fails(tool(command, environment={"EUM_COSTS": "/nowhere/costs"}), 1, "No such file")

    def test_info_says_from_how_many_rows_the_device_pays(self):
        found = json.loads(tool("info", "--json", "--device", "sim:hopper").stdout)["chosen"]
        rows = found["break_even_rows_resident"]
        self.assertGreater(rows, 1)
        self.assertIn(f"for one query of 768 float32: from {rows} rows on that it has", tool("info", "--device", "sim:hopper").stdout.decode())
        host = tool("info", "--device", "host")
        self.assertIsNone(json.loads(tool("info", "--json", "--device", "host").stdout)["chosen"]["break_even_rows_cold"])
        self.assertNotIn(b"the device pays", host.stdout)


class WordVectors(ToolTest):
    def test_the_nearest_words_are_sensible(self):
        with open(WORDS, encoding="utf-8") as lines:
            words = lines.read().splitlines()
        expected = {
            "king": ["prince", "queen", "son"],
            "water": ["natural", "dry", "salt"],
            "france": ["belgium", "french", "britain"],
            "computer": ["computers", "software", "technology"],
            "monday": ["tuesday", "thursday", "wednesday"],
        }
        for word, nearest in expected.items():
            arguments = (GLOVE, "--query", words.index(word), "--top", 3, "--skip-self", "--labels", WORDS)
            neighbors = self.search(*arguments)["results"][0]["neighbors"]
            self.assertEqual({n["label"] for n in neighbors}, set(nearest), word)
            self.assertEqual([n["score"] for n in neighbors], sorted((n["score"] for n in neighbors), reverse=True))

    def test_the_devices_find_the_same_words(self):
        """Against the host; rows whose scores differ by less than 1e-6 may swap."""
        with open(GLOVE, "rb") as data:
            data.seek(-5000 * 400, os.SEEK_END)
            queries = array.array("f", data.read(300 * 400))
        path = self.write("queries.npy", npy([queries[i * 100 : (i + 1) * 100] for i in range(300)]))
        found = json.loads(tool("info", "--json").stdout)
        devices = {d["device"] for d in [found["chosen"], *found["others"]]} - {"host"} | {"sim:hopper"}
        host = self.search(GLOVE, "--query", path, "--device", "host", "--top", 12)["results"]
        for device in sorted(devices):
            for backing in ("managed", "mirrored", "mapped"):
                answer = self.search(GLOVE, "--query", path, "--device", device, "--backing", backing, "--top", 10)["results"]
                self.assertEqual(len(answer), len(host))
                for ours, theirs in zip(answer, host):
                    scores = {n["row"]: n["score"] for n in theirs["neighbors"]}
                    for mine, expected in zip(ours["neighbors"], theirs["neighbors"]):
                        self.assertAlmostEqual(mine["score"], expected["score"], delta=2e-6)
                        if mine["row"] != expected["row"]:
                            self.assertAlmostEqual(scores[mine["row"]], expected["score"], delta=1e-6)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: run.py PATH/TO/engram-um [unittest options]")
    TOOL = os.path.abspath(sys.argv.pop(1))
    unittest.main()

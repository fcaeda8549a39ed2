#!/usr/bin/env python3
"""Are the documents true? run.py [BUILD_FOLDER] [C_COMPILER]

SPDX-License-Identifier: MIT OR Apache-2.0

The programs in README.md are those of the examples, and the C and the Python example give the right answer; the C test in docs/testing-without-a-gpu.md passes.
Every relative link in a document leads somewhere, to the heading too. Every eum_* and EUM_* name in a document exists in the sources, and every
function that takes or gives a pointer is in the table of docs/ownership.md. Needs only Python's standard library; without a build folder the
programs are not run.
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = ""
COMPILER = "cc"
SKIPPED = re.compile(r"^(build.*|target|node_modules|\..*)$")
SOURCE = re.compile(r"\.(h|c|cu|map|cmake|in|sh|py|rs|json)$|^CMakeLists\.txt$|^(setup|test|demo)$")
# Patterns for names, not names.
PLACEHOLDERS = {"EUM_CONSTANT", "eum_module_verb"}


def files(wanted):
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not SKIPPED.match(name))
        yield from (os.path.join(folder, name) for name in sorted(names) if wanted(name))


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def documents():
    return {os.path.relpath(path, ROOT): text_of(path) for path in files(lambda name: name.endswith(".md"))}


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(text):
    """Of the headings, as the forges make them."""
    headings = re.findall(r"^#+ +(.*?) *$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def program(language, document="README.md"):
    found = re.findall(rf"^```{language}\n(.*?)^```", text_of(document), flags=re.M | re.S)
    return found[0] if len(found) == 1 else None


def compiled(text, folder):
    source, binary = os.path.join(folder, "program.c"), os.path.join(folder, "program")
    with open(source, "w", encoding="utf-8") as file:
        file.write(text)
    subprocess.run([COMPILER, "-std=c11", "-Wall", "-Wextra", "-Werror", source, "-o", binary, "-I", os.path.join(ROOT, "include"),
                    "-L", BUILD, "-lengram_um", f"-Wl,-rpath,{BUILD}"], check=True)
    return binary


def run(*command, **environment):
    settings = {k: v for k, v in os.environ.items() if k not in ("EUM_DEVICE", "EUM_BACKING", "EUM_LOG")}
    ran = subprocess.run(command, env={**settings, **environment}, capture_output=True, text=True, timeout=60)
    return ran.returncode, ran.stdout, ran.stderr


class Documents(unittest.TestCase):
    def test_links_lead_somewhere(self):
        texts, broken = documents(), []
        for document, text in texts.items():
            for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = os.path.normpath(os.path.join(os.path.dirname(document), path)) if path else document
                if not os.path.exists(os.path.join(ROOT, target)):
                    broken.append(f"{document}: {link}: no such file")
                elif anchor and anchor not in anchors(texts.get(target, "")):
                    broken.append(f"{document}: {link}: no such heading")
        self.assertEqual(broken, [])

    def test_names_exist(self):
        known = set(PLACEHOLDERS)
        for path in files(lambda name: SOURCE.search(name)):
            if not path.startswith(os.path.join(ROOT, "tests", "readme")):
                known.update(re.findall(r"\b(?:eum|EUM)_\w+", text_of(path)))
        wrong = []
        for document, text in documents().items():
            for name in re.findall(r"\b(?:eum|EUM)_\w+(?!\w*\*)", text):
                if name not in known:
                    wrong.append(f"{document}: {name}")
        self.assertEqual(wrong, [])

    def test_public_functions_have_a_row_in_the_table_of_ownership(self):
        header = text_of("include/engram_um.h")
        functions = set(re.findall(r"^EUM_API [^;(]*?\b(eum_\w+)\(", header, flags=re.M))
        self.assertGreater(len(functions), 20)
        plain = {name for name in functions if name.endswith("_init") or not re.search(rf"\b{name}\([^;]*\*", header)}
        table = set(re.findall(r"\beum_\w+", text_of("docs/ownership.md")))
        self.assertEqual(sorted(functions - plain - table), [])


class Programs(unittest.TestCase):
    def test_the_c_program_is_the_example(self):
        self.assertEqual(program("c"), text_of("examples/nearest.c"))

    def test_the_rust_program_is_the_example(self):
        example = re.sub(r"\A(//!.*\n)+\n*", "", text_of("bindings-rust/engram-um/examples/nearest.rs"))
        self.assertEqual(program("rust"), example)

    def test_the_c_program_finds_the_cosines_on_every_device(self):
        self.needs_a_build()
        with tempfile.TemporaryDirectory() as folder:
            binary = compiled(program("c"), folder)
            for device in "host", "sim:maxwell", "sim:pascal", "sim:turing", "sim:ampere", "sim:hopper":
                with self.subTest(device=device):
                    self.assertEqual(run(binary, EUM_DEVICE=device), (0, "0.7071 0.7071 0.8944\n", ""))

    def test_the_python_example_finds_them_too_and_says_what_is_wrong(self):
        self.needs_a_build()
        example = [sys.executable, os.path.join(ROOT, "examples", "nearest.py")]
        for device in "host", "sim:maxwell", "sim:hopper":
            with self.subTest(device=device):
                self.assertEqual(run(*example, EUM_DEVICE=device, LD_LIBRARY_PATH=BUILD), (0, "0.7071 0.7071 0.8944\n", ""))
        status, _, said = run(*example, EUM_DEVICE="hots", LD_LIBRARY_PATH=BUILD)
        self.assertEqual(status, 1)
        self.assertIn('RuntimeError: There is no device "hots" (from EUM_DEVICE)', said)

    def test_the_c_test_for_continuous_integration_passes(self):
        self.needs_a_build()
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(run(compiled(program("c", "docs/testing-without-a-gpu.md"), folder)), (0, "", ""))

    def needs_a_build(self):
        if not BUILD:
            self.skipTest("no build folder was named")


if __name__ == "__main__":
    for name in "BUILD", "COMPILER":
        if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
            argument = sys.argv.pop(1)
            globals()[name] = os.path.abspath(argument) if name == "BUILD" else argument
    unittest.main()

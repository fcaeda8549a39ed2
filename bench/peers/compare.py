"""Compares engram_um with NumPy (OpenBLAS), FAISS flat, SimSIMD and NumKong on this machine's CPU, in one process, alternating.

SPDX-License-Identifier: MIT OR Apache-2.0

Each round runs every contender once, in an order that changes from round to round; a figure is the median over the rounds, a ratio is the
median of the rounds' own ratios (peer / ours: above 1, ours is faster) with a 95 % bootstrap interval, and then the ratio of the fastest
rounds of both, which other work on the machine disturbs least. Before its turn each contender runs untimed, after a pause in which the
threads of the one before it fall asleep (OpenBLAS and OpenMP keep them busy for a while). Results are checked against float64 on a
sample. "read" is no contender: the same bytes read once by plain loads on as many threads. Contenders: what each library offers that gives the same answer. Norms of the targets are not known beforehand to anybody; FAISS
is given inner products, where nothing needs them, SimSIMD and NumKong also cosine.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--library", required=True, help="libengram_um.so")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--case", default="", help="only cases whose name has this in it")
parser.add_argument("--bytes", type=float, default=1e9, help="of the large targets")
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--json", action="store_true")
parser.add_argument("--tool", default=None, help="engram-um, for the case \"file\"; default: beside the library")
options = parser.parse_args()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(options.threads)

import faiss
import numkong
import numpy as np
import simsimd

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ours

faiss.omp_set_num_threads(options.threads)
engram = ours.Engram(options.library, options.threads)
generator = np.random.default_rng(7)


def interval(values):
    picks = generator.integers(0, len(values), (2000, len(values)))
    return np.percentile(np.median(np.asarray(values)[picks], axis=1), [2.5, 97.5])


PAUSE_S = 0.25  # OpenBLAS's threads look for work for 2^28 cycles of the time stamp counter, 128 ms at 2.1 GHz; the others not so long


def turn(run, repeat, warm=True):
    """Seconds of one run, of `repeat` in a row. warm: after some that are not timed, which bring threads and caches back."""
    if options.threads > 1:
        time.sleep(PAUSE_S)
    for _ in range(max(2, repeat) if warm else 0):
        run()
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat


def repeats(contenders):
    """How often in a row: half a millisecond of the fastest, less than the time that another process is given on a busy machine."""
    fastest = min(turn(run, 1) for run in contenders.values())
    return max(1, min(500, int(5e-4 / fastest)))


def measure(name, contenders, rounds, long=False):
    """contenders: {name: function}; "ours" is one. long: seconds each, one run a turn."""
    times = {who: [] for who in contenders}
    repeat, warm = 1 if long else repeats(contenders), not long
    for _ in range(rounds):
        order = list(contenders)
        random.shuffle(order)
        for who in order:
            times[who].append(turn(contenders[who], repeat, warm))
    mine = times.pop("ours")
    row = {"case": name, "threads": options.threads, "load": os.getloadavg()[0], "ours_us": float(np.median(mine)) * 1e6,
           "ours_best_us": min(mine) * 1e6, "peers": {}}
    text = f"{name:42} ours {np.median(mine) * 1e6:10.1f} us"
    for who, theirs in times.items():
        ratios = [a / b for a, b in zip(theirs, mine)]
        low, high = interval(ratios)
        best = min(theirs) / min(mine)
        row["peers"][who] = {"us": float(np.median(theirs)) * 1e6, "ratio": float(np.median(ratios)), "low": float(low), "high": float(high),
                             "best": best}
        text += f" | {who} {np.median(theirs) * 1e6:.1f} us, x{np.median(ratios):.2f} [{low:.2f}, {high:.2f}] best x{best:.2f}"
    print(json.dumps(row) if options.json else text, flush=True)


def check(metric, queries, targets, scores):
    """A sample of scores against float64."""
    for q, r in zip(generator.integers(0, len(queries), 50), generator.integers(0, len(targets), 50)):
        a, b = queries[q].astype(np.float64), targets[r].astype(np.float64)
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        exact = {"dot": a @ b, "l2": ((a - b) ** 2).sum(), "cosine": a @ b / norms}[metric]
        small = 1e-6 * max(1, norms) if metric == "dot" else 1e-6
        assert abs(scores[q, r] - exact) <= small + 1e-5 * abs(exact), (metric, q, r, scores[q, r], exact)


def numpy_topk(product, k):
    best = np.argpartition(product, -k, axis=1)[:, -k:]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(product, best, 1), axis=1), 1)


def pairwise(dim, rows, count, large):
    targets = generator.standard_normal((rows, dim), dtype=np.float32)
    queries = generator.standard_normal((count, dim), dtype=np.float32)
    index = faiss.IndexFlatIP(dim)
    index.add(targets)
    size = f"{targets.nbytes / 1e9:.2g} GB" if large else "1,000 rows"
    out, theirs = np.empty((count, rows), np.float32), np.empty((count, rows), np.float32)
    for metric in ("dot", "cosine"):
        run = engram.scorer(metric, queries, targets, out)
        run()
        check(metric, queries, targets, out)
        if metric == "dot":
            others = {"numpy": lambda: np.matmul(queries, targets.T, out=theirs),
                      "simsimd": lambda: simsimd.cdist(queries, targets, metric="dot", threads=options.threads, out_dtype="float32"),
                      "numkong": lambda: numkong.cdist(queries, targets, "dot", out_dtype="float32")}
        else:
            def by_numpy():
                np.matmul(queries, targets.T, out=theirs)
                norms = np.sqrt(np.einsum("ij,ij->i", targets, targets))
                np.divide(theirs, norms, out=theirs)
                np.divide(theirs, np.linalg.norm(queries, axis=1)[:, None], out=theirs)
            others = {"numpy": by_numpy,
                      "simsimd": lambda: simsimd.cdist(queries, targets, metric="cosine", threads=options.threads, out_dtype="float32"),
                      "numkong": lambda: numkong.cdist(queries, targets, "angular", out_dtype="float32")}
        if large:
            others["read"] = engram.reader(targets)
        measure(f"{metric}, dim {dim}, {size}, Q = {count}, scores", {"ours": run, **others}, options.rounds)
    best = engram.searcher("dot", queries, targets, 10)
    assert (best()[0] == index.search(queries, 10)[1]).mean() > 0.99
    measure(f"dot, dim {dim}, {size}, Q = {count}, top-10",
            {"ours": best, "faiss": lambda: index.search(queries, 10), "numpy": lambda: numpy_topk(queries @ targets.T, 10),
             **({"read": engram.reader(targets)} if large else {})}, options.rounds)


def product(dim, rows, count):
    """A thousand queries: a product and a selection."""
    targets = generator.standard_normal((rows, dim), dtype=np.float32)
    queries = generator.standard_normal((count, dim), dtype=np.float32)
    index = faiss.IndexFlatIP(dim)
    index.add(targets)
    best = engram.searcher("dot", queries, targets, 10)
    assert (best()[0] == index.search(queries, 10)[1]).mean() > 0.99
    out, theirs = np.empty((count, rows), np.float32), np.empty((count, rows), np.float32)
    scores = engram.scorer("dot", queries, targets, out)
    measure(f"dot, dim {dim}, {rows} rows, Q = {count}, top-10",
            {"ours": best, "faiss": lambda: index.search(queries, 10), "numpy": lambda: numpy_topk(queries @ targets.T, 10)}, max(3, options.rounds // 5))
    measure(f"dot, dim {dim}, {rows} rows, Q = {count}, scores",
            {"ours": scores, "numpy": lambda: np.matmul(queries, targets.T, out=theirs)}, max(3, options.rounds // 5))


# Runs a program on these cores and prints its peak memory in KiB. A process of its own, because what a program's parent had counts as its own.
LAUNCHER = """import os, resource, subprocess, sys
os.sched_setaffinity(0, eval(sys.argv[1]))
subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


def file(count, rows, dim):
    """Ten thousand queries from a file over the rows of another, by the tool, with all that it does: opening, searching, writing. NumPy and
    FAISS have the arrays in memory already."""
    targets = generator.standard_normal((rows, dim), dtype=np.float32)
    queries = generator.standard_normal((count, dim), dtype=np.float32)
    tool = options.tool or os.path.join(os.path.dirname(options.library), "engram-um")
    with tempfile.TemporaryDirectory() as folder:
        names = [os.path.join(folder, name) for name in ("targets.npy", "queries.npy", "found")]
        np.save(names[0], targets)
        np.save(names[1], queries)
        memory, cores = [], sorted(os.sched_getaffinity(0))[:options.threads]

        def by_tool():
            told = subprocess.run([sys.executable, "-c", LAUNCHER, str(cores), tool, "search", names[0], "--query", names[1], "--metric", "dot",
                                   "--device", "host", "--output", names[2]], stdout=subprocess.PIPE, check=True)
            memory.append(int(told.stdout) * 1024 / os.path.getsize(names[0]))

        def by_numpy():
            return np.concatenate([numpy_topk(queries[at:at + 100] @ targets.T, 10) for at in range(0, count, 100)])

        def by_faiss():
            index = faiss.IndexFlatIP(dim)
            index.add(targets)
            return index.search(queries, 10)[1]
        by_tool()
        assert (np.load(names[2] + ".indices.npy") == by_faiss()).mean() > 0.99
        measure(f"engram-um search: {count} queries over {rows} x {dim}, top-10", {"ours": by_tool, "faiss": by_faiss, "numpy, blocks of 100": by_numpy},
                max(1, options.rounds // 10), long=True)
        print(f"peak memory of engram-um search, the mapped file with it: {max(memory):.2f} times the file", flush=True)


cases = []
for d in (100, 128, 384, 768, 1536):
    for q in (1, 8):
        cases.append((f"cache {d} {q}", lambda d=d, q=q: pairwise(d, 1000, q, False)))
        cases.append((f"large {d} {q}", lambda d=d, q=q: pairwise(d, int(options.bytes / 4 / d), q, True)))
    cases.append((f"product {d}", lambda d=d: product(d, int(1e8 / 4 / d) * 2, 1000)))
cases.append(("file", lambda: file(10000, 341479, 100)))
for name, run in cases:
    if options.case in name:
        run()
